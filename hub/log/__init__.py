"""The one port to the outside: append, read, and claim a shard to commit outputs, state and positions in one step.

Two implementations pass one contract suite: `hub.log.embedded` (SQLite, one machine) and Kafka (many).

Offsets count a topic's committed records from 0; a reader says the last offset it has seen, -1 from the start.
Everything a claim commits is atomic: all outputs, the new state and the positions, or none of it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from hub.core.errors import LogError

MAX_RECORD = 1_048_576  # bytes of value, key and headers together: what a broker takes by default


class Fenced(LogError):
    """Another holder has claimed the shard since; nothing of this commit was written."""


class Unavailable(LogError):
    """The log cannot be written or read now: what, where and what to do. Nothing of the operation is visible."""


class TooLarge(LogError):
    """A record is larger than the log takes; nothing was written."""


@dataclass(frozen=True, slots=True)
class Record:
    """What is written: bytes, an optional key that keeps its records in one order, and text headers (hints)."""

    value: bytes
    key: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def size(self) -> int:
        """Bytes it counts for against MAX_RECORD."""
        texts = sum(len(name) + len(text) for name, text in self.headers.items())
        return len(self.value) + len(self.key or "") + texts


@dataclass(frozen=True, slots=True)
class Stored:
    """A committed record and where it stands."""

    topic: str
    offset: int
    record: Record
    partition: int = 0


@dataclass(frozen=True, slots=True)
class Shard:
    """What one owner works on: the topics named, or every topic with a prefix whose owner hashes to `index` of `count`."""

    name: str
    topics: tuple[str, ...] = ()
    prefix: str = ""
    index: int = 0
    count: int = 1

    def owns(self, topic: str) -> bool:
        if topic in self.topics:
            return True
        if not self.prefix or not topic.startswith(self.prefix):
            return False
        owner = topic.removeprefix(self.prefix)
        return int.from_bytes(hashlib.sha256(owner.encode()).digest()[:8], "big") % self.count == self.index


class Claim(Protocol):
    """Exclusive hold of a shard, until a newer claim fences it."""

    shard: Shard
    epoch: int

    @property
    def state(self) -> Mapping[str, bytes]:
        """The committed key/value state: restored when the claim is taken, changed by commits alone."""
        ...

    async def batch(self, limit: int = 500, wait: float = 0.0) -> list[Stored]:
        """Up to `limit` records after the committed positions, fairly across topics, each topic in order.

        Waits up to `wait` seconds for the first. The positions move by `commit` alone.
        """
        ...

    async def commit(
        self,
        batch: Sequence[Stored],
        outputs: Sequence[tuple[str, Record]],
        state: Mapping[str, bytes | None],
    ) -> list[int]:
        """Write outputs (topic, record) in order, state changes (None deletes) and the batch's positions, atomically.

        Returns the outputs' offsets, durable. Raises Fenced, TooLarge or Unavailable, and then nothing was written.
        """
        ...

    async def release(self) -> None: ...


class Log(Protocol):
    async def create(self, *topics: str) -> None:
        """Make topics; those that exist are left alone."""
        ...

    async def topics(self, prefix: str = "") -> list[str]: ...

    async def append(self, topic: str, record: Record) -> int:
        """The record's offset, once it is durable. Concurrent appends share the cost of durability."""
        ...

    async def read(self, topic: str, after: int = -1, limit: int = 500, wait: float = 0.0) -> list[Stored]:
        """Committed records after offset `after`, in order; waits up to `wait` seconds for the first."""
        ...

    async def end(self, topic: str) -> int:
        """Offset of the last committed record, -1 when there is none."""
        ...

    async def claim(self, shard: Shard) -> Claim:
        """Take a shard; whoever held it is fenced."""
        ...

    async def close(self) -> None: ...
