"""The embedded log's one writer: a thread that takes every waiting operation into one transaction.

Invariants
- An operation's future is resolved after COMMIT returned, never before: what is acknowledged is on the disk.
- An operation checks all that can fail by itself before it writes anything, so among others it fails alone. When the
  file or the disk fails, the transaction rolls back and every operation in it hears Unavailable.
- A crash at any point leaves the transaction whole or absent; opening the file again is the only recovery there is.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.log import LogError, Unavailable
from hub.log.database import unavailable
from hub.log.operations import Operation, Transaction

MAX_OPERATIONS = 2_000  # in one transaction: bounds how long the first of them waits
FAILPOINTS = (
    "append.1-before-begin", "append.2-begun", "append.3-written", "append.4-committed",
    "claim.1-before-begin", "claim.2-begun", "claim.3-fenced", "claim.4-committed",
    "commit.1-before-begin", "commit.2-begun", "commit.3-outputs", "commit.4-state", "commit.5-positions",
    "commit.6-committed",
)  # fmt: skip
_POINT = {(name.split(".")[0], name.split("-", 1)[1]): name for name in FAILPOINTS}


@dataclass(slots=True)
class _Waiting:
    """An operation on its way, and how it ended."""

    operation: Operation
    answer: asyncio.Future[Any]
    result: Any = None
    error: LogError | None = None

    def resolve(self) -> None:
        if self.answer.done():
            return  # cancelled: who asked does not know how it ended, which stands all the same
        if self.error is not None:
            self.answer.set_exception(self.error)
        else:
            self.answer.set_result(self.result)


class Writer:
    """Owns the writing connection. `submit` belongs to one event loop; the thread starts with the first call."""

    def __init__(
        self, path: Path, db: sqlite3.Connection, changed: Callable[[Set[str], bool], None], trip: Callable[[str], None]
    ) -> None:
        """`changed` is called in the loop after each commit: what it changed, and whether others committed before it."""
        self._path, self._db, self._changed, self._trip = path, db, changed, trip
        self._inode = path.stat().st_ino
        self._version = self._data_version()
        self._topics: dict[str, int] = {}
        self._queue: queue.SimpleQueue[_Waiting | None] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    async def submit(self, operation: Operation) -> Any:
        """The operation's result, once it is durable. Cancelling the caller does not undo it."""
        if self._closed:
            raise Unavailable(f"{self._path}: this log is closed; open it again")
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._run, name="log-writer", daemon=True)
            self._thread.start()
        assert self._loop is not None  # noqa: S101  set with the thread
        waiting = _Waiting(operation, self._loop.create_future())
        self._queue.put(waiting)
        return await waiting.answer

    async def close(self) -> None:
        """Do what is waiting, then let go of the file."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)
        self._db.close()

    def _run(self) -> None:
        assert self._loop is not None  # noqa: S101
        last = False
        while not last:
            group, last = self._take()
            if not group:
                continue
            changed, others = self._transact(group)
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                self._loop.call_soon_threadsafe(self._answer, group, changed, others)

    def _take(self) -> tuple[list[_Waiting], bool]:
        """All that waits, at least one; and whether the log is closing."""
        group: list[_Waiting] = []
        item = self._queue.get()
        while item is not None:
            group.append(item)
            if len(group) == MAX_OPERATIONS:
                return group, False
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return group, False
        return group, True

    def _answer(self, group: list[_Waiting], changed: Set[str], others: bool) -> None:
        for waiting in group:
            waiting.resolve()
        self._changed(changed, others)

    def _transact(self, group: list[_Waiting]) -> tuple[Set[str], bool]:
        """One transaction for the group; what it changed, and whether others have committed since the last.

        Raises nothing: the thread must go on.
        """
        tx = Transaction(self._db, self._topics, self._trip)
        kinds = {waiting.operation.kind for waiting in group}
        try:
            self._reach(kinds, "before-begin")
            self._check_file()
            self._db.execute("BEGIN IMMEDIATE")
            version, self._version = self._version, self._data_version()
            self._reach(kinds, "begun")
            for waiting in group:
                try:
                    waiting.operation.check(tx)
                except LogError as error:
                    waiting.error = error
                else:
                    waiting.result = waiting.operation.write(tx)
            tx.flush()
            self._reach(kinds, "written")
            self._db.execute("COMMIT")
            self._reach(kinds, "committed")
        except Exception as error:
            with contextlib.suppress(sqlite3.Error):
                self._db.rollback()
            self._topics.clear()  # it may know topics that were rolled back
            known = isinstance(error, Unavailable)
            for waiting in group:
                waiting.error = Unavailable(*error.args) if known else unavailable(self._path, error)
                waiting.error.__cause__ = error
            return frozenset(), True
        return tx.changed, version != self._version

    def _data_version(self) -> int:
        [version] = self._db.execute("PRAGMA data_version").fetchone()
        return int(version)

    def _reach(self, kinds: Set[str], point: str) -> None:
        for kind in sorted(kinds):
            if name := _POINT.get((kind, point)):
                self._trip(name)

    def _check_file(self) -> None:
        """A file that was moved or replaced still takes writes, which nobody would ever find again."""
        try:
            same = self._path.stat().st_ino == self._inode
        except OSError:
            same = False
        if not same:
            raise Unavailable(
                f"{self._path} was moved, deleted or replaced while in use: put it back, or restart on it"
            )
