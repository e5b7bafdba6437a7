"""The checker, held against a good history and against every way to spoil it that its invariants name."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import struct
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import pytest

from hub.clock import Clock
from hub.core.checkpoint import Checkpoint, Signer, sign_checkpoint
from hub.log import Log, Record, Shard
from hub.log.embedded import EmbeddedLog
from hub.notary import CHECKPOINTS, Notary
from hub.registry import RegistryProcess
from hub.router import Router
from tests.faults.checker import Checker, Published, digest_of
from tests.faults.reading import STATE, Seen, Topics
from tests.faults.story import AT, DE, DELIVERIES, LEDGER, NOTICES, Author, Note, statements
from tests.faults.tree import Roots, check_tree
from tests.world import key_of

ORIGIN = "comity.test/ledger"
SIGNER = Signer(ORIGIN, key_of("hub/1"))
PUBLIC = key_of("hub/1").public_key().public_bytes_raw()


@dataclasses.dataclass
class History:
    published: Published
    topics: Topics

    def wrong(self, lacking: str = "nothing") -> list[str]:
        tree = check_tree(self.topics[LEDGER], self.topics[CHECKPOINTS], ORIGIN, PUBLIC, complete=lacking == "nothing")
        return Checker(self.published, self.topics, lacking).check() + tree


async def lived(path: Path) -> History:
    """Three hundred notes through a hub on an embedded log, which has no faults. Positions as a state topic would say them."""
    log = EmbeddedLog.open(path / "comity.db")
    await log.create("comity.requests", "comity.registry", LEDGER, CHECKPOINTS)
    registry = RegistryProcess(log, key_of("hub/1"), Clock(), grace_ms=0)
    assert await registry.found(ORIGIN, key_of("operator/1"))
    for document in statements():
        await log.append("comity.requests", Record(document))
    while await registry.step():
        pass
    router, notary = Router(log, Shard("router-0", prefix=NOTICES), Clock(), limit=20), Notary(log, SIGNER)
    published, said = Published(), []
    for n, note in enumerate(islice(Author(1), 300)):
        await publish(log, published, note)
        if n % 30 == 29:
            while await router.step():
                said += [(topic, offset) for topic, offset in router._claim.positions.items()]
            await notary.step()
    topics: Topics = {}
    for name in await log.topics():
        found = await log.read(name, limit=100_000)
        topics[name] = [Seen(s.offset, s.record.value, s.record.key, dict(s.record.headers)) for s in found]
    topics[f"{STATE}router-0"] = [Seen(n, setting(topic, offset)) for n, (topic, offset) in enumerate(said)]
    await log.close()
    return History(published, topics)


async def publish(log: Log, published: Published, note: Note) -> None:
    published.notes.setdefault(note.digest, note)
    published.begun[note.digest] += 1
    topic = NOTICES + note.sender
    published.acknowledged[topic, await log.append(topic, Record(note.raw))] = note.digest


def setting(topic: str, offset: int) -> bytes:
    name, value = f"\x00position/{topic}".encode(), b"%d" % offset
    return struct.pack(">Ii", len(name), len(value)) + name + value


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
        "good", "cancel", "forged", "expired", "stranger", "twin"
    }  # fmt: skip
    assert max(history.published.begun.values()) > 1, "some were published again"
    ledger = b"".join(seen.value for seen in history.topics[LEDGER])
    for word in (b'"recall"', b'"equivocation"', b'"signature"', b'"expired"', b'"wrong-sender"', b'["source_detail"]'):
        assert word in ledger
    assert len(history.topics[DELIVERIES + DE]) > 50


def last(history: History, topic: str) -> Seen:
    return history.topics[topic][-1]


def change(history: History, topic: str, index: int, **fields: object) -> None:
    history.topics[topic][index] = dataclasses.replace(history.topics[topic][index], **fields)


def reseal(value: bytes, edit: Callable[[dict], None]) -> bytes:
    leaf, _, sealed = value.partition(b"\n")
    said = json.loads(sealed)
    edit(said)
    return leaf + b"\n" + json.dumps(said).encode()


def entry_with(history: History, predicate: Callable[[dict], bool]) -> int:
    """The last ledger entry whose sealed part is so."""
    ledger = history.topics[LEDGER]
    return max(n for n, seen in enumerate(ledger) if predicate(json.loads(seen.value.partition(b"\n")[2])))


def lose_a_message(history: History) -> None:
    history.topics[NOTICES + AT].pop()


def double_a_message(history: History) -> None:
    seen = last(history, NOTICES + AT)
    history.topics[NOTICES + AT].append(dataclasses.replace(seen, offset=seen.offset + 1))


def lose_an_entry(history: History) -> None:
    del history.topics[LEDGER][entry_with(history, lambda said: said.get("deliveries") == [] and "reason" not in said)]


def double_an_entry(history: History) -> None:
    found = history.topics[LEDGER][entry_with(history, lambda said: said.get("reason") == "signature")]
    history.topics[LEDGER].append(found)


def answer_twice(history: History) -> None:
    """An entry about a message whose answer was on record: dedupe is off."""
    digests = [digest_of(seen.value) for seen in history.topics[NOTICES + AT]]
    again = next(n for n, digest in enumerate(digests) if digest in digests[:n])
    place = {"topic": NOTICES + AT, "offset": history.topics[NOTICES + AT][again].offset}
    index = entry_with(history, lambda said: "source" in said)
    value = reseal(history.topics[LEDGER][index].value, lambda said: said["source"].update(place))
    history.topics[LEDGER].append(Seen(10**6, value))


def give_to_a_stranger(history: History) -> None:
    index = entry_with(history, lambda said: said.get("deliveries") == [] and "reason" not in said)
    stray = {"recipient": DE, "agreement": "x", "version": 1, "clause": "c", "withheld": [], "number": 999,
             "reason": "clause", "slot": 0}  # fmt: skip
    value = reseal(history.topics[LEDGER][index].value, lambda said: said["deliveries"].append(stray))
    change(history, LEDGER, index, value=value)


def forget_a_recipient(history: History) -> None:
    index = entry_with(history, lambda said: len(said.get("deliveries", [])) > 1)
    change(
        history, LEDGER, index, value=reseal(history.topics[LEDGER][index].value, lambda said: said["deliveries"].pop())
    )


def say_another_clause(history: History) -> None:
    index = entry_with(history, lambda said: bool(said.get("deliveries")))
    value = reseal(history.topics[LEDGER][index].value, lambda said: said["deliveries"][0].update(clause="other"))
    change(history, LEDGER, index, value=value)


def show_what_is_withheld(history: History) -> None:
    found = history.topics[DELIVERIES + DE]
    index = max(n for n, seen in enumerate(found) if seen.headers["ce_withheld"])
    change(history, DELIVERIES + DE, index, value=history.published.notes[digest_of(found[index].value)].raw)


def lose_a_delivery(history: History) -> None:
    history.topics[DELIVERIES + DE].pop()


def deliver_twice(history: History) -> None:
    history.topics[DELIVERIES + DE].append(last(history, DELIVERIES + DE))


def skip_a_number(history: History) -> None:
    seen = last(history, DELIVERIES + DE)
    change(history, DELIVERIES + DE, -1, headers=seen.headers | {"ce_number": "1000"})


def swap_two_deliveries(history: History) -> None:
    found = history.topics[DELIVERIES + DE]
    sources = [seen.headers["ce_source"] for seen in found]
    first = next(n for n in range(len(found)) if sources[n] in sources[n + 1 :])
    second = sources.index(sources[first], first + 1)
    found[first], found[second] = found[second], found[first]


def go_back(history: History) -> None:
    history.topics[f"{STATE}router-0"].append(Seen(10**6, setting(NOTICES + AT, 3)))


def run_ahead(history: History) -> None:
    """The position passes a message that has no entry."""
    lose_an_entry(history)


def stop_short(history: History) -> None:
    end = last(history, NOTICES + AT).offset
    mine = history.topics[f"{STATE}router-0"]
    history.topics[f"{STATE}router-0"] = [seen for seen in mine if seen.value != setting(NOTICES + AT, end)]


def resign(history: History, size: int, root: bytes) -> None:
    note = sign_checkpoint(Checkpoint(ORIGIN, size, root), SIGNER)
    history.topics[CHECKPOINTS].append(Seen(10**6, note))


def sign_another_root(history: History) -> None:
    resign(history, len(history.topics[LEDGER]), bytes(32))


def sign_too_much(history: History) -> None:
    resign(history, len(history.topics[LEDGER]) + 5, bytes(32))


def sign_a_size_again(history: History) -> None:
    history.topics[CHECKPOINTS].append(last(history, CHECKPOINTS))


def rewrite_the_ledger(history: History) -> None:
    seen = history.topics[LEDGER][2]
    change(history, LEDGER, 2, value=seen.value.replace(b'"at":', b'"at":1', 1))


def forge_a_signature(history: History) -> None:
    seen = last(history, CHECKPOINTS)
    change(history, CHECKPOINTS, -1, value=seen.value[:-8] + b"AAAAAA==")


def leave_the_end_unsigned(history: History) -> None:
    history.topics[CHECKPOINTS].pop()


FRAUDS = {
    lose_a_message: "1: acknowledged and lost",
    double_a_message: "was not put there so often",
    lose_an_entry: "has 0 entries",
    double_an_entry: "has 2 entries",
    answer_twice: "was answered before, and has an entry of its own",
    give_to_a_stranger: "2: .* is not entitled, and has it",
    forget_a_recipient: "1: .* is entitled, and does not have it",
    say_another_clause: "2: .* entitled is",
    show_what_is_withheld: "2: .* discloses",
    lose_a_delivery: "3: .* it was not delivered",
    deliver_twice: "3: .* no ledger entry says so",
    skip_a_number: "4: .* number 1000 comes behind",
    swap_two_deliveries: "4: .* was delivered behind",
    go_back: "5: .* went back",
    run_ahead: "5: .* no entry explains",
    stop_short: "7: .* its position is",
    sign_another_root: "6: .* another root for|6: .* has not the root",
    sign_too_much: "6: .* the ledger has",
    sign_a_size_again: "6: .* the one before",
    rewrite_the_ledger: "6: .* has not the root",
    forge_a_signature: "6: .* is not signed",
    leave_the_end_unsigned: "7: the ledger has .* the last checkpoint covers",
}


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
