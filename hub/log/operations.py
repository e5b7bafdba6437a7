"""What the embedded log's writer does in a transaction: append, create topics, take a claim, commit one.

Each operation first checks, then writes: a check that fails has written nothing, so that the operations which share the
transaction are not touched by it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from json.encoder import encode_basestring as _quote
from typing import Any, Protocol

from hub.log import MAX_RECORD, Fenced, LogError, Record, TooLarge, UnknownTopic
from hub.log.database import OFFSET_BITS

_Row = tuple[str | None, str, bytes]  # key, headers as JSON or nothing, value


class Operation(Protocol):
    """What the writer does in a transaction that it may share with others."""

    kind: str

    def check(self, tx: Transaction) -> None:
        """Raise LogError when it cannot be done. Writes nothing."""

    def write(self, tx: Transaction) -> Any:
        """Do it; the result for who asked. An error here fails the whole transaction."""


class Transaction:
    """One BEGIN … COMMIT. Rows wait here until they are flushed together."""

    def __init__(self, db: sqlite3.Connection, topics: dict[str, int], trip: Callable[[str], None]) -> None:
        self.db, self.trip = db, trip
        self.changed: set[str] = set()  # topics written to, and shards claimed: who waits for them is woken
        self._topics = topics
        self._next: dict[int, int] = {}
        self._rows: list[tuple[int, str | None, str, bytes]] = []

    def topic(self, name: str) -> int:
        """The number of a topic; UnknownTopic when nobody made it."""
        number = self._topics.get(name)
        if number is None:
            row = self.db.execute("SELECT id FROM topics WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise UnknownTopic(f"there is no topic {name}: create it first")
            number = self._topics[name] = row[0]
        return number

    def put(self, topic: int, row: _Row) -> int:
        """Place a record behind the end of a topic; its offset."""
        offset = self._next.get(topic)
        if offset is None:
            [offset] = self.db.execute("SELECT next FROM topics WHERE id = ?", (topic,)).fetchone()
        self._next[topic] = offset + 1
        self._rows.append((topic << OFFSET_BITS | offset, *row))
        return offset

    def flush(self) -> None:
        """Write the rows that wait."""
        if self._rows:
            self.db.executemany("INSERT INTO records VALUES (?, ?, ?, ?)", self._rows)
            self.db.executemany("UPDATE topics SET next = ? WHERE id = ?", [(n, t) for t, n in self._next.items()])
            self._rows = []


def row_of(topic: str, record: Record) -> _Row:
    """A record as stored; TooLarge, or LogError when it is none."""
    try:
        if not isinstance(record.value, bytes):
            raise TypeError(f"value is {type(record.value).__name__}, not bytes")
        size = record.size()
        # json.dumps does the same in twice the time, which is a third of what it takes to write a record.
        headers = ",".join([f"{_quote(name)}:{_quote(text)}" for name, text in record.headers.items()])
    except (TypeError, AttributeError, UnicodeEncodeError) as error:
        raise LogError(
            f"a record for {topic} cannot be stored: {error}; value must be bytes, key and headers text"
        ) from None
    if size > MAX_RECORD:
        raise TooLarge(
            f"a record for {topic} has {size} bytes; the log takes {MAX_RECORD}: split it or refuse it earlier"
        )
    return record.key, f"{{{headers}}}" if headers else "", record.value


@dataclass(slots=True)
class CreateTopics:
    names: Sequence[str]
    kind: str = "create"

    def check(self, tx: Transaction) -> None:
        pass

    def write(self, tx: Transaction) -> None:
        tx.db.executemany(
            "INSERT INTO topics (name) VALUES (?) ON CONFLICT (name) DO NOTHING", [(name,) for name in self.names]
        )
        tx.changed.update(self.names)


@dataclass(slots=True)
class Append:
    topic: str
    row: _Row
    kind: str = "append"

    def check(self, tx: Transaction) -> None:
        tx.topic(self.topic)

    def write(self, tx: Transaction) -> int:
        tx.changed.add(self.topic)
        return tx.put(tx.topic(self.topic), self.row)


@dataclass(slots=True)
class TakeClaim:
    """The claim's number and epoch. From its commit on, the holder before is fenced."""

    shard: str
    kind: str = "claim"

    def check(self, tx: Transaction) -> None:
        pass

    def write(self, tx: Transaction) -> tuple[int, int]:
        sql = (
            "INSERT INTO claims (shard, epoch) VALUES (?, 1)"
            " ON CONFLICT (shard) DO UPDATE SET epoch = epoch + 1 RETURNING id, epoch"
        )
        [(number, epoch)] = tx.db.execute(sql, (self.shard,)).fetchall()
        tx.changed.add(claimed(self.shard))
        tx.trip("claim.3-fenced")
        return number, epoch


def claimed(shard: str) -> str:
    """The name under which a new claim is announced to who waits; no topic can have it."""
    return f"claim of {shard}"


@dataclass(slots=True)
class Commit:
    claim: int
    epoch: int
    shard: str
    positions: Mapping[str, int]
    outputs: Sequence[tuple[str, Record]]
    state: Mapping[str, bytes | None]
    confirm: Callable[[], None] | None = None
    kind: str = "commit"
    _rows: list[tuple[int, _Row]] = field(default_factory=list)

    def check(self, tx: Transaction) -> None:
        [(epoch,)] = tx.db.execute("SELECT epoch FROM claims WHERE id = ?", (self.claim,)).fetchall()
        if epoch != self.epoch:
            raise Fenced(f"shard {self.shard} was claimed by another holder (epoch {epoch}, this one has {self.epoch})")
        for topic in self.positions:
            tx.topic(topic)
        self._rows = [(tx.topic(topic), row_of(topic, record)) for topic, record in self.outputs]
        if self.confirm is not None:  # nobody else writes or reads between here and the commit of this transaction
            self.confirm()
        for key, value in self.state.items():
            row_of(f"the state of shard {self.shard}", Record(b"" if value is None else value, key))

    def write(self, tx: Transaction) -> list[int]:
        offsets = [tx.put(topic, row) for topic, row in self._rows]
        tx.changed.update(topic for topic, _ in self.outputs)
        tx.flush()
        tx.trip("commit.3-outputs")
        kept = [(self.claim, key, value) for key, value in self.state.items() if value is not None]
        gone = [(self.claim, key) for key, value in self.state.items() if value is None]
        tx.db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", kept)
        tx.db.executemany("DELETE FROM state WHERE claim = ? AND key = ?", gone)
        tx.trip("commit.4-state")
        moved = [(self.claim, tx.topic(topic), offset) for topic, offset in self.positions.items()]
        tx.db.executemany("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", moved)
        tx.trip("commit.5-positions")
        return offsets
