"""The index's tables: what questions need and the log does not answer by itself. SQLite, and nothing but a copy.

Everything here can be made again from the log, so a commit does not wait for the disk: a crash of the machine may cost
the last of them, never a fact. A batch of rows and the position it brings the tables to are one transaction.
Times are ms since the epoch, digests and hashes 32 raw bytes, positions log offsets.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

VERSION = 1  # of the tables; another one in the file means: make it again
REFUSED, ACCEPTED = 0, 1  # column `outcome`; NULL while pending

_TABLES = """
CREATE TABLE positions (topic TEXT PRIMARY KEY, offset INTEGER NOT NULL, mark BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (number INTEGER PRIMARY KEY, offset INTEGER NOT NULL, hash BLOB NOT NULL, at INTEGER NOT NULL);
CREATE TABLE notices (id INTEGER PRIMARY KEY, iss TEXT NOT NULL, jti TEXT NOT NULL, digest BLOB NOT NULL,
    posted INTEGER, accepted_at INTEGER, entry INTEGER, outcome INTEGER);
CREATE UNIQUE INDEX notices_by_digest ON notices (digest, iss);
CREATE INDEX notices_by_jti ON notices (iss, jti);
CREATE TABLE statements (id TEXT PRIMARY KEY, digest BLOB, entry INTEGER, outcome INTEGER,
    posted INTEGER NOT NULL DEFAULT 0, judged INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID;
CREATE INDEX statements_by_digest ON statements (digest);
CREATE TABLE acks (recipient TEXT, sender TEXT, number INTEGER, at INTEGER NOT NULL,
    PRIMARY KEY (recipient, sender, number)) WITHOUT ROWID;
"""

# The same bytes posted again change nothing, unless their first posting was refused: then the new one counts.
_POST = """
INSERT INTO notices (iss, jti, digest, posted, accepted_at, outcome) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (digest, iss) DO UPDATE SET posted = excluded.posted, accepted_at = excluded.accepted_at, jti = excluded.jti
WHERE notices.posted IS NULL OR (notices.outcome = 0 AND excluded.outcome IS NULL)
"""
# Accepted is final. A refusal that could not believe the claims leaves `jti` as it was read from the message.
_JUDGE = """
INSERT INTO notices (iss, jti, digest, accepted_at, entry, outcome) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (digest, iss) DO UPDATE SET entry = excluded.entry, outcome = excluded.outcome,
    accepted_at = coalesce(notices.accepted_at, excluded.accepted_at),
    jti = coalesce(nullif(excluded.jti, ''), notices.jti)
WHERE notices.outcome IS NOT 1
"""
_POST_STATEMENT = "INSERT INTO statements (id, posted) VALUES (?, 1) ON CONFLICT (id) DO UPDATE SET posted = posted + 1"
_JUDGE_STATEMENT = """
INSERT INTO statements (id, digest, entry, outcome, judged) VALUES (?, ?, ?, ?, 1)
ON CONFLICT (id) DO UPDATE SET judged = judged + 1,
    digest = CASE WHEN outcome IS 1 THEN digest ELSE excluded.digest END,
    entry = CASE WHEN outcome IS 1 THEN entry ELSE excluded.entry END,
    outcome = CASE WHEN outcome IS 1 THEN 1 ELSE excluded.outcome END
"""
_NOTICE = "SELECT iss, jti, digest, posted, accepted_at, entry, outcome FROM notices"
_STATEMENT = "SELECT id, digest, entry, outcome, posted > judged FROM statements WHERE id = ?"


@dataclass(frozen=True, slots=True)
class NoticeRow:
    """A message in a notices topic and what became of it. `posted`: its offset there; `entry`: its ledger number."""

    iss: str
    jti: str
    digest: bytes
    posted: int | None
    accepted_at: int | None
    entry: int | None
    outcome: int | None


@dataclass(frozen=True, slots=True)
class StatementRow:
    """A statement by id; `pending` while a posting of it has not been judged. Once accepted it stays accepted."""

    id: str
    digest: bytes | None
    entry: int | None
    outcome: int | None
    pending: bool


@dataclass(slots=True)
class Rows:
    """What one read of one topic adds, in the order of the columns above; `mark` is the SHA-256 of the last record."""

    topic: str
    offset: int
    mark: bytes
    posted: list[tuple[str, str, bytes, int, int | None, int | None]] = field(default_factory=list)
    requested: list[tuple[str]] = field(default_factory=list)
    entries: list[tuple[int, int, bytes, int]] = field(default_factory=list)
    judged: list[tuple[str, str, bytes, int, int, int]] = field(default_factory=list)
    ruled: list[tuple[str, bytes, int, int]] = field(default_factory=list)
    acks: list[tuple[str, str, int, int]] = field(default_factory=list)


class Projection:
    """The tables; one connection, used from one thread."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            self._db = _connect(path)
        except sqlite3.DatabaseError:
            self._remove()
            self._db = _connect(path)
        self.positions = self._read_positions()

    def _read_positions(self) -> dict[str, int]:
        return dict(self._db.execute("SELECT topic, offset FROM positions"))

    def mark(self, topic: str) -> bytes:
        """SHA-256 of the record at the topic's position, to tell whether the log is still the one that was indexed."""
        row = self._db.execute("SELECT mark FROM positions WHERE topic = ?", (topic,)).fetchone()
        return bytes(row[0]) if row else b""

    def add(self, rows: Rows) -> None:
        """One transaction: the rows and the position they bring the topic to."""
        with self._db:
            self._db.execute("BEGIN")
            for statement, values in (
                (_POST, rows.posted),
                (_POST_STATEMENT, rows.requested),
                ("INSERT INTO entries VALUES (?, ?, ?, ?)", rows.entries),
                (_JUDGE, rows.judged),
                (_JUDGE_STATEMENT, rows.ruled),
                ("INSERT OR IGNORE INTO acks VALUES (?, ?, ?, ?)", rows.acks),
            ):
                if values:
                    self._db.executemany(statement, values)
            self._db.execute("REPLACE INTO positions VALUES (?, ?, ?)", (rows.topic, rows.offset, rows.mark))
        self.positions[rows.topic] = rows.offset

    def reset(self) -> None:
        """Forget everything."""
        self._db.close()
        self._remove()
        self._db = _connect(self._path)
        self.positions = {}

    def close(self) -> None:
        self._db.close()

    def _remove(self) -> None:
        for suffix in ("", "-wal", "-shm"):
            self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)

    # Questions

    def hashes(self) -> Iterator[bytes]:
        """The leaf hash of every entry, in order."""
        for (leaf,) in self._db.execute("SELECT hash FROM entries ORDER BY number"):
            yield leaf

    def offset(self, number: int) -> int | None:
        """Where in the ledger topic an entry stands."""
        row = self._db.execute("SELECT offset FROM entries WHERE number = ?", (number,)).fetchone()
        return row[0] if row else None

    def time(self, number: int) -> int | None:
        """When an entry was decided."""
        row = self._db.execute("SELECT at FROM entries WHERE number = ?", (number,)).fetchone()
        return row[0] if row else None

    def notice(self, iss: str, jti: str) -> NoticeRow | None:
        """The message of this name: the accepted one; else the oldest that is pending; else the newest refused."""
        where = "WHERE iss = ? AND jti = ? ORDER BY outcome IS 1 DESC, outcome IS NULL DESC, coalesce(-entry, posted)"
        row = self._db.execute(f"{_NOTICE} {where} LIMIT 1", (iss, jti)).fetchone()
        return NoticeRow(*row) if row else None

    def by_digest(self, digest: bytes, iss: str | None = None) -> NoticeRow | None:
        """The message with this digest, of `iss` only if given: others may have posted a copy of it, in vain."""
        where = "WHERE digest = ?1 AND (?2 IS NULL OR iss = ?2) ORDER BY outcome IS 1 DESC, outcome IS NULL DESC, id"
        row = self._db.execute(f"{_NOTICE} {where} LIMIT 1", (digest, iss)).fetchone()
        return NoticeRow(*row) if row else None

    def statement(self, id_: str) -> StatementRow | None:
        row = self._db.execute(_STATEMENT, (id_,)).fetchone()
        return StatementRow(row[0], row[1], row[2], row[3], bool(row[4])) if row else None

    def statement_entry(self, digest: bytes) -> int | None:
        """The ledger number of the statement with this payload digest."""
        query = "SELECT entry FROM statements WHERE digest = ? ORDER BY outcome DESC LIMIT 1"
        row = self._db.execute(query, (digest,)).fetchone()
        return row[0] if row else None

    def acknowledged(self, deliveries: Sequence[tuple[str, str, int]]) -> list[int | None]:
        """For each (recipient, sender, number): when the ledger took its acknowledgement."""
        query = "SELECT at FROM acks WHERE recipient = ? AND sender = ? AND number = ?"
        found = (self._db.execute(query, delivery).fetchone() for delivery in deliveries)
        return [row[0] if row else None for row in found]


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute("PRAGMA cache_size = -32000")  # KiB
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"index tables of version {version}")
        if version == 0:
            db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            db.close()
        raise
    return db
