"""Who takes a shard sees how the holder before ended, whenever that happens; and what was aborted is seen by nobody."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest
from aiokafka.consumer.fetcher import READ_UNCOMMITTED

from hub.log import Fenced, LogError, Record, Shard, Unavailable
from hub.log.kafka import KafkaClaim, cluster
from hub.log.kafka import claim as claims
from hub.log.kafka import records as kafka_records
from hub.log.kafka.producing import Transactions
from hub.log.kafka.records import encode
from hub.log.kafka.state import State
from tests.kafka.logs import Place, fill, records, values
from tests.kafka.proxy import END_TXN, Proxy

pytestmark = pytest.mark.kafka
MOMENTS = ("before the start of the producer", "behind the start of the producer", "behind the restoring")


async def restored_first(cls: type[KafkaClaim], where: Any, shard: Shard, written: dict[str, int]) -> KafkaClaim:
    """The mutant: state and positions are read, and only then is the holder before fenced."""
    topic = claims.state_topic(shard)
    await where.create(topic)
    _, end = await where.bounds(topic, lane=topic)
    state, positions, held = await claims.restore(where, topic, end - 1) if end else (State(), {}, 0)
    transactions = await Transactions.open(where, f"comity-{shard.name}")
    barrier = encode(topic, Record(b"", claims.BARRIER))
    [epoch] = (await transactions.commit({topic: [barrier]}, await where.limit(topic), None))[topic]
    return cls(where, shard, transactions, epoch, state, positions, held, written)


async def taken_while_held(place: Place, moment: str, monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The old holder commits a batch at a moment of the new one's taking. What the new one knows is held against what
    anybody can read afterwards."""
    old_log, new_log, wrong = await place.open(), await place.open(), set()
    shard, source, out = await place.shard(old_log)
    await fill(old_log, source, b"1", b"2")
    old = await old_log.claim(shard)
    batch = await old.batch(1, wait=5)
    start, restore = Transactions.open, claims.restore

    async def commits(when: str) -> None:
        if when == moment:
            with contextlib.suppress(LogError):
                await old.commit(batch, records(out, b"1"), {"moved": b"1"})

    async def opened(where: Any, transactional_id: str) -> Transactions:
        await commits(MOMENTS[0])
        transactions = await start(where, transactional_id)
        await commits(MOMENTS[1])
        return transactions

    async def restored(*given: Any) -> Any:
        found = await restore(*given)
        await commits(MOMENTS[2])
        return found

    monkeypatch.setattr(Transactions, "open", opened)
    monkeypatch.setattr(claims, "restore", restored)
    new = await new_log.claim(shard)
    moved = values(await new_log.read(out, settled=True)) == [b"1"]
    if ("moved" in new.state) != moved:
        wrong.add("the state is not what was committed")
    if values(await new.batch(wait=1)) != ([b"2"] if moved else [b"1", b"2"]):
        wrong.add("the position is not what was committed")
    return wrong


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_new_holder_knows_what_the_old_one_committed_last(
    place: Place, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await taken_while_held(place, moment, monkeypatch) == set()


async def test_restoring_before_the_fence_would_miss_the_last_commit(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KafkaClaim, "take", classmethod(restored_first))
    wrong = await taken_while_held(place, MOMENTS[2], monkeypatch)
    assert wrong == {"the state is not what was committed", "the position is not what was committed"}


@pytest.mark.parametrize("late", [0.0, 0.02, 0.1, 1.0])
async def test_a_holder_who_starts_in_an_open_transaction_sees_its_end(place: Place, proxy: Proxy, late: float) -> None:
    """The old one's EndTxn is under way when the shard is taken: it wins, or the new holder does; never both, never none."""
    old_log, new_log = await place.open(through=proxy), await place.open()
    shard, source, out = await place.shard(old_log)
    await fill(old_log, source, b"1")
    old = await old_log.claim(shard)
    batch = await old.batch(wait=5)
    ends = proxy.met.count((END_TXN, f"comity-{shard.name}"))
    proxy.delay(END_TXN, late, f"comity-{shard.name}")
    commit = asyncio.create_task(old.commit(batch, records(out, b"1"), {"moved": b"1"}))
    while proxy.met.count((END_TXN, f"comity-{shard.name}")) == ends and not commit.done():
        await asyncio.sleep(0.001)
    new = await new_log.claim(shard)
    [outcome] = await asyncio.gather(commit, return_exceptions=True)
    moved = values(await new_log.read(out, settled=True)) == [b"1"]
    assert ("moved" in new.state, await new.batch() == batch) == (moved, not moved)
    assert moved if isinstance(outcome, list) else isinstance(outcome, Fenced)
    assert not moved or late < 1.0, "nobody waits for a holder who is slow"


async def abort(place: Place, shard: Shard, *outputs: tuple[str, Record], times: int = 1) -> None:
    """Transactions that have written and are then ended by the next claim. Of other clients, who do not wait for one another."""

    def no() -> None:
        raise Fenced("not to be")

    for n in range(times):
        claim = await (await place.open()).claim(shard)
        with pytest.raises(Fenced):
            await claim.commit([], outputs, {"aborted": b"%d" % n}, confirm=no)
    await (await (await place.open()).claim(shard)).release()


async def aborted(place: Place) -> set[str]:
    """Who sees something of transactions that were aborted: readers, claims, the end of the topic, a restoring."""
    log, seen = await place.open(), set()
    shard, source, out = await place.shard(log)
    await fill(log, source, b"1")
    claim = await log.claim(shard)
    [offset] = await claim.commit([], records(out, b"kept"), {"kept": b"1"})
    await abort(place, shard, (out, Record(b"gone")), (source, Record(b"gone too")), times=3)
    if values(await log.read(out)) != [b"kept"] or await log.read(out, after=offset, wait=0.2):
        seen.add("a reader")
    if await log.end(out) != offset:
        seen.add("the end")
    again = await log.claim(shard)
    if dict(again.state) != {"kept": b"1"}:
        seen.add("a restoring")
    if values(await again.batch()) != [b"1"]:
        seen.add("a claim")
    await again.commit(await again.batch(), [], {})
    if await again.batch(wait=0.3):
        seen.add("a claim that waits")
    return seen


async def test_what_was_aborted_is_seen_by_nobody(place: Place) -> None:
    assert await aborted(place) == set()


async def test_whoever_reads_uncommitted_records_would_see_it(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cluster, kafka_records):
        monkeypatch.setattr(module, "READ_COMMITTED", READ_UNCOMMITTED)
    assert await aborted(place) >= {"a reader", "the end", "a restoring", "a claim"}


async def test_a_topic_of_aborted_records_alone_is_empty(place: Place) -> None:
    log = await place.open()
    shard, _, out = await place.shard(log)
    await abort(place, shard, *((out, Record(bytes(50_000))) for _ in range(30)))
    assert await log.end(out) == -1
    assert await log.read(out) == []
    offset = await log.append(out, Record(b"first"))
    assert await log.end(out) == offset


async def test_a_state_that_ends_in_markers_and_aborted_records_is_restored_at_once(place: Place) -> None:
    """A restoring that waits for `position == end` would wait for ever: the last offset may be a marker's."""
    log = await place.open()
    shard, _, _ = await place.shard(log)
    await (await log.claim(shard)).commit([], [], {"k": b"v"})
    for _ in range(3):
        await abort(place, shard, times=2)
        begun = time.monotonic()
        claim = await log.claim(shard)
        assert dict(claim.state) == {"k": b"v"}
        assert time.monotonic() - begun < 2
        await claim.release()


async def test_positions_are_in_the_state_topic_and_in_no_group(place: Place) -> None:
    log = await place.open()
    shard, source, _ = await place.shard(log)
    await fill(log, source, b"1", b"2", b"3")
    claim = await log.claim(shard)
    await claim.commit((await claim.batch(wait=5))[:2], [], {})
    groups: set[str] = set()
    await place.administer(lambda admin: groups.update(str(group) for group in admin.list_groups()))
    assert not [group for group in groups if shard.name in group or source in group]
    # Without its state topic the shard has no position: nothing else keeps one.
    assert values(await (await (await place.open()).claim(shard)).batch(wait=1)) == [b"3"]
    await log.close()
    await place.remove(claims.state_topic(shard))
    again = await place.open()
    assert values(await (await again.claim(shard)).batch(wait=5)) == [b"1", b"2", b"3"]


async def test_a_shard_whose_state_holds_a_hanging_transaction_is_not_taken(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What some brokers leave behind (docs/decisions/0016) is made by another producer here: it looks the same."""
    monkeypatch.setattr(claims, "HANGS_SECONDS", 1.0)
    log, other = await place.open(), await place.open()
    shard, _, _ = await place.shard(log)
    topic = claims.state_topic(shard)
    first = await log.claim(shard)
    await first.commit([], [], {"kept": b"1"})
    await first.release()
    stranger = await Transactions.open(other._cluster, place.name("stranger"))
    await stranger._producer.begin_transaction()
    await (await stranger._producer.send(topic, b"unfinished", partition=0))
    try:
        before = await log._cluster._offsets(topic, "test", (cluster.LATEST, READ_UNCOMMITTED))
        with pytest.raises(Unavailable, match=r"KAFKA-20734.*runbook"):
            await log.claim(shard)
        with pytest.raises(Unavailable):
            await other.claim(shard)
        after = await log._cluster._offsets(topic, "test", (cluster.LATEST, READ_UNCOMMITTED))
        assert after == before, "something was written behind a transaction that hangs"
    finally:
        await stranger._producer.abort_transaction()
        await stranger.close()
    assert dict((await log.claim(shard)).state) == {"kept": b"1"}
