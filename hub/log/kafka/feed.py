"""What a claim reads: the records of its shard's topics, fetched ahead, and whether somebody else has taken the shard.

A task keeps a few records of each topic at hand, behind the committed positions. `batch` takes of them without removing
any: only a commit does. While nothing is committed the same task watches the state topic, where a barrier that is not ours
says that the claim is over; while there are commits, these hear it themselves.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from itertools import islice

from hub.log import Fenced, LogError, Shard, Stored, Unavailable
from hub.log.kafka.cluster import Cluster, OutOfRange
from hub.log.kafka.records import Fetched
from hub.log.kafka.state import BARRIER

ROOM = 32 * 1_048_576  # bytes of records at hand, over all topics
LEAST = 256 * 1024  # of one topic, however many there are
HELD = 0.25  # seconds that a broker holds a fetch for records to come
PLENTY = 128 * 1024  # bytes of records in one answer, from which on the next request follows at once
GATHER = 0.004  # seconds before it otherwise: what a record may wait for others
DISCOVERY = 1.0  # seconds between looks for new topics
IDLE = 0.3  # seconds without a commit after which the state topic is watched


class Feed:
    """`positions`: the claim's committed positions, which it keeps. Its task starts with the first `batch`."""

    def __init__(
        self, cluster: Cluster, shard: Shard, positions: Mapping[str, int], state_topic: str, state_next: int
    ) -> None:
        self._cluster, self._shard, self._positions = cluster, shard, positions
        self._state_topic, self._state_next = state_topic, state_next
        self._active = time.monotonic()
        self._topics: list[str] = []
        self._hand: dict[str, deque[Stored]] = defaultdict(deque)
        self._bytes: dict[str, int] = defaultdict(int)
        self._next: dict[str, int] = {}  # the offset to fetch a topic from
        self._ends: dict[str, int] = {}  # the last stable offset of a topic, as last heard
        self._served: dict[str, int] = {}  # the turn in which a topic last had records in a batch
        self._turn = 0
        self._fault: LogError | None = None
        self._news, self._room = asyncio.Event(), asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._discovered = 0.0
        self._gained = 0  # bytes of records that ever came

    async def batch(self, limit: int, wait: float, positions: Mapping[str, int]) -> list[Stored]:
        """Up to `limit` records behind `positions`. Fenced, Unavailable; LogError when records are gone unread."""
        if self._task is None:
            await self._discover()
            self._task = asyncio.create_task(self._run(), name=f"kafka-feed-{self._shard.name}")
        deadline = time.monotonic() + wait
        found = self._choose(limit, positions)
        if not found and limit > 0 and wait <= 0:
            # Nothing at hand does not mean that there is nothing: the caller may know better.
            await self._look(wait=0.0, lane="read")
            found = self._choose(limit, positions)
        while not found and (left := deadline - time.monotonic()) > 0:
            self._news.clear()
            await _until(self._news, left)
            found = self._choose(limit, positions)
        return found

    def committed(self, moved: Mapping[str, int], state_offsets: Sequence[int]) -> None:
        """Forget what was committed; our own records in the state topic are no news."""
        self._active = time.monotonic()
        if state_offsets:
            self._state_next = max(self._state_next, state_offsets[-1] + 1)
        for topic, offset in moved.items():
            hand = self._hand[topic]
            while hand and hand[0].offset <= offset:
                self._bytes[topic] -= len(hand.popleft().record.value)
        self._room.set()

    def lag(self) -> int:
        """Offsets between what is committed and what was last heard to be there; markers count as well."""
        return sum(
            max(0, end - (self._hand[topic][0].offset if self._hand[topic] else self._next[topic]))
            for topic, end in self._ends.items()
        )

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task}, timeout=1.0)

    def _choose(self, limit: int, positions: Mapping[str, int]) -> list[Stored]:
        """A fair share for each topic that has something; when there are too many, those not served for longest."""
        if self._fault is not None:
            raise type(self._fault)(*self._fault.args)
        waiting = []
        for topic, hand in self._hand.items():
            at = positions.get(topic, -1)
            if hand and hand[-1].offset > at:
                passed = sum(1 for _ in _while_before(hand, at))
                waiting.append((self._served.get(topic, 0), len(hand) - passed, topic, passed))
        chosen = sorted(waiting)[: max(limit, 0)]
        # The shortest queue first: what it leaves of its share goes to the longer ones.
        chosen.sort(key=lambda entry: entry[1])
        self._turn += 1
        found: list[Stored] = []
        for done, (_, _, topic, passed) in enumerate(chosen):
            share = (limit - len(found)) // (len(chosen) - done)
            found += islice(self._hand[topic], passed, passed + share)
            self._served[topic] = self._turn
        return found

    async def _run(self) -> None:
        try:
            while True:
                if time.monotonic() - self._discovered > DISCOVERY:
                    await self._discover()
                gained = self._gained
                full = await self._look(wait=HELD, lane=self._state_topic, watch=True)
                if 0 < self._gained - gained < PLENTY:
                    # A few records came, more will: a request for each would cost more than to route them.
                    await asyncio.sleep(GATHER)
                if full:
                    self._room.clear()
                    await _until(self._room, 0.02)
        except LogError as error:
            self._fault = error
            self._news.set()

    async def _look(self, *, wait: float, lane: str, watch: bool = False) -> bool:
        """One fetch of every topic that has room; whether some have none. Waits only when all of them may answer."""
        cap = max(LEAST, ROOM // max(1, len(self._topics)))
        wanted = {topic: self._next[topic] for topic in self._topics if self._bytes[topic] < cap}
        full = len(wanted) < len(self._topics)
        if watch and time.monotonic() - self._active > IDLE:
            wanted[self._state_topic] = self._state_next
        if not wanted:
            if not full:
                await asyncio.sleep(wait)
            return full
        try:
            found = await self._cluster.fetch(wanted, lane=lane, wait=0.0 if full else wait, each=min(cap, 1_048_576))
        except OutOfRange:
            await self._explain(wanted)
            return full
        self._see_rivals(found.pop(self._state_topic, None))
        for topic, part in found.items():
            self._take(topic, part)
        return full

    def _take(self, topic: str, part: Fetched) -> None:
        if part.base != self._next[topic]:
            return  # the same was fetched over the other lane meanwhile
        self._next[topic], self._ends[topic] = part.next, part.stable
        if part.records:
            self._hand[topic].extend(part.records)
            came = sum(len(stored.record.value) for stored in part.records)
            self._bytes[topic] += came
            self._gained += came
            self._news.set()

    def _see_rivals(self, part: Fetched | None) -> None:
        """A barrier behind our own: whoever takes the shard begins with one. Our own commits may be seen here before we have
        heard that they succeeded, so other records say nothing.
        """
        if part is None:
            return
        strangers = [stored.offset for stored in part.records if stored.record.key == BARRIER]
        if strangers:
            raise Fenced(f"shard {self._shard.name} was claimed by another holder at {strangers[0]}; claim it again")
        self._state_next = max(self._state_next, part.next)

    async def _discover(self) -> None:
        """Which topics are the shard's, now."""
        await self._cluster.refresh()
        self._discovered = time.monotonic()
        self._topics = sorted(topic for topic in self._cluster.names() if self._shard.owns(topic))
        for topic in self._topics:
            if topic not in self._next:
                await self._cluster.knows(topic)
                self._next[topic] = self._positions.get(topic, -1) + 1

    async def _explain(self, wanted: Mapping[str, int]) -> None:
        """LogError for the topic whose next record is gone: it is never passed over in silence."""
        for topic, offset in wanted.items():
            first, end = await self._cluster.bounds(topic)
            if topic == self._state_topic and offset < first:
                raise Fenced(f"shard {self._shard.name} was claimed by another holder; claim it again")
            if offset < first:
                raise LogError(
                    f"{topic}: records {offset} to {first - 1} were deleted before they were routed; raise its retention. "
                    f"To go on without them: `comity topics skip {topic}`"
                )
            if offset > end:
                raise Unavailable(
                    f"{topic} ends at {end}, and everything up to {offset - 1} was routed: it was deleted and made anew, or "
                    "lost its end. Restore it, or see the runbook on lost records"
                )


def _while_before(hand: deque[Stored], at: int) -> list[Stored]:
    passed = []
    for stored in hand:
        if stored.offset > at:
            break
        passed.append(stored)
    return passed


async def _until(event: asyncio.Event, seconds: float) -> None:
    """When the event is set, or after `seconds`."""
    waiting = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((waiting,), timeout=seconds)
    finally:
        waiting.cancel()
