"""The SQLite file of the embedded log: its tables, how it is opened, and what its errors mean to people.

`records.id` is topic << 40 | offset: one B-tree holds every topic, each in order, with a record's bytes in its leaf; that
writes three times as fast as a two-column primary key. `topics.next` outlives the records, so that dropping old ones can
never make an offset be used twice.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path

from hub.log import Unavailable

VERSION = 2  # 1: shards were named, and their memory written, otherwise
APPLICATION = 0x434D5459  # "CMTY", in the header of the file
OFFSET_BITS = 40
LAST_OFFSET = (1 << OFFSET_BITS) - 1

SCHEMA = (
    "CREATE TABLE topics (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, next INTEGER NOT NULL DEFAULT 0)",
    "CREATE TABLE records (id INTEGER PRIMARY KEY, key TEXT, headers TEXT NOT NULL, value BLOB NOT NULL)",
    "CREATE TABLE claims (id INTEGER PRIMARY KEY, shard TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL)",
    "CREATE TABLE positions (claim INTEGER NOT NULL, topic INTEGER NOT NULL, offset INTEGER NOT NULL,"
    " PRIMARY KEY (claim, topic)) WITHOUT ROWID",
    "CREATE TABLE state (claim INTEGER NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL,"
    " PRIMARY KEY (claim, key)) WITHOUT ROWID",
    f"PRAGMA application_id = {APPLICATION}",
    f"PRAGMA user_version = {VERSION}",
)

RESTORE = "restore it from a backup, then run `comity audit verify`"
ADVICE = {
    sqlite3.SQLITE_FULL: "make room on the disk, then try again",
    sqlite3.SQLITE_IOERR: "check the disk, its quota and the system's log, then try again",
    sqlite3.SQLITE_BUSY: "another process has been writing to it for long: end that one, then try again",
    sqlite3.SQLITE_CANTOPEN: "check that the directory exists and that this user may read and write there",
    sqlite3.SQLITE_READONLY: "check that this user may write to the file and its directory",
    sqlite3.SQLITE_PERM: "check that this user may read and write the file and its directory",
    sqlite3.SQLITE_CORRUPT: f"the file is damaged: {RESTORE}",
    sqlite3.SQLITE_NOTADB: "this is no log, or a damaged one: give another path, or restore it from a backup",
}


def open_writer(path: Path, busy: float) -> sqlite3.Connection:
    """The one connection that writes; makes the file and its tables when they are not there. Raises Unavailable.

    busy: seconds to wait for another process that is writing.
    """
    try:
        db = _connect(path, "mode=rwc", busy)
        try:
            db.execute("PRAGMA page_size = 8192")  # of a new file: four notices a page, a third faster than 4096
            _to_wal(db, busy)
            # FULL: a commit returns after its fsync. The kernel's word is all we have; see docs on disks that lie.
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA wal_autocheckpoint = 4000")  # pages, 32 MiB: fewer of the checkpoint's fsyncs
            db.execute("PRAGMA journal_size_limit = 67108864")
            db.execute("BEGIN IMMEDIATE")
            if _is_empty(db):
                for statement in SCHEMA:
                    db.execute(statement)
            _check(db, path)
            db.execute(
                "DELETE FROM topics WHERE 0"
            )  # SQLite opens for reading what it may not write, and says so only now
            db.execute("COMMIT")
            _sync_directory(path.parent)
        except BaseException:
            db.close()
            raise
    except sqlite3.Error as error:
        raise unavailable(path, error) from error
    return db


def open_reader(path: Path, busy: float) -> sqlite3.Connection:
    """A connection that cannot write. Raises Unavailable."""
    try:
        try:
            return _open_reader(path, "mode=ro", busy)
        except sqlite3.OperationalError as error:
            # Reading a log that a process may write to needs a file for shared memory beside it. On a medium where none
            # can be made nobody writes; with an empty write-ahead log the database file alone is all there is.
            wal = path.with_name(path.name + "-wal")
            if _code(error) not in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY) or not path.exists():
                raise
            if wal.exists() and wal.stat().st_size:
                hint = f"copy it together with {wal.name} to a directory that can be written to, and open it there"
                raise Unavailable(f"{path}: {error}; {hint}") from error
            return _open_reader(path, "mode=ro&immutable=1", busy)
    except sqlite3.Error as error:
        raise unavailable(path, error) from error


def unavailable(path: Path, error: Exception) -> Unavailable:
    """What happened, where, and what to do about it."""
    advice = ADVICE.get(_code(error), "see the system's log; the log may have to be opened anew")
    return Unavailable(f"{path}: {error}; {advice}")


def _open_reader(path: Path, options: str, busy: float) -> sqlite3.Connection:
    db = _connect(path, options, busy)
    try:
        _check(db, path)
    except BaseException:
        db.close()
        raise
    return db


def _connect(path: Path, options: str, busy: float) -> sqlite3.Connection:
    # Used by one thread at a time, which is not always the one that opened it.
    db = sqlite3.connect(
        f"{path.absolute().as_uri()}?{options}", uri=True, isolation_level=None, check_same_thread=False, timeout=busy
    )
    try:
        db.execute("PRAGMA cache_size = -65536")  # KiB
        db.execute("PRAGMA temp_store = MEMORY")
    except BaseException:
        db.close()
        raise
    return db


def _to_wal(db: sqlite3.Connection, busy: float) -> None:
    """Turn write-ahead logging on. When two processes make the file at once SQLite does not wait by itself here."""
    deadline = time.monotonic() + busy
    while True:
        try:
            db.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if _code(error) != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _is_empty(db: sqlite3.Connection) -> bool:
    with closing(db.execute("SELECT 1 FROM sqlite_master LIMIT 1")) as rows:
        return rows.fetchone() is None


def _check(db: sqlite3.Connection, path: Path) -> None:
    [application], [version] = (db.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version"))
    if application != APPLICATION:
        raise Unavailable(f"{path} is a database, but not a log of Comity: give another path")
    if version != VERSION:
        age = "a newer" if version > VERSION else "an older"
        raise Unavailable(
            f"{path} has format {version}, of {age} version of Comity; this one reads format {VERSION}: "
            "use the version that wrote it"
        )


def _sync_directory(directory: Path) -> None:
    """So that a power cut cannot take the name of a file whose bytes were synced."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _code(error: BaseException) -> int:
    """SQLite's primary result code, 0 when the error is not SQLite's."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF
