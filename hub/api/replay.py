"""Which client assertions were used: each `jti` once, for as long as the assertion could be accepted.

A small SQLite file of its own, so that a restart, even by kill -9, opens no window for a replay. It may be deleted at
the price of that window; nothing else hangs on it.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path


class UsedAssertions:
    """`spend` is called from worker threads, one at a time; the file is opened when this is made."""

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

    def spend(self, client: str, jti: str, exp: int, now: int) -> bool:
        """Remember the assertion until `exp` (s); False when it was used before. Durable when it returns."""
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
