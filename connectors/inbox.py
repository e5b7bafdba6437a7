"""Storing what was received, once, and saying so.

    page verified ──► one commit: notices, position, last numbers ──► signed acknowledgement ──► marked
                 kill here ┘ fetched again      kill here ┘ acknowledged again after the restart

The position moves in the commit that stores the notices, so each is stored exactly once whatever is killed when. What
does not verify goes to quarantine with the reason; it is neither acknowledged nor in anybody's way.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from connectors.deliveries import Delivery, Numbering
from connectors.errors import DeliveriesLost, InvalidDelivery, Refused, Unreachable
from connectors.ids import now_ms
from connectors.partner import Partner
from connectors.receiving import ACK_BATCH
from connectors.store import Store
from hub.core import envelope, strict
from schemas.notice import Notice, validate

FILE = "inbox.db"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS deliveries (
    place INTEGER PRIMARY KEY,
    sender TEXT NOT NULL, jti TEXT NOT NULL, digest TEXT NOT NULL,
    number INTEGER NOT NULL, expected INTEGER NOT NULL,
    notice BLOB NOT NULL, headers BLOB NOT NULL,
    stored INTEGER NOT NULL, acknowledged INTEGER,
    UNIQUE (sender, jti)
) STRICT;
CREATE INDEX IF NOT EXISTS unacknowledged ON deliveries (place) WHERE acknowledged IS NULL;
CREATE TABLE IF NOT EXISTS quarantine (
    place INTEGER PRIMARY KEY, reason TEXT NOT NULL, detail TEXT NOT NULL,
    notice BLOB NOT NULL, headers BLOB NOT NULL, stored INTEGER NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS position (one INTEGER PRIMARY KEY CHECK (one = 1), place INTEGER NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS senders (sender TEXT PRIMARY KEY, number INTEGER NOT NULL) STRICT;
INSERT INTO position VALUES (1, -1) ON CONFLICT DO NOTHING;
"""
log = logging.getLogger("connectors")


@dataclass(frozen=True, slots=True)
class StoredNotice:
    """One notice of the inbox. offset: its place. raw: the bytes that were verified. gap: (expected, got) or None.

    acknowledged: ms, when the hub had our acknowledgement.
    """

    offset: int
    notice: Notice
    raw: bytes
    digest: str
    number: int
    gap: tuple[int, int] | None
    headers: dict[str, str]
    acknowledged: int | None


@dataclass(frozen=True, slots=True)
class Quarantined:
    """What did not verify, as it came, and why."""

    offset: int
    reason: str
    detail: str
    raw: bytes
    headers: dict[str, str]


class Inbox:
    """One file for one agency at one hub; one process runs it, others may read."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Inbox:
        """In the directory `path`, or the file itself when the name ends in .db. Raises StoreError."""
        place = Path(path)
        return cls(Store.open(place if place.suffix == ".db" else place / FILE, _SCHEMA, 1))

    async def __aenter__(self) -> Inbox:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._store.close()

    async def run(self, client: Partner) -> None:
        """Fetch, store, acknowledge; until cancelled. A hub that is away is waited for."""
        position, numbering = await self._resume()
        await self.acknowledge(client)
        async for page in client.receiver.pages(position, numbering):
            await self._store_page(page)
            await self.acknowledge(client)

    async def fetch(self, client: Partner, *, wait: float = 0.0) -> int:
        """Fetch, store and acknowledge what is there now; how many notices. Waits up to `wait` s for a first one."""
        position, numbering = await self._resume()
        stored = 0
        while True:
            page, position = await client.receiver.fetch(position, numbering, wait=0.0 if stored else wait)
            stored += await self._store_page(page)
            await self.acknowledge(client)
            if not page:
                return stored

    async def acknowledge(self, client: Partner) -> int:
        """Acknowledge what is stored and not yet acknowledged; how many. What fails is left for the next time."""
        done = 0
        while waiting := await self._unacknowledged():
            try:
                await client.receiver.acknowledge([(sender, number, digest) for _, sender, number, digest in waiting])
            except (Refused, Unreachable) as error:
                log.warning("acknowledgement: %s; the notices are stored, it is tried again", error)
                break
            places = [(now_ms(), place) for place, *_ in waiting]
            await self._store.write(
                lambda connection, places=places: connection.executemany(  # type: ignore[misc]
                    "UPDATE deliveries SET acknowledged = ? WHERE place = ?", places
                )
            )
            done += len(places)
        return done

    async def notices(self, after: int = -1, limit: int = 500) -> list[StoredNotice]:
        """What is stored after an offset, oldest first: keep your own offset, and miss and repeat nothing."""
        query = (
            "SELECT place, notice, digest, number, expected, headers, acknowledged "
            "FROM deliveries WHERE place > ? ORDER BY place LIMIT ?"
        )
        rows = await self._store.read(lambda connection: connection.execute(query, (after, limit)).fetchall())
        return [_stored(row) for row in rows]

    async def quarantine(self, after: int = -1, limit: int = 500) -> list[Quarantined]:
        """What did not verify, after an offset."""
        query = "SELECT place, reason, detail, notice, headers FROM quarantine WHERE place > ? ORDER BY place LIMIT ?"
        rows = await self._store.read(lambda connection: connection.execute(query, (after, limit)).fetchall())
        return [
            Quarantined(place, reason, detail, raw, strict.loads(headers))
            for place, reason, detail, raw, headers in rows
        ]

    async def position(self) -> int:
        """The last offset stored or quarantined; -1 at the beginning."""
        return (await self._resume())[0]

    async def pass_over(self, lost: DeliveriesLost) -> None:
        """Go on behind what the topic does not hold any more; the numbers of what comes then show what is missing.

        Raises `lost` itself when there is no going on: the topic is another one, with offsets of its own.
        """
        behind = lost.resume
        if behind is None:
            raise lost
        await self._store.write(
            lambda connection: connection.execute("UPDATE position SET place = ? WHERE place = ?", (behind, lost.after))
        )

    async def _resume(self) -> tuple[int, Numbering]:
        def read(connection: sqlite3.Connection) -> tuple[int, dict[str, int]]:
            position: int = connection.execute("SELECT place FROM position").fetchone()[0]
            return position, dict(connection.execute("SELECT sender, number FROM senders").fetchall())

        position, numbers = await self._store.read(read)
        return position, Numbering(numbers, complete=True)

    async def _store_page(self, page: Sequence[Delivery | InvalidDelivery]) -> int:
        """The page and the position after it, in one commit."""
        if not page:
            return 0
        for each in page:
            if isinstance(each, InvalidDelivery):
                log.error("quarantined: %s", each)
            elif each.gap:
                expected, got = each.gap
                log.error("delivery %d: number %d of %s, expected %d", each.offset, got, each.sender, expected)
        return await self._store.write(lambda connection: _insert(connection, page))

    async def _unacknowledged(self) -> list[tuple[int, str, int, str]]:
        query = "SELECT place, sender, number, digest FROM deliveries WHERE acknowledged IS NULL ORDER BY place LIMIT ?"
        return await self._store.read(lambda connection: connection.execute(query, (ACK_BATCH,)).fetchall())


def _insert(connection: sqlite3.Connection, page: Sequence[Delivery | InvalidDelivery]) -> int:
    """How many were stored. What another run of this inbox has stored meanwhile is passed over."""
    position: int = connection.execute("SELECT place FROM position").fetchone()[0]
    fresh = [each for each in page if each.offset > position]
    stored = sum(_insert_one(connection, each) for each in fresh)
    if fresh:
        connection.execute("UPDATE position SET place = ?", (fresh[-1].offset,))
    return stored


def _insert_one(connection: sqlite3.Connection, each: Delivery | InvalidDelivery) -> bool:
    """Whether it is a notice that was not stored before."""
    headers = strict.dumps(dict(each.headers))
    if isinstance(each, InvalidDelivery):
        row = (each.offset, each.reason, each.detail, each.notice, headers, now_ms())
        connection.execute("INSERT INTO quarantine VALUES (?, ?, ?, ?, ?, ?)", row)
        return False
    known = connection.execute(
        "SELECT digest FROM deliveries WHERE sender = ? AND jti = ?", (each.sender, each.notice.jti)
    ).fetchone()
    if known is not None:
        if known[0] == each.digest:
            return False
        detail = f"{each.sender} signed another notice with jti {each.notice.jti}, which is stored already"
        return _insert_one(
            connection, InvalidDelivery(each.offset, "equivocation", detail, each.raw, dict(each.headers))
        )
    expected = each.gap[0] if each.gap else each.number
    connection.execute(
        "INSERT INTO deliveries (place, sender, jti, digest, number, expected, notice, headers, stored) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (each.offset, each.sender, each.notice.jti, each.digest, each.number, expected, each.raw, headers, now_ms()),
    )
    connection.execute(
        "INSERT INTO senders VALUES (?, ?) ON CONFLICT (sender) DO UPDATE SET number = max(number, excluded.number)",
        (each.sender, each.number),
    )
    return True


def _stored(row: tuple[Any, ...]) -> StoredNotice:
    place, raw, digest, number, expected, headers, acknowledged = row
    notice = validate(envelope.read(envelope.split(raw))[0])
    gap = None if number == expected else (expected, number)
    return StoredNotice(place, notice, raw, digest, number, gap, strict.loads(headers), acknowledged)
