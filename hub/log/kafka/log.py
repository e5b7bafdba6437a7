"""`KafkaLog`: the port of `hub.log` on a Kafka cluster."""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import Sequence
from types import TracebackType

from hub.core.address import KafkaAddress
from hub.log import Fenced, LogError, Record, Shard, Stored, Unavailable
from hub.log.kafka.claim import STATE_TOPICS, KafkaClaim
from hub.log.kafka.cluster import Cluster, OutOfRange
from hub.log.kafka.producing import Appender
from hub.log.kafka.records import Fetched, encode
from hub.log.kafka.watch import Watch

TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")
FARTHEST = 2**62
ABSENT_PAUSE = 0.2  # seconds between looks for a topic that nobody has made yet
CLOSE_SECONDS = 20.0  # for appends that were begun
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 2.0  # seconds before a shard is claimed again that a rival has taken
CLAIM_SECONDS = 20.0  # of rivalry for a shard
SETTLE_SECONDS = 30.0  # for transactions that write to a topic to end: longer than the brokers let one live


class KafkaLog:
    """Belongs to one event loop. Made by `open`; `close` ends it. Topics have one partition each."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._watch = Watch(cluster)
        self._appender = Appender(cluster)
        self._claims: dict[str, KafkaClaim] = {}
        self._losses: dict[str, int] = {}  # how often in a row a shard was lost before anything was committed
        self._ends: dict[str, tuple[int, int]] = {}  # topic -> last stable offset, and the last record before it
        self._written: dict[str, int] = {}  # the last offset that a commit of ours wrote: a commit returns before its
        # records can be read, and our own reader shall find them all the same
        self._appending: set[asyncio.Future[None]] = set()  # appends under way: closing waits for them
        self._closed = False

    @classmethod
    async def open(cls, address: KafkaAddress | str, *, replication: int = 1) -> KafkaLog:
        """Connect. `replication`: of topics that it makes. Unavailable: what is wrong, where, what to do."""
        parsed = KafkaAddress.parse(address) if isinstance(address, str) else address
        return cls(await Cluster.open(parsed, replication))

    async def __aenter__(self) -> KafkaLog:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Finish what was begun, in bounded time, then let go; who still waits for records hears Unavailable."""
        if self._closed:
            return
        self._closed = True
        if self._appending:
            await asyncio.wait(self._appending, timeout=CLOSE_SECONDS)
        told = f"{self._cluster.address}: this log was closed; open it again"
        self._watch.close(told)
        await self._appender.close()
        for claim in self._claims.values():
            claim.end(Unavailable(told))
            await claim.settled()
        await self._cluster.close()

    async def create(self, *topics: str) -> None:
        self._check_open()
        for topic in topics:
            if not TOPIC.fullmatch(topic):
                raise LogError(f"{topic[:60]!r} is no name for a topic: use 1 to 249 of A-Z a-z 0-9 . _ -")
        await self._cluster.create(*topics)

    async def topics(self, prefix: str = "") -> list[str]:
        self._check_open()
        await self._cluster.refresh()
        own = STATE_TOPICS  # how claims keep their state is nobody's concern
        return sorted(name for name in self._cluster.names() if name.startswith(prefix) and not name.startswith(own))

    async def append(self, topic: str, record: Record) -> int:
        self._check_open()
        encoded = encode(topic, record)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._appending.add(done)
        try:
            return await self._appender.append(encoded)
        finally:
            self._appending.discard(done)
            done.cancel()

    async def append_all(self, topic: str, records: Sequence[Record]) -> list[int]:
        """Append in order, without a gap, and faster than one by one: what moving a hub needs. Not of the port.

        When it fails, some first ones of the records are there, or none.
        """
        self._check_open()
        return await self._appender.append_all([encode(topic, record) for record in records]) if records else []

    async def read(
        self, topic: str, after: int = -1, limit: int = 500, wait: float = 0.0, *, settled: bool = False
    ) -> list[Stored]:
        self._check_open()
        deadline, settle = time.monotonic() + wait, time.monotonic() + SETTLE_SECONDS
        offset = min(max(after, -1), FARTHEST) + 1
        decided: int | None = None  # all before this must be committed or aborted before we say that there is no more
        while limit > 0:
            found = await self._fetch(topic, offset, limit)
            if found is not None and found.records:
                return found.records
            if found is not None:
                offset = found.next
                if decided is None:
                    decided = max(found.end if settled else 0, self._written.get(topic, -1) + 1)
                if not found.exhausted:
                    continue
                if found.stable < decided:
                    await self._settle(topic, found.stable, settle)
                    continue
            if (left := deadline - time.monotonic()) <= 0:
                break
            # Without the topic, or with its end before us, there is no offset to wait at: look again a little later.
            await self._watch.wait(topic, offset, left if found else min(left, ABSENT_PAUSE))
            self._check_open()
        return []

    async def end(self, topic: str) -> int:
        self._check_open()
        if not await self._cluster.knows(topic):
            return -1
        first, stable = await self._cluster.bounds(topic)
        settle = time.monotonic() + SETTLE_SECONDS
        while stable <= self._written.get(topic, -1):
            await self._settle(topic, stable, settle)
            first, stable = await self._cluster.bounds(topic)
        known = self._ends.get(topic)
        if known is None or known[0] != stable:
            self._ends[topic] = known = (stable, await self._last(topic, first, stable))
        return known[1]

    async def claim(self, shard: Shard) -> KafkaClaim:
        self._check_open()
        before = self._claims.pop(shard.name, None)
        if before is not None and not before.over:
            before.end(Fenced(f"shard {shard.name} was claimed by another holder: claim it again"))
        elif before is not None and before.fenced:
            # Rivals that claim again at once fence one another before anyone has committed: who lost lets others work.
            self._losses[shard.name] = 0 if before.worked else self._losses.get(shard.name, 0) + 1
            await self._pause(self._losses[shard.name])
        claim = await self._take(shard)
        self._claims[shard.name] = claim
        return claim

    async def _take(self, shard: Shard) -> KafkaClaim:
        deadline, lost = time.monotonic() + CLAIM_SECONDS, 0
        while True:
            try:
                return await KafkaClaim.take(self._cluster, shard, self._written)
            except Fenced:
                if time.monotonic() > deadline:
                    raise
                lost += 1
                await self._pause(lost)

    async def _pause(self, losses: int) -> None:
        await asyncio.sleep(random.uniform(0.0, min(LONGEST_PAUSE, FIRST_PAUSE * 2**losses)))  # noqa: S311  jitter

    async def _fetch(self, topic: str, offset: int, limit: int) -> Fetched | None:
        """Committed records; None when there is no such topic, or the offset is behind its end."""
        if not await self._cluster.knows(topic):
            return None
        each = 65_536 if limit == 1 else 1_048_576
        try:
            return (await self._cluster.fetch({topic: offset}, lane="read", limit=limit, each=each)).get(topic)
        except OutOfRange:
            first, stable = await self._cluster.bounds(topic)
            if offset >= stable:
                return None
            # What retention has deleted is not there: go on with what is.
            return (await self._cluster.fetch({topic: first}, lane="read", limit=limit, each=each)).get(topic)

    async def _settle(self, topic: str, stable: int, until: float) -> None:
        """Wait for a transaction that has written to the topic. Unavailable when it does not end."""
        left = until - time.monotonic()
        if left <= 0:
            raise Unavailable(f"{topic} has an unfinished transaction that does not end; see whether its writer runs")
        await self._watch.wait(topic, stable, left)

    async def _last(self, topic: str, first: int, stable: int) -> int:
        """The offset of the last committed record before `stable`. Markers and aborted records take up offsets too."""
        back = 2
        while True:
            start = max(first, stable - back)
            last, at = -1, start
            while at < stable:
                found = (await self._cluster.fetch({topic: at}, lane="read"))[topic]
                last = next((s.offset for s in reversed(found.records) if s.offset < stable), last)
                at = found.next
            if last >= 0 or start == first:
                return last
            back *= 8

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(f"{self._cluster.address}: this log is closed; open it again")
