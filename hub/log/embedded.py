"""The embedded log: one SQLite file, for one machine.

WAL with `synchronous = FULL`: what a call has returned survives kill -9 and power loss. One writer thread takes all that
waits into one transaction (`hub.log.writer`), so concurrent appends share an fsync. Several processes may open the same
file; a claim is an epoch row that each commit checks inside its own transaction, so a newer claim fences across
processes too. Reads are made inline in the event loop: a hop to a thread costs more than most of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import sqlite3
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from hub.log import Fenced, LogError, Record, Shard, Stored, Unavailable, moves
from hub.log.database import LAST_OFFSET, OFFSET_BITS, RESTORE, open_reader, open_writer, unavailable
from hub.log.entries import Entries
from hub.log.operations import Append, Commit, CreateTopics, Operation, TakeClaim, claimed, row_of
from hub.log.waiting import Waiting
from hub.log.writer import FAILPOINTS, Writer

__all__ = ["FAILPOINTS", "EmbeddedClaim", "EmbeddedLog"]

MAX_READ = 16 * 1_048_576  # bytes of values in one read: it may return fewer records than asked, never none
TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}")  # what a broker takes as a name


class EmbeddedLog:
    """Belongs to one event loop. Opened when made; `close` ends it."""

    def __init__(
        self,
        path: str | Path,
        *,
        read_only: bool = False,
        busy: float = 10.0,
        trip: Callable[[str], None] = lambda _point: None,
    ) -> None:
        """Open the log at `path`, made when it is not there. Raises Unavailable: what, where, what to do.

        read_only: for auditors; never writes. busy: seconds to wait for another process that is writing. trip: called at
        every one of FAILPOINTS, in the writer's thread; crash tests pass a killer.
        """
        self.path = Path(path)
        self._busy = busy
        self._waiting = Waiting(lambda: int(self._query("PRAGMA data_version")[0][0]))
        self._topics: dict[str, int] = {}
        self._closed = False
        db = None if read_only else open_writer(self.path, busy)
        self._reader = open_reader(self.path, busy)
        self._writer = None if db is None else Writer(self.path, db, self._waiting.changed, trip)

    @classmethod
    def open(cls, path: str | Path, **options: Any) -> EmbeddedLog:
        """The same as the constructor, for where it reads better."""
        return cls(path, **options)

    async def close(self) -> None:
        """Finish what was begun, then let go of the file; who still waits for records hears Unavailable."""
        if not self._closed:
            self._closed = True
            self._waiting.close(f"{self.path}: this log was closed while waiting; open it again")
            # The writer goes last: whoever closes a file last folds the write-ahead log into it, if it may write.
            self._reader.close()
            if self._writer is not None:
                await self._writer.close()

    async def create(self, *topics: str) -> None:
        for topic in topics:
            if not TOPIC.fullmatch(topic):
                raise LogError(f"{topic[:60]!r} is no name for a topic: use 1 to 249 of A-Z a-z 0-9 . _ -")
        missing = [topic for topic in topics if self._topic(topic) is None]
        if missing:
            await self._submit(CreateTopics(missing))

    async def topics(self, prefix: str = "") -> list[str]:
        return sorted(name for (name,) in self._query("SELECT name FROM topics") if name.startswith(prefix))

    async def append(self, topic: str, record: Record) -> int:
        offset: int = await self._submit(Append(topic, row_of(topic, record)))
        return offset

    async def read(
        self, topic: str, after: int = -1, limit: int = 500, wait: float = 0.0, *, settled: bool = False
    ) -> list[Stored]:
        # `settled` is always so: a writer has the file for itself from its first record to its commit. Who writes in it
        # while we look is not done, and what it will have written is dated later: see RegistryProcess.
        return await self._waiting.until(lambda: self._fetch(topic, after, limit), lambda names: topic in names, wait)

    async def end(self, topic: str) -> int:
        rows = self._query("SELECT next - 1 FROM topics WHERE name = ?", (topic,))
        return int(rows[0][0]) if rows else -1

    async def claim(self, shard: Shard) -> EmbeddedClaim:
        number, epoch = await self._submit(TakeClaim(shard.name))
        # Read only now, when the holder before can commit no more: this is its last word.
        positions, state = await asyncio.to_thread(self._restore, number)
        return EmbeddedClaim(self, shard, number, epoch, positions, state)

    async def _submit(self, operation: Operation) -> Any:
        if self._writer is None:
            raise Unavailable(f"{self.path} is open for reading only; open it without read_only to write")
        return await self._writer.submit(operation)

    def _check_open(self) -> None:
        if self._closed:
            raise Unavailable(f"{self.path}: this log is closed; open it again")

    def _query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Rows of committed data."""
        self._check_open()
        try:
            return self._reader.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise unavailable(self.path, error) from error

    def _topic(self, name: str) -> int | None:
        number = self._topics.get(name)
        if number is None:
            for (number,) in self._query("SELECT id FROM topics WHERE name = ?", (name,)):
                self._topics[name] = number
        return number

    def _fetch(self, topic: str, after: int, limit: int, room: int = MAX_READ) -> list[Stored]:
        """Records in order; at most `room` bytes of values, but at least one record."""
        self._check_open()
        number = self._topic(topic)
        if number is None or limit <= 0:
            return []
        first = (number << OFFSET_BITS) + min(max(after, -1), LAST_OFFSET)
        found: list[Stored] = []
        sql = "SELECT id, key, headers, value FROM records WHERE id > ? AND id < ? ORDER BY id LIMIT ?"
        try:
            with contextlib.closing(self._reader.execute(sql, (first, (number + 1) << OFFSET_BITS, limit))) as rows:
                for id_, key, headers, value in rows:
                    found.append(
                        Stored(topic, id_ & LAST_OFFSET, Record(value, key, json.loads(headers) if headers else {}))
                    )
                    room -= len(value)
                    if room <= 0:
                        break
        except sqlite3.Error as error:
            raise unavailable(self.path, error) from error
        except ValueError as error:
            raise Unavailable(
                f"{self.path}: the headers of a record of {topic} are damaged ({error}); {RESTORE}"
            ) from error
        return found

    def _restore(self, claim: int) -> tuple[dict[str, int], Entries]:
        """The positions and the state that a claim begins with. In a thread: a million entries take a second."""
        try:
            with contextlib.closing(open_reader(self.path, self._busy)) as db:
                sql = "SELECT name, offset FROM positions JOIN topics ON topics.id = topic WHERE claim = ?"
                positions = dict(db.execute(sql, (claim,)).fetchall())
                return positions, Entries(db.execute("SELECT key, value FROM state WHERE claim = ?", (claim,)))
        except sqlite3.Error as error:
            raise unavailable(self.path, error) from error


class EmbeddedClaim:
    """A held shard, made by `EmbeddedLog.claim`. Positions and state in memory follow its commits, and nothing else."""

    def __init__(
        self,
        log: EmbeddedLog,
        shard: Shard,
        number: int,
        epoch: int,
        positions: dict[str, int],
        state: Entries,
    ) -> None:
        self.shard, self.epoch = shard, epoch
        self._log, self._number, self._positions, self._state = log, number, positions, state
        self._owned: dict[str, bool] = {}
        self._served: dict[str, int] = {}  # the turn in which a topic last had records in a batch
        self._turn = 0
        self._over: str | None = None  # why the claim is over
        self._one = asyncio.Lock()  # one commit at a time: the next is checked against the positions of this one

    @property
    def state(self) -> Mapping[str, bytes]:
        return self._state

    @property
    def positions(self) -> Mapping[str, int]:
        return self._positions

    def lag(self) -> int:
        ends = self._log._query("SELECT name, next FROM topics WHERE next > 0")
        return sum(after - 1 - self._positions.get(name, -1) for name, after in ends if self._owns(name))

    async def batch(self, limit: int = 500, wait: float = 0.0, after: Sequence[Stored] = ()) -> list[Stored]:
        mine = claimed(self.shard.name)
        ahead = {stored.topic: stored.offset for stored in after}  # each topic in order: its last offset stays

        def concerns(names: Set[str]) -> bool:
            return mine in names or any(map(self._owns, names))

        return await self._log._waiting.until(lambda: self._look(limit, self._positions | ahead), concerns, wait)

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
            changes = dict(state)
            operation = Commit(self._number, self.epoch, self.shard.name, moved, list(outputs), changes, confirm)
            try:
                offsets: list[int] = await self._log._submit(operation)
            except (Fenced, Unavailable, asyncio.CancelledError) as error:
                self._over = f"a commit to shard {self.shard.name} ended by {type(error).__name__}: claim it again"
                raise
            self._positions |= moved
            for key, value in changes.items():
                if value is None:
                    self._state.pop(key, None)
                else:
                    self._state[key] = value
            return offsets

    async def release(self) -> None:
        self._over = f"shard {self.shard.name} was released: claim it again"

    def _look(self, limit: int, positions: Mapping[str, int]) -> list[Stored]:
        """A fair share for each topic that has something; when there are too many, those not served for longest."""
        self._check()
        sql = "SELECT name, next FROM topics WHERE next > 0"
        waiting = [
            (self._served.get(name, 0), after - 1 - positions.get(name, -1), name)
            for name, after in self._log._query(sql)
            if after - 1 > positions.get(name, -1) and self._owns(name)
        ]
        chosen = sorted(waiting)[: max(limit, 0)]
        # The shortest queue first: what it leaves of its share goes to the longer ones.
        chosen.sort(key=lambda entry: entry[1])
        self._turn += 1
        found: list[Stored] = []
        for done, (_, _, name) in enumerate(chosen):
            left = len(chosen) - done
            share = (limit - len(found)) // left
            found += self._log._fetch(name, positions.get(name, -1), share, MAX_READ // len(chosen))
            self._served[name] = self._turn
        return found

    def _owns(self, topic: str) -> bool:
        owned = self._owned.get(topic)
        if owned is None:
            owned = self._owned[topic] = self.shard.owns(topic)
        return owned

    def _check(self) -> None:
        """Fenced when the claim is over. What is seen here is soon old: only the check inside a commit protects."""
        [(epoch,)] = self._log._query("SELECT epoch FROM claims WHERE id = ?", (self._number,))
        if self._over is None and epoch != self.epoch:
            self._over = (
                f"shard {self.shard.name} was claimed by another holder: its epoch is {epoch}, not {self.epoch}"
            )
        if self._over is not None:
            raise Fenced(self._over)
