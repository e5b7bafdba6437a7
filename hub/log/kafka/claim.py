"""A claim on Kafka: a transactional producer, and what it has read.

Taking one, in this order; the order is what makes it safe:

1. start the producer of `comity-<shard>`: the brokers fence the holder before and end its open transaction
   everywhere; see that they did, for some do not (docs/decisions/0016), and the next commit would end it as its own
2. write a *barrier* into the shard's state topic: whatever the holder before committed stands in front of it
3. read the state topic up to exactly that barrier: state and positions

A commit is one transaction: outputs, changed state and moved positions. Group offsets are not used. After any error the
producer is discarded and the claim is over: how that transaction ended is what the next claim reads.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import structlog

from hub.log import Fenced, LogError, Record, Shard, Stored, Unavailable, moves
from hub.log.kafka import state as states
from hub.log.kafka.cluster import Cluster, OutOfRange
from hub.log.kafka.feed import Feed
from hub.log.kafka.producing import Transactions, check_sizes
from hub.log.kafka.records import Encoded, encode
from hub.log.kafka.state import BARRIER, POSITION, Cleaner, State

logger = structlog.get_logger(__name__)

STATE_TOPICS = "comity.state."
RESTORE_BYTES = 4 * 1_048_576
HANGS_SECONDS = 35.0  # of an open transaction: the brokers abort those of the living after 20 s, when they look
PAUSE = 0.02


class KafkaClaim:
    """Made by `take`. Positions and state in memory follow its commits, and nothing else."""

    def __init__(
        self, cluster: Cluster, shard: Shard, transactions: Transactions, epoch: int, state: State,
        positions: dict[str, int], held: int, written: dict[str, int],
    ) -> None:  # fmt: skip
        """epoch: the offset of our barrier. held: bytes in the state topic. written: told the last offsets of commits."""
        self.shard, self.epoch = shard, epoch
        self._cluster, self._transactions, self._written = cluster, transactions, written
        self._state, self._positions = state, positions
        self._cleaner = Cleaner(state, positions, held)
        self._topic = state_topic(shard)
        self._over: LogError | None = None
        self.worked = False  # something was committed
        self._one = asyncio.Lock()  # one transaction at a time
        self._tasks: set[asyncio.Task[None]] = set()
        self._feed = Feed(cluster, shard, positions, self._topic, epoch + 1)

    @classmethod
    async def take(cls, cluster: Cluster, shard: Shard, written: dict[str, int]) -> KafkaClaim:
        """Fence whoever held the shard, then read what they committed. Fenced when somebody else is just taking it."""
        topic = state_topic(shard)
        await cluster.create(topic)
        limits = await cluster.limit(topic)
        transactions = await Transactions.open(cluster, f"comity-{shard.name}")
        try:
            await check_ended(cluster, topic)
            barrier = encode(topic, Record(b"", BARRIER))
            [epoch] = (await transactions.commit({topic: [barrier]}, limits, None))[topic]
            state, positions, held = await restore(cluster, topic, epoch)
        except BaseException:
            await transactions.discard()
            raise
        return cls(cluster, shard, transactions, epoch, state, positions, held, written)

    @property
    def over(self) -> bool:
        return self._over is not None

    @property
    def fenced(self) -> bool:
        """Whether it is over because another holder has the shard, or may have it."""
        return isinstance(self._over, Fenced)

    @property
    def state(self) -> Mapping[str, bytes]:
        return self._state

    @property
    def positions(self) -> Mapping[str, int]:
        return self._positions

    def lag(self) -> int:
        return self._feed.lag()

    async def batch(self, limit: int = 500, wait: float = 0.0, after: Sequence[Stored] = ()) -> list[Stored]:
        self._check()
        ahead = {stored.topic: stored.offset for stored in after}  # each topic in order: its last offset stays
        try:
            found = await self._feed.batch(limit, wait, self._positions | ahead)
        except Fenced as error:
            self.end(error)
            raise
        self._check()
        return found

    async def commit(
        self,
        batch: Sequence[Stored],
        outputs: Sequence[tuple[str, Record]],
        state: Mapping[str, bytes | None],
        confirm: Callable[[], None] | None = None,
    ) -> list[int]:
        async with self._one:
            self._check()
            moved = moves(batch, self._positions)
            try:
                prepared, limits = await self._prepare(outputs, state)
            except (Unavailable, asyncio.CancelledError) as error:
                self.end(_ended(self.shard, error))
                raise
            changes = self._cleaner.again() | dict(state) | {POSITION + t: b"%d" % at for t, at in moved.items()}
            said = [encode(self._topic, Record(value, "state")) for value in states.encode(changes)]
            by_topic: dict[str, list[Encoded]] = {}
            for record in [*prepared, *said]:
                by_topic.setdefault(record.topic, []).append(record)
            if not by_topic:
                return []
            try:
                offsets = await self._transactions.commit(by_topic, limits, confirm)
            except BaseException as error:
                self.end(_ended(self.shard, error))
                raise
            self._written |= {topic: found[-1] for topic, found in offsets.items() if topic != self._topic}
            self.worked = True
            self._positions |= moved
            self._feed.committed(moved, offsets.get(self._topic, []))
            self._state.change(state)
            self._clean(offsets.get(self._topic, []), said)
            if self._transactions.doubtful:
                self.end(Fenced(f"shard {self.shard.name}: the end of a commit was sent twice; claim it again"))
            places = {topic: iter(found) for topic, found in offsets.items()}
            return [next(places[topic]) for topic, _ in outputs]

    async def _prepare(
        self, outputs: Sequence[tuple[str, Record]], state: Mapping[str, bytes | None]
    ) -> tuple[list[Encoded], Mapping[str, int]]:
        """Everything that can be refused is refused here, before a transaction is begun: then the claim goes on."""
        prepared = [encode(topic, record) for topic, record in outputs]
        states.encode(state)
        for topic in {record.topic for record in prepared}:
            await self._cluster.require(topic)
        return prepared, await check_sizes(self._cluster, prepared, self._topic)

    def _clean(self, offsets: Sequence[int], said: Sequence[Encoded]) -> None:
        if not offsets:
            return
        cut = self._cleaner.committed(offsets[0], sum(len(record.value) for record in said))
        if cut is not None:
            self._spawn(self._cut(cut))

    async def _cut(self, before: int) -> None:
        """Left undone it costs room and time to restore, and the next pass does it."""
        try:
            await self._cluster.delete_before(self._topic, before)
        except LogError as error:
            logger.warning("a state topic was not cut off", shard=self.shard.name, fault=str(error))

    async def release(self) -> None:
        """Give the shard back."""
        async with self._one:
            if self._over is None:
                self._over = Fenced(f"shard {self.shard.name} was released: claim it again")
                await self._feed.close()
                await self._transactions.close()

    def end(self, error: LogError) -> None:
        """The claim is over, and says so from now on. What hangs on it is let go of in the background."""
        if self._over is None:
            self._over = error
            self._spawn(self._transactions.discard())
            self._spawn(self._feed.close())

    async def settled(self) -> None:
        """When everything in the background has ended."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _check(self) -> None:
        """What is seen here is soon old: only the brokers' fencing protects."""
        if self._over is not None:
            raise type(self._over)(*self._over.args)


async def check_ended(cluster: Cluster, topic: str) -> None:
    """Unavailable when a transaction of the holder before stays open, although the brokers say that it has ended.

    Its end cannot be told from here, and a commit of ours, by the same producer id, would commit what it wrote to the
    topics of that commit and to no others. So nothing is written until somebody has ended it. A rival that has started
    behind us has one open too, which ends: then our own first commit is fenced.
    """
    deadline = time.monotonic() + HANGS_SECONDS
    while (at := await cluster.undecided(topic, lane=topic)) is not None:
        if time.monotonic() > deadline:
            logger.error("a transaction hangs", topic=topic, offset=at, issue="KAFKA-20734")
            raise Unavailable(
                f"{cluster.address}: a transaction in {topic} at offset {at} was ended without its marker (KAFKA-20734); "
                "nothing is routed by it until it is aborted: see the runbook on hanging transactions"
            )
        await asyncio.sleep(PAUSE)


async def restore(cluster: Cluster, topic: str, barrier: int) -> tuple[State, dict[str, int], int]:
    """State, positions, and the bytes read, from what stands before the barrier.

    Fenced when our barrier is not there, for then a newer owner has cut the topic off behind it, and when it is cut while it is
    read: begin again.
    """
    state, held = State(), 0
    after, _ = await cluster.bounds(topic, lane=topic)
    if not 0 <= after <= barrier:
        raise Fenced(f"{topic} was taken over while it was claimed; claim it again")
    while after <= barrier:
        try:
            found = (await cluster.fetch({topic: after}, lane=topic, each=RESTORE_BYTES, wait=0.1))[topic]
        except OutOfRange as error:
            # The holder before cut behind its last pass. What we have may hold what was deleted in the part that is gone.
            raise Fenced(f"{topic} was cut off while it was restored; claim it again") from error
        for stored in found.records:
            if stored.offset >= barrier:
                break
            if stored.record.key != BARRIER:
                states.apply(stored.record.value, state)
                held += len(stored.record.value)
        after = found.next
        await asyncio.sleep(0)  # others go on
    positions = {key.removeprefix(POSITION): int(state.pop(key)) for key in state if key.startswith(POSITION)}
    state.measure()
    return state, positions, held


def state_topic(shard: Shard) -> str:
    return STATE_TOPICS + shard.name


def _ended(shard: Shard, error: BaseException) -> Fenced:
    return Fenced(f"a commit to shard {shard.name} ended by {type(error).__name__}: claim it again")
