"""A small durable store: one SQLite file, one writer thread, and transactions that concurrent writers share.

Every write that waits while a commit runs goes into the next one, so that a hundred concurrent writers pay for one
fsync and a lone one pays for its own. `synchronous=FULL` in WAL mode: what `write` returned survives kill -9 and power loss.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Generic, TypeVar

from connectors.errors import StoreError

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], T]


class _Write(Generic[T]):
    __slots__ = ("done", "work")

    def __init__(self, work: Work[T], done: asyncio.Future[T]) -> None:
        self.work, self.done = work, done


class Store:
    """Open with `Store.open`; belongs to one event loop."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self.path = path
        self._connection = connection
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"store-{path.name}")
        self._waiting: list[_Write[Any]] = []
        self._committing: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, path: Path, schema: str, version: int) -> Store:
        """Open or make the file (0600) with these tables; StoreError when it is something else, or newer."""
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=30)
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            found = connection.execute("PRAGMA user_version").fetchone()[0]
            if found == 0:
                connection.executescript(f"BEGIN IMMEDIATE; {schema} PRAGMA user_version={version}; COMMIT;")
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"cannot use {path}: {error}; give another path, or restore it from your backup") from None
        if found not in (0, version):
            connection.close()
            raise StoreError(f"{path} has layout {found}, this release reads {version}: use the release that wrote it")
        return cls(connection, path)

    async def write(self, work: Work[T]) -> T:
        """Run `work` in a transaction, alone or with others; its result once that is durable.

        An exception of `work` undoes its own changes only and is raised here; StoreError when the disk refuses.
        """
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Write(work, done))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_all())
        return await done

    async def read(self, work: Work[T]) -> T:
        """Run `work`, which only reads."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, self._connection)

    async def close(self) -> None:
        """After what is being written."""
        if self._committing is not None:
            await self._committing
        self._thread.shutdown()
        self._connection.close()

    async def _commit_all(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                group, self._waiting = self._waiting, []
                try:
                    results = await loop.run_in_executor(self._thread, self._commit, group)
                except (sqlite3.Error, RuntimeError) as error:
                    fault = StoreError(f"{self.path} cannot be written: {error}; check the disk, then try again")
                    results = [fault] * len(group)
                for each, result in zip(group, results, strict=True):
                    if each.done.done():
                        continue  # its writer was cancelled; the change stands
                    if isinstance(result, Exception):
                        each.done.set_exception(result)
                    else:
                        each.done.set_result(result)
        finally:
            self._committing = None

    def _commit(self, group: list[_Write[Any]]) -> list[Any]:
        """One transaction for the group. Results in order, the exception where one failed by itself."""
        connection, results = self._connection, []
        connection.execute("BEGIN IMMEDIATE")
        try:
            for each in group:
                connection.execute("SAVEPOINT one")
                try:
                    results.append(each.work(connection))
                except Exception as error:
                    if isinstance(error, sqlite3.OperationalError):
                        raise  # disk full, I/O error: nothing of the group is durable
                    connection.execute("ROLLBACK TO one")
                    results.append(error)
                connection.execute("RELEASE one")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return results
