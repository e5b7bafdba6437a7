"""A broker that is frozen or cut off: every call ends, in bounded time, with Unavailable; afterwards everything works again.

What hangs in the client library is let go of: no task is left behind, and no exception that nobody retrieves (the fixture
`quiet`, which every place of these tests uses, fails them otherwise).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

import pytest

from hub.log import LogError, Record, Shard, Unavailable
from hub.log.kafka import KafkaLog, cluster, log, producing
from tests.kafka.logs import Ear, Place, fill, records, values
from tests.kafka.private import StartCluster
from tests.kafka.proxy import END_TXN, INIT_PRODUCER, PRODUCE, Proxy

pytestmark = pytest.mark.kafka
# What a call may take in earnest: REQUEST_SECONDS, PATIENCE, APPEND_SECONDS, COMMIT_SECONDS, START_SECONDS, in their sums.
BOUND = 45.0


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds within which every call must end, when the log's own bounds are a tenth."""
    for module, name in (
        (cluster, "REQUEST_SECONDS"), (cluster, "PATIENCE"), (log, "CLOSE_SECONDS"), (log, "CLAIM_SECONDS"),
        (producing, "APPEND_SECONDS"), (producing, "COMMIT_SECONDS"), (producing, "START_SECONDS"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, getattr(module, name) / 10)
    return BOUND / 10


async def ends(call: Awaitable[object], within: float) -> str:
    """How a call ended: the name of its error, or "done"; fails when it takes longer."""
    begun = time.monotonic()
    task = asyncio.ensure_future(call)
    await asyncio.wait({task}, timeout=within + 5)
    assert task.done(), f"{call} has not ended in {within + 5} s"
    assert time.monotonic() - begun < within, f"{call} took {time.monotonic() - begun:.1f} s"
    error = task.exception()
    return "done" if error is None else type(error).__name__


class Work:
    """A log in the middle of everything: a claim with a batch, an append done, a reader waiting."""

    def __init__(self, log: KafkaLog, shard: Shard, source: str, out: str) -> None:
        self.log, self.shard, self.source, self.out = log, shard, source, out

    @classmethod
    async def begin(cls, place: Place, log: KafkaLog) -> Work:
        work = cls(log, *await place.shard(log))
        await fill(log, work.source, b"1", b"2")
        work.claim = await log.claim(work.shard)
        work.batch = await work.claim.batch(1, wait=5)
        await log.read(work.source)
        await log._cluster.limit(work.out)  # known from an earlier commit: this one gets as far as its sends
        return work

    async def fails(self, name: str, within: float) -> dict[str, str]:
        """Every call at once; how each ended."""
        other = Shard(f"{self.shard.name}-other", topics=(self.source,))
        calls = {
            "append": self.log.append(self.source, Record(b"unknown")),
            "commit": self.claim.commit(self.batch, records(self.out, b"1"), {"moved": b"1"}),
            "claim": self.log.claim(other),
            "read": self.log.read(self.source, wait=0.1),
            "end": self.log.end(self.out),
            "topics": self.log.topics(),
            "create": self.log.create(name),
        }
        ended = await asyncio.gather(*(ends(call, within) for call in calls.values()))
        return dict(zip(calls, ended, strict=True))

    async def go_on(self, log: KafkaLog) -> None:
        """With the same log or another. Whatever became of the commit, it is the same everywhere."""
        claim = await log.claim(self.shard)
        moved = "moved" in claim.state
        assert values(await log.read(self.out, settled=True)) == ([b"1"] if moved else [])
        assert values(await claim.batch(1, wait=5)) == [b"2" if moved else b"1"]
        await claim.commit([], records(self.out, b"again"), {})
        await log.append(self.source, Record(b"3"))
        assert values(await log.read(self.source))[-1:] == [b"3"]


def check(ended: dict[str, str]) -> None:
    assert set(ended.values()) == {"Unavailable"}, ended


async def test_every_call_ends_while_the_broker_is_frozen_and_works_when_it_goes_on(
    place: Place, proxy: Proxy, hurried: float
) -> None:
    work = await Work.begin(place, await place.open(through=proxy))
    proxy.freeze()
    check(await work.fails(place.name("new"), hurried))
    with pytest.raises(LogError):
        await work.claim.commit(work.batch, [], {})
    proxy.thaw()
    await work.go_on(work.log)


async def test_without_its_bound_a_commit_would_wait_as_long_as_the_broker_is_frozen(
    place: Place, proxy: Proxy, hurried: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unbounded(seconds: float, work: Awaitable[object], what: str) -> object:
        return await work

    monkeypatch.setattr(producing, "within", unbounded)
    work = await Work.begin(place, await place.open(through=proxy))
    proxy.freeze()
    commit = asyncio.create_task(work.claim.commit(work.batch, records(work.out, b"1"), {}))
    await asyncio.wait({commit}, timeout=hurried)
    assert not commit.done()
    proxy.thaw()
    await commit


async def test_a_frozen_log_can_be_closed(place: Place, proxy: Proxy, hurried: float) -> None:
    """With an append, a commit and a reader under way, who are told."""
    work = await Work.begin(place, await place.open(through=proxy))
    proxy.freeze()
    under_way = [
        asyncio.ensure_future(work.log.append(work.source, Record(b"unknown"))),
        asyncio.ensure_future(work.claim.commit(work.batch, records(work.out, b"1"), {"moved": b"1"})),
        asyncio.ensure_future(work.log.read(work.source, after=1, wait=60)),
    ]
    await asyncio.sleep(0.2)
    assert await ends(work.log.close(), 2 * hurried) == "done"
    for call in under_way:
        assert await ends(call, hurried) in ("Unavailable", "Fenced")
    proxy.thaw()
    await work.go_on(await place.open())


async def test_a_log_outlives_a_broken_connection(place: Place, proxy: Proxy) -> None:
    """Nobody hears of it: appends and commits are sent again, and written once."""
    work = await Work.begin(place, await place.open(through=proxy))
    for n in range(3):
        proxy.cut()
        await work.log.append(work.source, Record(b"a%d" % n))
        proxy.cut()
        await work.claim.commit([], records(work.out, b"c%d" % n), {})
        if work.claim.over:  # the cut fell on the end of the commit
            work.claim = await work.log.claim(work.shard)
    assert values(await work.log.read(work.source)) == [b"1", b"2", b"a0", b"a1", b"a2"]
    assert values(await work.log.read(work.out)) == [b"c0", b"c1", b"c2"]


@pytest.mark.parametrize("api", [PRODUCE, END_TXN])
async def test_a_commit_that_is_stopped_half_way_is_all_or_nothing(
    place: Place, proxy: Proxy, hurried: float, api: int
) -> None:
    """The one request is never answered; the client gives up while it is under way."""
    work = await Work.begin(place, await place.open(through=proxy))
    proxy.delay(api, hurried, f"comity-{work.shard.name}")
    commit = work.claim.commit(work.batch, records(work.out, b"1"), {"moved": b"1"})
    assert await ends(commit, hurried) == "Unavailable"
    await work.go_on(await place.open())
    await asyncio.sleep(hurried)  # the old request has arrived by now
    assert values(await work.log.read(work.out, settled=True))[-1] == b"again"


async def test_a_cancelled_claim_leaves_nothing_behind(place: Place, proxy: Proxy) -> None:
    log = await place.open(through=proxy)
    shard, _, _ = await place.shard(log)
    proxy.delay(INIT_PRODUCER, 1.0)
    claiming = asyncio.create_task(log.claim(shard))
    await asyncio.sleep(0.3)
    claiming.cancel()
    with pytest.raises(asyncio.CancelledError):
        await claiming
    await (await log.claim(shard)).commit([], [], {"k": b"v"})


async def test_no_broker_at_all_is_told_at_once(kafka_bootstrap: str, quiet: Ear) -> None:
    with pytest.raises(Unavailable, match="see whether the brokers run"):
        await KafkaLog.open("kafka://127.0.0.1:1")


@pytest.mark.slow
async def test_a_stopped_broker_makes_every_call_end_and_is_used_again_when_it_runs(
    three_nodes: StartCluster, quiet: Ear
) -> None:
    """SIGSTOP and SIGCONT, with the log's own bounds. The connections stay: nothing tells the client but time."""
    nodes = three_nodes(nodes=1)
    place = Place(nodes.bootstrap)
    work = await Work.begin(place, await place.open())
    nodes.pause()
    begun = time.monotonic()
    check(await work.fails(place.name("new"), BOUND))
    took = time.monotonic() - begun
    print(f"every call ended within {took:.1f} s")
    nodes.resume()
    await work.go_on(work.log)
    nodes.pause()
    assert await ends(work.log.close(), BOUND) == "done"
    nodes.resume()
    await place.close()
