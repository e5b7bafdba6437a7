"""What a cluster holds, read by another client library than the hub's, as committed records and nothing else.

An `Observer` remembers what it has read and never asks twice; a second one that reads everything anew tells whether what was
once committed still stands.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError

T = TypeVar("T")
STATE = "comity.state."
TRIES = 5  # at least, however long each takes
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
        self._places: dict[str, int] = {}  # the offsets to go on from
        self.topics: Topics = defaultdict(list)

    def close(self) -> None:
        self._committed.close()
        self._all.close()

    def names(self, *prefixes: str) -> list[str]:
        return sorted(name for name in patiently(self._committed.topics) if name.startswith(prefixes))

    def _ends(self, names: Iterable[str]) -> dict[str, int]:
        """The offset behind the last record, committed or not."""
        parts = [TopicPartition(name, 0) for name in names]
        patiently(self._all.topics)  # those that it has not heard of yet would be a KeyError
        return {part.topic: end for part, end in patiently(lambda: self._all.end_offsets(parts)).items()}

    def catch_up(self, names: Iterable[str]) -> None:
        """Read the topics up to where they end at this moment, whoever's transaction stands before that. StuckError."""
        ends = self._ends(names)
        deadline = time.monotonic() + PATIENCE
        self._assign(ends)
        while behind := {name: end for name, end in ends.items() if self._position(name) < end}:
            if time.monotonic() > deadline:
                raise StuckError(f"a transaction does not end: {behind}, read up to "
                                 f"{ {name: self._position(name) for name in behind} }")  # fmt: skip
            for part, found in patiently(lambda: self._committed.poll(timeout_ms=200)).items():
                self.topics[part.topic] += [
                    Seen(each.offset, each.value or b"", each.key and each.key.decode(),
                         {name: text.decode() for name, text in each.headers})
                    for each in found
                ]  # fmt: skip

    def _assign(self, names: Iterable[str]) -> None:
        """These alone, each where it was left."""
        self._places |= {part.topic: self._position(part.topic) for part in self._committed.assignment()}
        parts = [TopicPartition(name, 0) for name in names]
        self._committed.assign(parts)
        for part in parts:
            self._committed.seek(part, self._places.get(part.topic, 0))

    def _position(self, name: str) -> int:
        return int(patiently(lambda: self._committed.position(TopicPartition(name, 0))) or 0)


def patiently(call: Callable[[], T]) -> T:
    """Again, while there may be no broker. StuckError when there is none for long: one call may use up PATIENCE alone."""
    deadline, tries = time.monotonic() + PATIENCE, 0
    while True:
        try:
            return call()
        except (KafkaError, KeyError) as error:
            tries += 1
            if tries > TRIES and time.monotonic() > deadline:
                raise StuckError(f"the broker does not answer: {error}") from error
            time.sleep(0.5)
