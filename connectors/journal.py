"""What this agency has published, on its own disk before it is on the wire.

    pending ──► accepted (with the hub's receipt; over Kafka with its place in the topic instead)
       └──────► refused  (with the reason)

A notice is written here, durably, before it is first sent, and stays pending until the hub's answer is written too. A
kill in between, on either side of the POST, leaves it pending; sending the same bytes again gets the same answer, so
the end is exactly one accepted notice.

Over Kafka the answer is the brokers': they have the notice durably, and the hub judges it later. Sent twice it stands in
the topic twice, and the hub takes the second for a duplicate.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from connectors.errors import StoreError
from connectors.ids import now_ms
from connectors.notices import SignedNotice
from connectors.store import Store
from hub.core.process import MAX_LIFETIME

FILE = "journal.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (
    place INTEGER PRIMARY KEY,
    jti TEXT NOT NULL UNIQUE,
    notice BLOB NOT NULL,
    state TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'accepted', 'refused')),
    written INTEGER NOT NULL,
    receipt TEXT, location TEXT, status INTEGER, code TEXT, detail TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS pending ON journal (place) WHERE state = 'pending';
"""
_COLUMNS = "place, notice, state, receipt, location, status, code, detail"


@dataclass(frozen=True, slots=True)
class Entry:
    """One notice in the journal. location, and over HTTP the receipt, when accepted; status, code, detail when refused."""

    place: int
    notice: SignedNotice
    state: Literal["pending", "accepted", "refused"]
    receipt: str | None = None
    location: str | None = None
    status: int | None = None
    code: str | None = None
    detail: str | None = None


class Journal:
    """One file for one agency. Several processes may share it: at worst both send, and the hub answers alike."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Journal:
        """In the directory `path`, or the file itself when the name ends in .db. Raises StoreError."""
        place = Path(path)
        return cls(Store.open(place if place.suffix == ".db" else place / FILE, _SCHEMA, 1))

    async def add(self, notice: SignedNotice) -> Entry:
        """Write a notice durably; what is there already, with its state, when these bytes are known.

        StoreError when the journal knows other bytes under this jti.
        """

        def insert(connection: sqlite3.Connection) -> Entry:
            row = connection.execute(f"SELECT {_COLUMNS} FROM journal WHERE jti = ?", (notice.jti,)).fetchone()  # noqa: S608
            if row is None:
                done = connection.execute(
                    "INSERT INTO journal (jti, notice, written) VALUES (?, ?, ?)", (notice.jti, notice.raw, now_ms())
                )
                return Entry(done.lastrowid or 0, notice, "pending")
            if row[1] != notice.raw:
                raise StoreError(f"jti {notice.jti} is in the journal with other bytes: sign a new notice")
            return _entry(row)

        return await self._store.write(insert)

    async def accept(self, jti: str, receipt: str, location: str) -> None:
        """receipt: "" where there is none."""
        await self._store.write(
            lambda connection: connection.execute(
                "UPDATE journal SET state = 'accepted', receipt = ?, location = ? WHERE jti = ?",
                (receipt or None, location, jti),
            )
        )

    async def refuse(self, jti: str, status: int, code: str, detail: str) -> None:
        await self._store.write(
            lambda connection: connection.execute(
                "UPDATE journal SET state = 'refused', status = ?, code = ?, detail = ? WHERE jti = ?",
                (status, code, detail, jti),
            )
        )

    async def pending(self, after: int = 0, limit: int = 500) -> list[Entry]:
        """Notices without a final answer, in the order they were written, after a place."""
        query = f"SELECT {_COLUMNS} FROM journal WHERE state = 'pending' AND place > ? ORDER BY place LIMIT ?"  # noqa: S608
        rows = await self._store.read(lambda connection: connection.execute(query, (after, limit)).fetchall())
        return [_entry(row) for row in rows]

    async def find(self, jti: str) -> Entry | None:
        query = f"SELECT {_COLUMNS} FROM journal WHERE jti = ?"  # noqa: S608
        row = await self._store.read(lambda connection: connection.execute(query, (jti,)).fetchone())
        return None if row is None else _entry(row)

    async def counts(self) -> dict[str, int]:
        """How many notices are in each state."""
        query = "SELECT state, count(*) FROM journal GROUP BY state"
        found = await self._store.read(lambda connection: dict(connection.execute(query).fetchall()))
        return {state: found.get(state, 0) for state in ("pending", "accepted", "refused")}

    async def prune(self, older_than_ms: int = MAX_LIFETIME * 1000) -> int:
        """Forget final notices written longer ago, receipts included; how many. By default when all have expired."""
        before = now_ms() - older_than_ms
        return await self._store.write(
            lambda connection: (
                connection.execute("DELETE FROM journal WHERE state <> 'pending' AND written < ?", (before,)).rowcount
            )
        )

    async def close(self) -> None:
        await self._store.close()


def _entry(row: tuple[Any, ...]) -> Entry:
    place, raw, *rest = row
    return Entry(place, SignedNotice.read(raw), *rest)
