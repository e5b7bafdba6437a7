"""`read(settled=True)`: whoever says "there are no more" has waited for those who had written before they were asked."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from hub.log import Fenced, Record, Shard, Unavailable
from hub.log.kafka import KafkaLog
from hub.log.kafka import log as kafka_log
from tests.kafka.logs import Place, records, values
from tests.kafka.proxy import END_TXN, Proxy

pytestmark = pytest.mark.kafka


class Open:
    """A transaction that has written to `out` and is not ended until `end` is called. Its EndTxn waits in the proxy."""

    def __init__(self, log: KafkaLog, shard: Shard, out: str) -> None:
        self.log, self.shard, self.out = log, shard, out

    @classmethod
    async def begin(cls, place: Place, proxy: Proxy) -> Open:
        log = await place.open(through=proxy)
        shard, _, out = await place.shard(log)
        made = cls(log, shard, out)
        claim = await log.claim(shard)
        written = threading.Event()
        proxy.delay(END_TXN, 1.0, f"comity-{shard.name}")
        made.commit = asyncio.create_task(claim.commit([], records(out, b"1"), {}, confirm=written.set))
        while not written.is_set():
            await asyncio.sleep(0.005)
        return made


async def test_a_settled_reader_waits_for_the_transaction_that_had_written(place: Place, proxy: Proxy) -> None:
    reader = await place.open()
    made = await Open.begin(place, proxy)
    assert await reader.read(made.out) == []
    assert await reader.end(made.out) == -1
    assert values(await reader.read(made.out, settled=True)) == [b"1"]
    await made.commit


async def test_a_settled_reader_does_not_wait_where_nobody_has_written(place: Place, proxy: Proxy) -> None:
    reader = await place.open()
    made = await Open.begin(place, proxy)
    other = place.name("other")
    await reader.create(other)
    begun = time.monotonic()
    assert await reader.read(other, settled=True) == []
    assert time.monotonic() - begun < 0.9, "as long as the transaction takes"
    await made.commit


async def test_a_settled_reader_hears_that_there_is_nothing_when_the_transaction_is_aborted(
    place: Place, proxy: Proxy
) -> None:
    reader, rival = await place.open(), await place.open()
    made = await Open.begin(place, proxy)
    reading = asyncio.create_task(reader.read(made.out, settled=True))
    await asyncio.sleep(0.2)
    assert not reading.done()
    await rival.claim(made.shard)
    assert await reading == []
    with pytest.raises(Fenced):
        await made.commit


async def test_a_settled_reader_hears_unavailable_when_the_transaction_does_not_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is committed is given out all the same: only "no more" cannot be said."""
    monkeypatch.setattr(kafka_log, "SETTLE_SECONDS", 0.5)
    log, reader = await place.open(), await place.open()
    shard, _, out = await place.shard(log)
    claim = await log.claim(shard)
    await claim.commit([], records(out, b"committed"), {})

    def no() -> None:
        raise Fenced("its process is gone")

    with pytest.raises(Fenced):
        await claim.commit([], records(out, b"open"), {}, confirm=no)
    [first] = await reader.read(out, settled=True)
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="unfinished transaction that does not end"):
        await reader.read(out, after=first.offset, settled=True)
    assert 0.4 < time.monotonic() - begun < 3
    await log.append(out, Record(b"behind it"))
    assert await reader.read(out, after=first.offset) == []
    await (await reader.claim(shard)).release()
    assert values(await reader.read(out, after=first.offset, settled=True)) == [b"behind it"]


async def test_ones_own_commit_is_read_at_once(place: Place) -> None:
    """Though the brokers write the markers of a commit after they have answered it."""
    log = await place.open()
    shard, source, out = await place.shard(log)
    claim = await log.claim(shard)
    for n in range(50):
        [offset] = await claim.commit([], records(out, b"%d" % n), {})
        assert values(await log.read(out, after=offset - 1)) == [b"%d" % n]
        assert await log.end(out) == offset
    assert await log.read(source) == []
