"""Which client assertions were used: each `jti` once, for as long as the assertion could be accepted.

A hub in one process keeps a small SQLite file of its own, so that a restart, even by kill -9, opens no window for a replay.
It may be deleted at the price of that window; nothing else hangs on it. Where several processes sell tokens they write each
use into one topic: of two that are offered the same assertion, the one whose record stands first has sold the token.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sqlite3
import threading
from pathlib import Path
from typing import Protocol

from hub.log import Log, Record

ASSERTIONS = "comity.assertions"


class Used(Protocol):
    async def spend(self, client: str, jti: str, exp: int, now: int) -> bool:
        """Remember the assertion until `exp` (s); False when it was used before. Durable when it returns."""
        ...

    def close(self) -> None: ...


class UsedAssertions:
    """For one process. The file is opened when this is made."""

    def __init__(self, path: Path | str) -> None:
        self._lock = threading.Lock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute(
            "CREATE TABLE IF NOT EXISTS used"
            " (client TEXT, jti TEXT, exp INTEGER, PRIMARY KEY (client, jti)) WITHOUT ROWID"
        )
        self._db.execute("CREATE INDEX IF NOT EXISTS used_by_exp ON used(exp)")

    async def spend(self, client: str, jti: str, exp: int, now: int) -> bool:
        return await asyncio.to_thread(self._spend, client, jti, exp, now)

    def _spend(self, client: str, jti: str, exp: int, now: int) -> bool:
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._db.execute("DELETE FROM used WHERE exp <= ?", (now,))
                fresh = (
                    self._db.execute("INSERT OR IGNORE INTO used VALUES (?, ?, ?)", (client, jti, exp)).rowcount == 1
                )
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")
            return fresh

    def close(self) -> None:
        with self._lock:
            self._db.close()


class SharedAssertions:
    """For any number of processes, in one event loop each. The topic keeps its records longer than an assertion lives."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._first: dict[str, tuple[int, int]] = {}  # digest of client and jti -> offset of its first record, exp
        self._after = -1
        self._following = asyncio.Lock()

    async def spend(self, client: str, jti: str, exp: int, now: int) -> bool:
        # A digest: who logs in how often is the partners' affair, and the topic outlives the log in.
        name = hashlib.sha256(f"{client}\n{jti}".encode()).hexdigest()
        await self._log.create(ASSERTIONS)
        ours = await self._log.append(ASSERTIONS, Record(json.dumps({"used": name, "exp": exp}).encode()))
        async with self._following:
            while self._after < ours:
                for stored in await self._log.read(ASSERTIONS, after=self._after, wait=1.0):
                    said = json.loads(stored.record.value)
                    self._first.setdefault(said["used"], (stored.offset, said["exp"]))
                    self._after = stored.offset
        first, _ = self._first[name]
        if len(self._first) > 1_000 and ours % 100 == 0:
            self._first = {used: kept for used, kept in self._first.items() if kept[1] > now}
        return first == ours

    def close(self) -> None:
        """Nothing to let go of."""
