"""The embedded log: one SQLite file, for one machine.

WAL with `synchronous=FULL`: a commit that returned survives kill -9 and power loss. One writer thread takes every waiting
operation into one transaction, so concurrent appends share an fsync. Several processes may open the same file; fencing is
an epoch row that each commit checks inside its own transaction.

An operation checks everything that can fail before it writes, so within a shared transaction it fails alone. When the disk or
the file fails, the whole transaction rolls back and every operation in it hears Unavailable.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import sqlite3
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from hub.log import MAX_RECORD, Fenced, LogError, Record, Shard, Stored, TooLarge, Unavailable

VERSION = 1
POLL = 0.05  # seconds between looks for commits of other processes
MAX_OPERATIONS = 2_000  # in one transaction: bounds how long the first of them waits
FAILPOINTS = (
    "append.1-begun", "append.2-written", "append.3-committed",
    "claim.1-begun", "claim.2-fenced", "claim.3-committed",
    "commit.1-begun", "commit.2-outputs", "commit.3-state", "commit.4-positions", "commit.5-committed",
)  # fmt: skip

# records keeps its rowid: without one SQLite moves most of each record to a page of its own, twice the disk and time.
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS records (topic INTEGER NOT NULL, offset INTEGER NOT NULL, key TEXT, value BLOB NOT NULL,
    headers TEXT NOT NULL, PRIMARY KEY (topic, offset));
CREATE TABLE IF NOT EXISTS claims (name TEXT PRIMARY KEY, epoch INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions (claim TEXT NOT NULL, topic INTEGER NOT NULL, offset INTEGER NOT NULL,
    PRIMARY KEY (claim, topic)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS state (claim TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,
    PRIMARY KEY (claim, key)) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""

Work = Callable[[sqlite3.Connection], Any]
Trip = Callable[[str], None]


@dataclass(slots=True)
class _Operation:
    kind: str
    work: Work
    answer: asyncio.Future[Any]
    result: Any = None
    error: LogError | None = None

    def resolve(self) -> None:
        """In the loop: tell who waits. Who was cancelled meanwhile does not know the outcome, which stands all the same."""
        if self.answer.done():
            return
        if self.error:
            self.answer.set_exception(self.error)
        else:
            self.answer.set_result(self.result)


class EmbeddedLog:
    """One log object belongs to one event loop. Open it with `open`, end it with `close`."""

    def __init__(self, path: Path, reader: sqlite3.Connection, writer: sqlite3.Connection | None, trip: Trip) -> None:
        self.path = path
        self.trip = trip
        self._reader, self._writer = reader, writer
        self._waiting: queue.SimpleQueue[_Operation | None] = queue.SimpleQueue()
        self._topics: dict[str, int] = {}
        self._changed = asyncio.Event()
        self._poller: asyncio.Task[None] | None = None
        self._waiters = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._write_all, name="log-writer", daemon=True)
        if writer:
            self._thread.start()

    @classmethod
    def open(cls, path: str | Path, *, read_only: bool = False, trip: Trip = lambda _point: None) -> EmbeddedLog:
        """Open, and make unless `read_only`, the log at `path`. Raises Unavailable: what, where, what to do."""
        path = Path(path)
        try:
            writer = None if read_only else _connect(path)
            if writer:
                _check_version(writer, path)
                writer.executescript(SCHEMA)
            reader = _connect(path, read_only=True)
            _check_version(reader, path)
        except sqlite3.Error as error:
            raise unavailable(path, error) from error
        return cls(path, reader, writer, trip)

    async def close(self) -> None:
        """Finish what waits, then let go of the file."""
        if self._thread.is_alive():
            self._waiting.put(None)
            await asyncio.to_thread(self._thread.join)
        if self._poller:
            self._poller.cancel()
        self._reader.close()
        if self._writer:
            self._writer.close()

    # writing -----------------------------------------------------------------------------------------------------------

    async def create(self, *topics: str) -> None:
        missing = [topic for topic in topics if self._topic(topic) is None]
        if missing:
            rows = [(topic,) for topic in missing]
            await self.submit("create", lambda db: db.executemany("INSERT OR IGNORE INTO topics (name) VALUES (?)", rows))

    async def append(self, topic: str, record: Record) -> int:
        outputs = self.prepare([(topic, record)])
        offset: int = (await self.submit("append", lambda db: self.write(db, outputs)))[0]
        return offset

    async def submit(self, kind: str, work: Work) -> Any:
        """Have the writer thread do `work` in its next transaction; its result once that is durable."""
        if self._writer is None or not self._thread.is_alive():
            raise Unavailable(f"{self.path} is closed, or open for reading only")
        self._loop = asyncio.get_running_loop()
        operation = _Operation(kind, work, self._loop.create_future())
        self._waiting.put(operation)
        return await operation.answer

    def prepare(self, outputs: Iterable[tuple[str, Record]]) -> list[tuple[int, str | None, bytes, str]]:
        """Rows to write: every check that can fail is made here, before anything is written."""
        rows = []
        for topic, record in outputs:
            number = self._topic(topic)
            if number is None:
                raise LogError(f"there is no topic {topic}; create it first")
            if record.size() > MAX_RECORD:
                raise TooLarge(f"a record of {record.size()} bytes for {topic}; the log takes {MAX_RECORD}")
            headers = json.dumps(dict(record.headers), ensure_ascii=False) if record.headers else ""
            rows.append((number, record.key, record.value, headers))
        return rows

    def write(self, db: sqlite3.Connection, rows: Sequence[tuple[int, str | None, bytes, str]]) -> list[int]:
        """In the writer thread: put rows behind the ends of their topics; their offsets."""
        ends: dict[int, int] = {}
        offsets, placed = [], []
        for topic, key, value, headers in rows:
            if topic not in ends:
                [ends[topic]] = db.execute("SELECT ifnull(max(offset), -1) FROM records WHERE topic = ?", (topic,)).fetchone()
            ends[topic] += 1
            offsets.append(ends[topic])
            placed.append((topic, ends[topic], key, value, headers))
        db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?)", placed)
        return offsets

    def _write_all(self) -> None:
        """The writer thread: whatever waits goes into one transaction, one fsync for all."""
        stop = False
        while not stop:
            operations = []
            item = self._waiting.get()
            while True:
                if item is None:
                    stop = True
                else:
                    operations.append(item)
                if stop or len(operations) >= MAX_OPERATIONS or self._waiting.empty():
                    break
                item = self._waiting.get()
            if operations:
                self._transact(operations)
                assert self._loop is not None
                self._loop.call_soon_threadsafe(self._answer, operations)

    def _transact(self, operations: list[_Operation]) -> None:
        assert self._writer is not None
        kinds = sorted({operation.kind for operation in operations} & {"append", "claim", "commit"})
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            self._trip_all(kinds, "1-begun")
            for operation in operations:
                try:
                    operation.result = operation.work(self._writer)
                except LogError as error:  # checked before it wrote: the others go on
                    operation.error = error
            self._trip_all([kind for kind in kinds if kind == "append"], "2-written")
            self._writer.execute("COMMIT")
            for kind, point in (("append", "3-committed"), ("claim", "3-committed"), ("commit", "5-committed")):
                self._trip_all([kind] if kind in kinds else [], point)
        except sqlite3.Error as error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            for operation in operations:
                operation.error = unavailable(self.path, error)

    def _trip_all(self, kinds: Iterable[str], point: str) -> None:
        for kind in kinds:
            self.trip(f"{kind}.{point}")

    def _answer(self, operations: list[_Operation]) -> None:
        for operation in operations:
            operation.resolve()
        self._wake()

    # reading -----------------------------------------------------------------------------------------------------------

    def _topic(self, name: str) -> int | None:
        if name not in self._topics:
            self._topics = {found: number for number, found in self.query("SELECT id, name FROM topics")}
        return self._topics.get(name)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Rows of committed data. Inline: a hop to a thread costs more than most queries."""
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise unavailable(self.path, error) from error

    async def topics(self, prefix: str = "") -> list[str]:
        return sorted(name for _, name in self.query("SELECT id, name FROM topics") if name.startswith(prefix))

    async def end(self, topic: str) -> int:
        rows = self.query("SELECT max(offset) FROM records WHERE topic = ?", (self._topic(topic),))
        return -1 if rows[0][0] is None else rows[0][0]

    async def read(self, topic: str, after: int = -1, limit: int = 500, wait: float = 0.0) -> list[Stored]:
        return await self.wait_for(lambda: self.fetch(topic, after, limit), wait)

    def fetch(self, topic: str, after: int, limit: int) -> list[Stored]:
        rows = self.query(
            "SELECT offset, key, value, headers FROM records WHERE topic = ? AND offset > ? ORDER BY offset LIMIT ?",
            (self._topic(topic), after, limit),
        )
        return [
            Stored(topic, offset, Record(value, key, json.loads(headers) if headers else {}))
            for offset, key, value, headers in rows
        ]

    async def wait_for(self, look: Callable[[], list[Stored]], wait: float) -> list[Stored]:
        """What `look` finds, looking again after every commit until `wait` seconds are over."""
        found = look()
        if found or wait <= 0:
            return found
        deadline = asyncio.get_running_loop().time() + wait
        self._waiters += 1
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="log-poller")
        try:
            while not found and (left := deadline - asyncio.get_running_loop().time()) > 0:
                changed = self._changed
                # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(left):
                        await changed.wait()
                found = look()
            return found
        finally:
            self._waiters -= 1

    async def _poll(self) -> None:
        """Notice what other processes commit, for as long as anyone waits."""
        version = None
        while self._waiters:
            [[now]] = self.query("PRAGMA data_version")
            if version is not None and now != version:
                self._wake()
            version = now
            await asyncio.sleep(POLL)

    def _wake(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    # claims ------------------------------------------------------------------------------------------------------------

    async def claim(self, shard: Shard) -> EmbeddedClaim:
        def take(db: sqlite3.Connection) -> tuple[int, dict[str, bytes], dict[str, int]]:
            db.execute("INSERT OR IGNORE INTO claims VALUES (?, 0)", (shard.name,))
            db.execute("UPDATE claims SET epoch = epoch + 1 WHERE name = ?", (shard.name,))
            self.trip("claim.2-fenced")
            [epoch] = db.execute("SELECT epoch FROM claims WHERE name = ?", (shard.name,)).fetchone()
            state = dict(db.execute("SELECT key, value FROM state WHERE claim = ?", (shard.name,)))
            positions = dict(
                db.execute(
                    "SELECT name, offset FROM positions JOIN topics ON topics.id = topic WHERE claim = ?", (shard.name,)
                )
            )
            return epoch, state, positions

        return EmbeddedClaim(self, shard, *await self.submit("claim", take))


class EmbeddedClaim:
    """A held shard. Positions and state in memory follow the commits; another holder's epoch ends it."""

    def __init__(
        self, log: EmbeddedLog, shard: Shard, epoch: int, state: dict[str, bytes], positions: dict[str, int]
    ) -> None:
        self.shard, self.epoch = shard, epoch
        self._log, self._state, self._positions = log, state, positions
        self._first = 0

    @property
    def state(self) -> Mapping[str, bytes]:
        return MappingProxyType(self._state)

    async def batch(self, limit: int = 500, wait: float = 0.0) -> list[Stored]:
        return await self._log.wait_for(lambda: self._look(limit), wait)

    def _look(self, limit: int) -> list[Stored]:
        """A fair share of each topic first, then what room is left; another topic goes first each time."""
        self._check_epoch(self._log.query("SELECT epoch FROM claims WHERE name = ?", (self.shard.name,)))
        names = [name for (name,) in self._log.query("SELECT name FROM topics ORDER BY name") if self.shard.owns(name)]
        if not names:
            return []
        self._first = (self._first + 1) % len(names)
        names = names[self._first :] + names[: self._first]
        share = max(1, limit // len(names))
        taken = {name: self._log.fetch(name, self._positions.get(name, -1), share) for name in names}
        room = limit - sum(map(len, taken.values()))
        for name, records in taken.items():
            if room > 0 and len(records) == share:
                more = self._log.fetch(name, records[-1].offset, room)
                records += more
                room -= len(more)
        return [stored for records in taken.values() for stored in records][:limit]

    async def commit(
        self,
        batch: Sequence[Stored],
        outputs: Sequence[tuple[str, Record]],
        state: Mapping[str, bytes | None],
    ) -> list[int]:
        rows = self._log.prepare(outputs)
        positions = dict(self._positions)
        for stored in batch:
            positions[stored.topic] = max(stored.offset, positions.get(stored.topic, -1))
        changes = dict(state)

        def write(db: sqlite3.Connection) -> list[int]:
            self._check_epoch(db.execute("SELECT epoch FROM claims WHERE name = ?", (self.shard.name,)).fetchall())
            offsets = self._log.write(db, rows)
            self._log.trip("commit.2-outputs")
            self._write_state(db, changes)
            self._log.trip("commit.3-state")
            moved = {stored.topic for stored in batch}
            db.executemany(
                "INSERT OR REPLACE INTO positions SELECT ?, id, ? FROM topics WHERE name = ?",
                [(self.shard.name, positions[topic], topic) for topic in moved],
            )
            self._log.trip("commit.4-positions")
            return offsets

        offsets: list[int] = await self._log.submit("commit", write)
        self._positions = positions
        for key, value in changes.items():
            if value is None:
                self._state.pop(key, None)
            else:
                self._state[key] = value
        return offsets

    def _write_state(self, db: sqlite3.Connection, changes: Mapping[str, bytes | None]) -> None:
        kept = [(self.shard.name, key, value) for key, value in changes.items() if value is not None]
        gone = [(self.shard.name, key) for key, value in changes.items() if value is None]
        db.executemany("INSERT OR REPLACE INTO state VALUES (?, ?, ?)", kept)
        db.executemany("DELETE FROM state WHERE claim = ? AND key = ?", gone)

    def _check_epoch(self, rows: list[tuple[int]]) -> None:
        if rows != [(self.epoch,)]:
            raise Fenced(f"shard {self.shard.name} was claimed by another holder after epoch {self.epoch}")

    async def release(self) -> None:
        """Nothing to give back: the next claim fences this one."""


def _connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    mode = "ro" if read_only else "rwc"
    target = f"file:{str(path.absolute()).replace('%', '%25').replace('?', '%3f').replace('#', '%23')}?mode={mode}"
    db = sqlite3.connect(target, uri=True, isolation_level=None, check_same_thread=False, timeout=30, cached_statements=256)
    if not read_only:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
    db.execute("PRAGMA cache_size = -65536")
    return db


def _check_version(db: sqlite3.Connection, path: Path) -> None:
    [version] = db.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise Unavailable(f"{path} was written by a newer Comity (format {version}, this one knows {VERSION}): upgrade")


def unavailable(path: Path, error: Exception) -> Unavailable:
    """What went wrong with the file, where, and what to do."""
    text = str(error)
    advice = next((advice for sign, advice in ADVICE.items() if sign in text), "see the message, and the disk's own log")
    return Unavailable(f"{path}: {text}; {advice}")


ADVICE = {
    "full": "make room on the disk, then try again; nothing of this was written",
    "locked": "another process holds the file for long; end it, then try again",
    "unable to open": "check that the directory exists and that this user may write to it",
    "readonly": "this user may not write there; check owner and permissions",
    "malformed": "the file is damaged; restore it from a backup and run `comity audit verify`",
    "not a database": "this is no Comity log; give another path",
    "disk I/O": "the disk fails; check it, then restore from a backup",
}
