"""A commit is all or nothing, whatever becomes of its requests: sends that fail, ends that come late or twice, records too large.

Each scenario tells what is wrong after it; `set()` is right. Those with a mutant are run again without the protection.
"""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from hub.log import Fenced, LogError, Record, TooLarge, Unavailable
from hub.log.kafka import claim as claims
from hub.log.kafka.producing import Appender, Transactions, _retrieve
from hub.log.kafka.records import batches
from tests.kafka.logs import Place, fill, records, values
from tests.kafka.proxy import ADD_PARTITIONS, END_TXN, PRODUCE, Proxy

pytestmark = pytest.mark.kafka
BIG = bytes(5_000)


async def failing_send(place: Place) -> set[str]:
    """The limit of an output topic is lowered after the log has learnt it, so the broker refuses one of the sends."""
    log, wrong = await place.open(), set()
    ledger = place.name("ledger")
    shard, source, out = await place.shard(log, ledger)
    await fill(log, source, b"notice")
    claim = await log.claim(shard)
    batch = await claim.batch(wait=5)
    await claim.commit([], records(out, b"limits are learnt"), {})
    await place.limit(out, 500)
    try:
        await claim.commit(batch, [(out, Record(BIG)), (ledger, Record(b"entry"))], {"k": b"v"})
        wrong.add("the commit says that it succeeded")
    except (Unavailable, TooLarge):
        pass
    again = await (await place.open()).claim(shard)
    if dict(again.state):
        wrong.add("the state was written")
    if values(await again.batch(wait=1)) != [b"notice"]:
        wrong.add("the position moved")
    if values(await log.read(ledger)):
        wrong.add("the ledger entry is visible")
    return wrong


async def test_a_commit_of_which_one_send_fails_raises_and_writes_nothing(place: Place) -> None:
    assert await failing_send(place) == set()


async def test_without_awaiting_the_sends_a_failed_one_would_be_passed_over(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unawaited(self: Any, topic: str, rows: Any, limit: int) -> list[int]:
        for batch in batches(rows, limit, transactional=True):
            (await self._producer.send_batch(batch, topic, partition=0)).add_done_callback(_retrieve)
        return [0] * len(rows)

    monkeypatch.setattr(Transactions, "_write", unawaited)
    wrong = await failing_send(place)
    assert wrong >= {"the commit says that it succeeded", "the ledger entry is visible"}


async def late_end(place: Place, proxy: Proxy) -> set[str]:
    """The EndTxn of one commit is held back; its sender sends it again, and goes on. The first copy arrives in the next."""
    log, wrong = await place.open(through=proxy), set()
    shard, _, out = await place.shard(log)
    claim = await log.claim(shard)
    held = proxy.hold(END_TXN, f"comity-{shard.name}")
    await claim.commit([], records(out, b"first"), {})
    if not claim.over:
        wrong.add("the claim goes on after a doubtful end")
    else:
        claim = await log.claim(shard)

    def arrives() -> None:
        proxy.release(held)
        raise Fenced("this commit is not to be")

    with contextlib.suppress(LogError):
        await claim.commit([], records(out, b"second"), {"second": b"committed"}, confirm=arrives)
    reader = await place.open()
    again = await reader.claim(shard)  # ends what is open
    if values(await reader.read(out, settled=True)) != [b"first"] or again.state:
        wrong.add("the old end has ended the next transaction")
    return wrong


async def test_an_end_that_comes_late_does_not_end_the_next_transaction(place: Place, proxy: Proxy) -> None:
    assert await late_end(place, proxy) == set()


async def test_without_giving_the_producer_up_a_late_end_would_commit_what_is_not_to_be(
    place: Place, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    never = property(lambda self: False, lambda self, value: None)
    monkeypatch.setattr(Transactions, "doubtful", never, raising=False)
    assert "the old end has ended the next transaction" in await late_end(place, proxy)


async def test_a_claim_is_over_after_a_commit_whose_end_was_sent_twice(place: Place, proxy: Proxy) -> None:
    """The broker did it the first time; only its answer was lost. The commit is known to have happened."""
    log = await place.open(through=proxy)
    shard, source, out = await place.shard(log)
    await fill(log, source, b"1")
    claim = await log.claim(shard)
    batch = await claim.batch(wait=5)
    proxy.lose_answer(END_TXN, f"comity-{shard.name}")
    assert await claim.commit(batch, records(out, b"1"), {"k": b"v"}) == [0]
    with pytest.raises(Fenced, match="sent twice; claim it again"):
        await claim.commit([], records(out, b"2"), {})
    again = await log.claim(shard)
    assert (dict(again.state), await again.batch(), values(await log.read(out))) == ({"k": b"v"}, [], [b"1"])


async def test_an_end_that_is_only_slow_costs_nobody_the_claim(place: Place, proxy: Proxy) -> None:
    log = await place.open(through=proxy)
    shard, _, out = await place.shard(log)
    claim = await log.claim(shard)
    proxy.delay(END_TXN, 1.0, f"comity-{shard.name}")
    await claim.commit([], records(out, b"1"), {})
    await claim.commit([], records(out, b"2"), {})
    assert values(await log.read(out)) == [b"1", b"2"]


async def test_records_whose_answer_is_lost_are_written_once(place: Place, proxy: Proxy) -> None:
    """The producer sends them again; the broker knows their numbers. In a transaction, and by an append."""
    log = await place.open(through=proxy)
    shard, _, out = await place.shard(log)
    claim = await log.claim(shard)
    proxy.lose_answer(PRODUCE, f"comity-{shard.name}")
    await claim.commit([], records(out, b"committed"), {})
    await log.append(out, Record(b"warm"))
    proxy.lose_answer(PRODUCE, "comity-appends")
    offset = await log.append(out, Record(b"appended"))
    found = await log.read(out)
    assert values(found) == [b"committed", b"warm", b"appended"]
    assert found[-1].offset == offset


async def oversized(place: Place, proxy: Proxy) -> set[str]:
    """A record that is larger than its topic takes, between others that are not."""
    log, wrong = await place.open(through=proxy), set()
    shard, source, out = await place.shard(log)
    await place.limit(out, 500)
    await fill(log, source, b"1")
    claim = await log.claim(shard)
    batch = await claim.batch(wait=5)
    begun = proxy.met.count((ADD_PARTITIONS, f"comity-{shard.name}"))
    for _ in range(2):
        with pytest.raises(LogError) as told:
            await claim.commit(batch, [(out, Record(b"small")), (out, Record(BIG))], {"k": b"v"})
        if not (told.type is TooLarge and "raise its max.message.bytes" in str(told.value)):
            wrong.add("nobody says that it is too large")
    if proxy.met.count((ADD_PARTITIONS, f"comity-{shard.name}")) != begun:
        wrong.add("a transaction was begun for it")
    assert (dict(claim.state), await log.read(out)) == ({}, [])
    if claim.over:
        return wrong | {"the claim is over"}
    await claim.commit(batch, records(out, b"something else"), {})
    assert values(await log.read(out)) == [b"something else"]
    return wrong


async def test_a_record_that_its_topic_would_not_take_is_refused_before_anything_is_begun(
    place: Place, proxy: Proxy
) -> None:
    """And the claim goes on: whoever holds it can write something else."""
    assert await oversized(place, proxy) == set()


async def test_without_the_check_it_would_be_tried_in_vain_and_cost_the_claim(
    place: Place, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unchecked(cluster: Any, rows: Any, *topics: str) -> Any:
        return await cluster.limit(*topics, *(row.topic for row in rows))

    monkeypatch.setattr(claims, "check_sizes", unchecked)
    wrong = await oversized(place, proxy)
    assert wrong >= {"a transaction was begun for it", "the claim is over"}


async def test_a_topic_that_takes_more_now_is_believed_at_once(place: Place) -> None:
    """An operator who does what TooLarge says need not start the hub anew."""
    log = await place.open()
    shard, _, out = await place.shard(log)
    await place.limit(out, 500)
    claim = await log.claim(shard)
    with pytest.raises(TooLarge):
        await claim.commit([], [(out, Record(BIG))], {})
    with pytest.raises(TooLarge):
        await log.append(out, Record(BIG))
    await place.limit(out, 100_000)
    await claim.commit([], [(out, Record(BIG))], {})
    await log.append(out, Record(BIG))
    assert values(await log.read(out)) == [BIG, BIG]


async def test_a_topic_that_takes_less_now_is_found_out_by_one_failed_commit(place: Place) -> None:
    """The next claim refuses the record before it begins, instead of beginning in vain for ever."""
    log = await place.open()
    shard, _, out = await place.shard(log)
    claim = await log.claim(shard)
    await claim.commit([], records(out, b"limits are learnt"), {})
    await place.limit(out, 500)
    with pytest.raises(LogError):
        await claim.commit([], [(out, Record(BIG))], {})
    claim = await log.claim(shard)
    with pytest.raises(TooLarge):
        await claim.commit([], [(out, Record(BIG))], {})
    await claim.commit([], records(out, b"something else"), {})


async def test_a_commit_that_is_not_confirmed_writes_nothing_and_ends_the_claim(place: Place) -> None:
    log, other = await place.open(), await place.open()
    shard, source, out = await place.shard(log)
    await fill(log, source, b"1")
    claim = await log.claim(shard)
    batch = await claim.batch(wait=5)

    def no() -> None:
        raise Fenced("the lease is gone")

    with pytest.raises(Fenced):
        await claim.commit(batch, records(out, b"1"), {"k": b"v"}, confirm=no)
    with pytest.raises(Fenced):
        await claim.commit(batch, records(out, b"1"), {"k": b"v"})
    again = await other.claim(shard)
    assert (dict(again.state), values(await again.batch(wait=1))) == ({}, [b"1"])
    assert await other.read(out, settled=True) == []


async def test_an_append_whose_topic_shrank_says_that_it_is_too_large(place: Place) -> None:
    log = await place.open()
    _, source, _ = await place.shard(log)
    await fill(log, source, b"limits are learnt")
    await place.limit(source, 500)
    with pytest.raises(TooLarge):
        await log.append(source, Record(BIG))
    assert values(await log.read(source)) == [b"limits are learnt"]
    assert isinstance(log._appender, Appender)
    await fill(log, source, b"goes on")
