"""What a cluster holds, read by another client library than the hub's, as committed records and nothing else.

An `Observer` remembers what it has read and never asks twice; a second one that reads everything anew tells whether what was
once committed still stands.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

STATE = "comity.state."
PATIENCE = 60.0  # seconds a committed end may take to come: the longest transaction, and a broker that restarts


class StuckError(AssertionError):
    """A topic's last stable offset does not move on: a transaction was left open."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A committed record. headers as text; the key of a state record says whether it is a barrier."""

    offset: int
    value: bytes
    key: str | None = None
    headers: dict[str, str] = field(default_factory=dict)


Topics = dict[str, list[Seen]]


class Observer:
    """Blocking; for a thread of its own."""

    def __init__(self, bootstrap: str) -> None:
        options = {"bootstrap_servers": bootstrap, "group_id": None, "enable_auto_commit": False}
        self._committed = KafkaConsumer(
            **options, isolation_level="read_committed", auto_offset_reset="earliest", max_poll_records=5_000
        )
        self._all = KafkaConsumer(**options, isolation_level="read_uncommitted")
        self.topics: Topics = defaultdict(list)

    def close(self) -> None:
        self._committed.close()
        self._all.close()

    def names(self, *prefixes: str) -> list[str]:
        return sorted(name for name in self._committed.topics() if name.startswith(prefixes))

    def ends(self, names: Iterable[str], *, committed: bool = False) -> dict[str, int]:
        """The offset behind the last record (the last stable one: `committed`)."""
        parts = [TopicPartition(name, 0) for name in names]
        consumer = self._committed if committed else self._all
        for left in range(20, -1, -1):
            try:
                return {part.topic: end for part, end in consumer.end_offsets(parts).items()}
            except KafkaError:
                if not left:
                    raise
                time.sleep(1)
        raise AssertionError

    def catch_up(self, names: Iterable[str]) -> None:
        """Read the topics up to where they end at this moment, whoever's transaction stands before that. StuckError."""
        ends = self.ends(list(names))
        deadline = time.monotonic() + PATIENCE
        self._assign(ends)
        while behind := {name: end for name, end in ends.items() if self._position(name) < end}:
            if time.monotonic() > deadline:
                raise StuckError(f"a transaction does not end: {behind}, read up to "
                                 f"{ {name: self._position(name) for name in behind} }")  # fmt: skip
            for part, found in self._committed.poll(timeout_ms=200).items():
                self.topics[part.topic] += [
                    Seen(each.offset, each.value or b"", each.key and each.key.decode(),
                         {name: text.decode() for name, text in each.headers})
                    for each in found
                ]  # fmt: skip

    def _assign(self, names: Iterable[str]) -> None:
        """These alone, each where it was left."""
        before = {part: self._committed.position(part) for part in self._committed.assignment()}
        self._places = getattr(self, "_places", {}) | {part.topic: at for part, at in before.items()}
        parts = [TopicPartition(name, 0) for name in names]
        self._committed.assign(parts)
        for part in parts:
            self._committed.seek(part, self._places.get(part.topic, 0))

    def _position(self, name: str) -> int:
        return int(self._committed.position(TopicPartition(name, 0)) or 0)
