"""The checker, held against a good history and against every way to spoil it that its invariants name."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from hub.clock import Clock
from hub.core.checkpoint import Checkpoint, sign_checkpoint
from hub.log import Log, Record, Shard
from hub.log.embedded import EmbeddedLog
from hub.notary import CHECKPOINTS, Notary
from hub.registry import RegistryProcess
from hub.router import Router
from tests.faults.checker import Published
from tests.faults.frauds import FRAUDS, ORIGIN, PUBLIC, SIGNER, History, entry_with, lose_a_delivery, setting
from tests.faults.parsing import REGISTRY, REQUESTS
from tests.faults.reading import STATE, Seen, Topics
from tests.faults.story import AT, DE, DELIVERIES, LEDGER, NOTICES, Author, Note, key_added, key_revoked, statements
from tests.faults.tree import Roots, check_tree
from tests.world import key_of

KID = f"{AT}/r2"


async def lived(path: Path) -> History:
    """Three hundred notes through a hub on an embedded log, which has no faults. Positions as a state topic would say them."""
    log = EmbeddedLog.open(path / "comity.db")
    await log.create(REQUESTS, REGISTRY, LEDGER, CHECKPOINTS)
    registry = RegistryProcess(log, key_of("hub/1"), Clock(), grace_ms=0)
    assert await registry.found(ORIGIN, key_of("operator/1"))
    await ask(log, registry, *statements())
    router, notary = Router(log, Shard("router-0", prefix=NOTICES), Clock(), limit=20), Notary(log, SIGNER)
    published, author, said = Published(), Author(1), []
    for n, note in enumerate(islice(author, 300)):
        await publish(log, published, note)
        if n % 30 == 29:
            while await router.step():
                said += router._claim.positions.items()
            await notary.step()
        if n == 20:
            author.kids[AT].append(KID)  # used before it is known
        if n == 100:
            await ask(log, registry, key_added(AT, KID))
        if n == 200:
            await ask(log, registry, key_revoked(AT, KID))
    said += registry._claim.positions.items()
    topics: Topics = {}
    for name in await log.topics():
        found = await log.read(name, limit=100_000)
        topics[name] = [Seen(s.offset, s.record.value, s.record.key, dict(s.record.headers)) for s in found]
    topics[f"{STATE}router-0"] = [Seen(n, setting(topic, offset)) for n, (topic, offset) in enumerate(said)]
    await log.close()
    return History(published, topics)


async def ask(log: Log, registry: RegistryProcess, *documents: bytes) -> None:
    for document in documents:
        await log.append(REQUESTS, Record(document))
    while await registry.step():
        pass


async def publish(log: Log, published: Published, note: Note) -> None:
    published.notes.setdefault(note.digest, note)
    published.begun[note.digest] += 1
    topic = NOTICES + note.sender
    published.acknowledged[topic, await log.append(topic, Record(note.raw))] = note.digest


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> History:
    return asyncio.run(lived(tmp_path_factory.mktemp("good")))


@pytest.fixture
def history(good: History) -> History:
    """One's own, to be spoilt."""
    published = Published(good.published.notes, good.published.begun.copy(), dict(good.published.acknowledged))
    return History(published, {name: list(found) for name, found in good.topics.items()})


def test_a_good_history_is_good_and_has_something_of_everything(history: History) -> None:
    assert history.wrong() == []
    assert {note.kind for note in history.published.notes.values()} == {
        "good", "cancel", "forged", "expired", "stranger", "twin", "keyed"
    }  # fmt: skip
    assert max(history.published.begun.values()) > 1, "some were published again"
    ledger = b"".join(seen.value for seen in history.topics[LEDGER])
    for word in (
        b'"recall"',
        b'"equivocation"',
        b'"signature"',
        b'"expired"',
        b'"wrong-sender"',
        b'"unknown-key"',
        b'"key-revoked"',
        b'["source_detail"]',
    ):
        assert word in ledger
    assert len(history.topics[DELIVERIES + DE]) > 50


@pytest.mark.parametrize("fraud", FRAUDS, ids=lambda fraud: fraud.__name__)
def test_the_checker_sees_what_it_looks_for(history: History, fraud: Callable[[History], None]) -> None:
    fraud(history)
    wrong = history.wrong()
    assert any(re.search(FRAUDS[fraud], text) for text in wrong), wrong[:5]


def test_two_roots_for_one_size_are_seen_where_the_ledger_cannot_tell() -> None:
    """Beyond the ledger that was read, both could be true; not both at once."""
    notes = [Seen(n, sign_checkpoint(Checkpoint(ORIGIN, 5, bytes([n]) * 32), SIGNER)) for n in range(2)]
    assert any("another root for 5" in text for text in check_tree([], notes, ORIGIN, PUBLIC))


def test_the_roots_are_those_of_the_standard() -> None:
    """The golden tree of the RFC 6962 implementations."""
    leaves = [bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657",
                                               "606162636465666768696a6b6c6d6e6f")]  # fmt: skip
    roots = Roots(leaves)
    assert roots[1].hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert roots[3].hex() == "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"
    assert roots[8].hex() == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"


def test_what_was_read_first_may_lack_what_is_still_to_come(history: History) -> None:
    """In the middle of a run the topics are read one after the other; what is missing then is no fault, the rest is."""
    lose_a_delivery(history)
    assert history.wrong("deliveries") == []
    history.topics[DELIVERIES + DE].append(Seen(10**6, history.topics[NOTICES + AT][0].value, None, {"ce_number": "7"}))
    assert any("no ledger entry" in text for text in history.wrong("deliveries"))


def test_deliveries_read_last_may_run_ahead_of_the_ledger(history: History) -> None:
    index = entry_with(history, lambda said: bool(said.get("deliveries")))
    del history.topics[LEDGER][index:]
    for name in list(history.topics):
        if name.startswith(STATE):
            history.topics[name] = []
    history.topics[CHECKPOINTS] = []
    assert history.wrong("entries") == []
    history.topics[DELIVERIES + DE].clear()
    assert any("was not delivered" in text for text in history.wrong("entries"))
