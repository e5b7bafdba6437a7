"""The one port to the outside: append, read, and claim a shard to commit outputs, state and positions in one step.

Every implementation passes one contract suite: `hub.log.embedded` (SQLite, one machine) is the default,
`hub.log.kafka` serves a hub on several machines.

Offsets number a topic's records, rising from 0; a reader says the last offset it has seen, -1 from the start.
Everything a claim commits is atomic: all outputs, the new state and the positions, or none of it.

    LogError                the log cannot do what was asked (hub.core.errors)
    ├── Fenced              the claim is over: another holder has the shard, or how a commit ended is unknown
    ├── Unavailable         the log cannot be reached, written or read now: what, where, what to do
    ├── TooLarge            a record is larger than the log takes
    └── UnknownTopic        nobody has created the topic
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hub.core.errors import LogError

__all__ = [
    "MAX_RECORD", "Claim", "Fenced", "Log", "LogError", "Record", "Shard", "Stored", "TooLarge", "Unavailable",
    "UnknownTopic", "moves",
]  # fmt: skip

MAX_RECORD = 1_048_576  # bytes of value, key and headers together: what a broker takes by default


class Fenced(LogError):  # noqa: N818
    """The claim is over; claim again. Nothing of this commit was written."""


class Unavailable(LogError):  # noqa: N818
    """The log cannot be written or read now: what, where and what to do.

    Nothing of the operation is visible. After a crash it may turn out to have been written all the same, as may one
    that was cancelled: its outcome is unknown.
    """


class TooLarge(LogError):  # noqa: N818
    """A record is larger than the log takes; nothing was written."""


class UnknownTopic(LogError):  # noqa: N818
    """Records can be written to topics that were created; nothing was written."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is written: bytes, an optional key that keeps its records in one order, and text headers (hints)."""

    value: bytes
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def size(self) -> int:
        """Bytes it counts for against MAX_RECORD. UnicodeEncodeError for text that is not Unicode (lone surrogates)."""
        texts = "".join([*self.headers, *self.headers.values()])
        return len(self.value) + len((self.key or "").encode()) + len(texts.encode())


@dataclass(frozen=True, slots=True)
class Stored:
    """A committed record and where it stands."""

    topic: str
    offset: int
    record: Record
    partition: int = 0


@dataclass(frozen=True, slots=True)
class Shard:
    """What one owner works on: topics by name, and every topic with the prefix whose owner hashes to `index` of `count`.

    `name` is what is claimed: positions and state belong to it.
    """

    name: str
    topics: tuple[str, ...] = ()
    prefix: str = ""
    index: int = 0
    count: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"shard {self.name}: index {self.index} of {self.count}; it counts from 0")

    def owns(self, topic: str) -> bool:
        """Whether the topic is this shard's. The hash is part of the format: it must not change while data exists."""
        if topic in self.topics:
            return True
        if not self.prefix or not topic.startswith(self.prefix):
            return False
        owner = topic.removeprefix(self.prefix)
        return int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8], "big") % self.count == self.index


def moves(batch: Sequence[Stored], positions: Mapping[str, int]) -> dict[str, int]:
    """Where a commit of the batch moves the positions: its last offset in each topic.

    LogError when a record is behind what is committed, or they are not in order.
    """
    moved: dict[str, int] = {}
    for stored in batch:
        at = moved.get(stored.topic, positions.get(stored.topic, -1))
        if stored.offset <= at:
            raise LogError(
                f"{stored.topic} is committed up to {at}, and the batch has {stored.offset} after that: "
                "commit a batch once, as it came"
            )
        moved[stored.topic] = stored.offset
    return moved


class Claim(Protocol):
    """Exclusive hold of a shard, until a newer claim fences it.

    After Fenced, Unavailable or a cancellation in `commit` the claim is over, for how that commit ended may be unknown:
    claim again, and believe what is restored. LogError of another kind leaves the claim as it was.
    """

    shard: Shard
    epoch: int

    @property
    def state(self) -> Mapping[str, bytes]:
        """The committed key/value state: restored when the claim is taken, changed by commits alone.

        It may change while its keys are iterated over, also in another thread: what is set or deleted meanwhile is shown
        or not.
        """
        ...

    @property
    def positions(self) -> Mapping[str, int]:
        """The offset of the last committed record of each topic that has one, likewise."""
        ...

    def lag(self) -> int:
        """About how many records wait behind the positions, as far as is known without asking anybody."""
        ...

    async def batch(self, limit: int = 500, wait: float = 0.0, after: Sequence[Stored] = ()) -> list[Stored]:
        """Up to `limit` records after the committed positions, fairly across topics, each topic in order.

        Waits up to `wait` seconds for the first; fewer than `limit` do not mean that these are all. The positions move
        by `commit` alone; `after` is a batch whose commit is still under way, and this one begins behind it. Raises
        Fenced, Unavailable.
        """
        ...

    async def commit(
        self,
        batch: Sequence[Stored],
        outputs: Sequence[tuple[str, Record]],
        state: Mapping[str, bytes | None],
        confirm: Callable[[], None] | None = None,
    ) -> list[int]:
        """Write outputs (topic, record) in order, state changes (None deletes) and the batch's positions, atomically.

        Returns the outputs' offsets, durable. Raises Fenced, TooLarge, UnknownTopic, Unavailable, or LogError when a
        record of the batch is behind the committed positions; then nothing was written.

        confirm: called, perhaps in another thread, when all is written and nothing of it is visible yet, though
        `read(…, settled=True)` already waits for it. When it raises Fenced, commit and claim are over and nothing is written.
        """
        ...

    async def release(self) -> None:
        """Give the shard back; the claim is over."""
        ...


class Log(Protocol):
    """Belongs to one event loop."""

    async def create(self, *topics: str) -> None:
        """Make topics; those that exist are left alone. A name has 1 to 249 of A–Z a–z 0–9 `.` `_` `-`."""
        ...

    async def topics(self, prefix: str = "") -> list[str]:
        """The names that begin so, sorted."""
        ...

    async def append(self, topic: str, record: Record) -> int:
        """The record's offset, once it is durable. Concurrent appends share the cost of durability.

        Raises TooLarge, UnknownTopic, Unavailable.
        """
        ...

    async def read(
        self, topic: str, after: int = -1, limit: int = 500, wait: float = 0.0, *, settled: bool = False
    ) -> list[Stored]:
        """Committed records after offset `after`, in order; waits up to `wait` seconds for the first.

        Fewer than `limit` do not mean that these are all; none does. A topic that nobody created has none.

        settled: before saying that there are no more, wait for the end of every commit that had written to the topic,
        unseen as yet, when this was called. Unavailable when one does not end.
        """
        ...

    async def end(self, topic: str) -> int:
        """Offset of the last committed record, -1 when there is none."""
        ...

    async def claim(self, shard: Shard) -> Claim:
        """Take a shard; whoever held it is fenced."""
        ...

    async def close(self) -> None:
        """Finish what was begun, then let go. Who still waits for records hears Unavailable."""
        ...
