"""The index: answers to questions about the log, without reading the log from its beginning.

It follows the ledger, the messages that the ledger judges, the registry and the checkpoints, and can be made again from
them at any time; a file that does not fit the log (another version, a log restored from an older copy) is thrown away.
In memory it keeps the registry and the hashes of the Merkle tree, 64 bytes an entry; notices and entries stay
in the log.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from hub import rows
from hub.core.checkpoint import Checkpoint
from hub.core.errors import VerificationFailed
from hub.core.merkle import Tree
from hub.core.registry import Registry
from hub.follow import Follower
from hub.log import Log, Stored
from hub.projection import ACCEPTED, REFUSED, NoticeRow, Projection, Rows
from hub.rows import Entry

LEDGER = "comity.ledger"
REQUESTS = "comity.requests"
CHECKPOINTS = "comity.checkpoints"
NOTICES = "comity.notices."
BATCH = 500
IDLE_WAIT = 5.0  # seconds
PAUSE = 0.02  # seconds between catch-ups of `run`: batches are cheaper than single entries
STATUS = {None: "pending", ACCEPTED: "accepted", REFUSED: "refused"}

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class NoticeStatus:
    """What became of a notice. `status`: pending, accepted, refused; `acknowledged`: ms (or None) by recipient.

    `posted`: its offset in its sender's topic, if that still has it; `accepted_at`: ms, when the hub took it.
    """

    iss: str
    jti: str
    digest: bytes
    status: str
    accepted_at: int | None
    posted: int | None
    entry: Entry | None
    acknowledged: dict[str, int | None]


@dataclass(frozen=True, slots=True)
class StatementStatus:
    """What became of a registry statement. `status`: pending, accepted, refused; `entry`: its newest ledger entry."""

    id: str
    status: str
    entry: Entry | None


@dataclass(frozen=True, slots=True)
class Lag:
    """Ledger entries not indexed; indexed ones without a checkpoint, and when (ms) the oldest of these was decided."""

    unindexed: int
    uncovered: int
    uncovered_since: int | None


class Index:
    """Answers are as of the last `catch_up`. Made for one event loop."""

    def __init__(
        self, path: Path, log: Log, count: Callable[[Counter[tuple[str, str]], int], None] | None = None
    ) -> None:
        """`path`: of the SQLite file. `count` is told of each batch: entries by (kind, outcome), and deliveries."""
        self.log = log
        self.tree = Tree()
        self.checkpoint: bytes | None = None  # the newest, as signed
        self.covered = 0  # its size: what proofs are made for
        self._projection = Projection(path)
        self._follower = Follower(log)
        self._count = count or (lambda entries, deliveries: None)
        self._lock = asyncio.Lock()
        self._started = self._finished = 0  # runs of catch_up
        self._wanted: set[str] = set()
        self._checked = False

    @property
    def registry(self) -> Registry:
        return self._follower.registry

    @property
    def size(self) -> int:
        """Ledger entries indexed."""
        return self.tree.size

    async def catch_up(self, *agencies: str) -> None:
        """Take in everything committed before this call; of messages not judged yet, those of the `agencies` named.

        Callers that wait at the same time share one run. VerificationFailed when the log contradicts itself.
        """
        self._wanted.update(agencies)
        mine = self._started + 1  # a run under way may have passed what this caller wrote
        async with self._lock:
            if self._finished >= mine:
                return
            self._started += 1
            this, wanted, self._wanted = self._started, self._wanted, set()
            try:
                await self._follow(wanted)
            except BaseException:
                self._wanted |= wanted  # for those who wait for this run and now make the next
                raise
            self._finished = this

    async def run(self) -> None:
        """Keep up until cancelled."""
        while True:
            await self.catch_up()
            positions = self._projection.positions
            end = await self.log.end(CHECKPOINTS)
            news = [
                asyncio.create_task(self.log.read(topic, after=after, limit=1, wait=IDLE_WAIT))
                for topic, after in ((LEDGER, positions.get(LEDGER, -1)), (CHECKPOINTS, end))
            ]
            try:
                await asyncio.wait(news, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in news:
                    task.cancel()
                await asyncio.gather(*news, return_exceptions=True)
            await asyncio.sleep(PAUSE)

    def close(self) -> None:
        self._projection.close()

    async def _follow(self, agencies: set[str]) -> None:
        if not self._checked:
            await self._fit()
        for _ in range(2):
            # Read first, so that the entries it covers are committed, and indexed, when it is compared with them.
            newest = await self._newest_checkpoint()
            for agency in sorted(agencies):
                await self._take_messages(NOTICES + agency)
            await self._take_requests()
            await self._take_ledger()
            await self._follower.catch_up()  # after the ledger: never behind the registry position of an entry
            if newest is None or self._adopt(newest):
                return
            logger.warning("index does not fit the newest checkpoint; made again from the log")
            self._reset()
        raise VerificationFailed(
            "the ledger does not have the root of its newest checkpoint: run `comity audit verify`"
        )

    async def _fit(self) -> None:
        """Keep what the file says only if the log still is the one it was read from."""
        for topic, offset in self._projection.positions.items():
            at = await self.log.read(topic, after=offset - 1, limit=1) if await self.log.end(topic) >= offset else []
            gone = at and at[0].offset > offset and topic.startswith(NOTICES)  # past its retention
            same = at and at[0].offset == offset and _sha256(at[0].record.value) == self._projection.mark(topic)
            if not (same or gone):
                logger.warning("the log is not the one that was indexed; index made again", topic=topic.split(".")[1])
                self._projection.reset()
                break
        self.tree = Tree(self._projection.hashes())
        self._checked = True

    def _reset(self) -> None:
        self._projection.reset()
        self.tree = Tree()

    async def _take_messages(self, topic: str, until: int | None = None) -> None:
        """Messages up to the offset `until`, and what comes with them; or up to the end."""
        agency = topic.removeprefix(NOTICES)
        while until is None or self._projection.positions.get(topic, -1) < until:
            batch = await self._read(topic)
            if not batch:
                return
            self._projection.add(rows.from_notices(agency, batch))

    async def _take_requests(self) -> None:
        while batch := await self._read(REQUESTS):
            self._projection.add(rows.from_requests(batch))

    async def _take_ledger(self) -> None:
        while batch := await self._read(LEDGER):
            entries = [Entry.read(number, stored.record.value) for number, stored in enumerate(batch, self.size)]
            for topic, offset in rows.sources(entries).items():
                await self._take_messages(topic, until=offset)  # a message is known before its judgement
            self._add_entries(entries, rows.from_ledger(entries, batch))

    def _add_entries(self, entries: Sequence[Entry], found: Rows) -> None:
        self._projection.add(found)
        self.tree.extend(leaf for _, _, leaf, _ in found.entries)
        kinds = Counter((entry.leaf["kind"], entry.leaf["outcome"]) for entry in entries)
        self._count(kinds, sum(len(entry.sealed.get("deliveries", ())) for entry in entries if entry.sealed))

    async def _read(self, topic: str) -> list[Stored]:
        return await self.log.read(topic, after=self._projection.positions.get(topic, -1), limit=BATCH)

    async def _newest_checkpoint(self) -> bytes | None:
        end = await self.log.end(CHECKPOINTS)
        newest = await self.log.read(CHECKPOINTS, after=end - 1, limit=1) if end >= 0 else []
        return newest[-1].record.value if newest else None

    def _adopt(self, note: bytes) -> bool:
        """Make it the one that proofs are for, if the indexed entries have its root."""
        if note != self.checkpoint:
            said = Checkpoint.parse(note.decode().partition("\n\n")[0] + "\n")
            if said.size > self.size or self.tree.root(said.size) != said.root:
                return False
            self.checkpoint, self.covered = note, said.size
        return True

    # Questions

    def accepted(self, iss: str, jti: str) -> tuple[bytes, int] | None:
        """Digest and time (ms) of the notice posted under that name, unless it was refused."""
        row = self._projection.notice(iss, jti)
        if row is None or row.outcome == REFUSED or row.accepted_at is None:
            return None
        return row.digest, row.accepted_at

    async def notice(self, iss: str, jti: str) -> NoticeStatus | None:
        """What became of the notice that `iss` posted under `jti`."""
        row = self._projection.notice(iss, jti)
        return await self._status(row) if row else None

    async def by_digest(self, digest: bytes, iss: str | None = None) -> NoticeStatus | None:
        """The same by digest; `iss` given: only if that agency posted it."""
        row = self._projection.by_digest(digest, iss)
        return await self._status(row) if row else None

    async def message(self, found: NoticeStatus) -> bytes | None:
        """The notice as posted; None when it is past its retention."""
        if found.posted is None:
            return None
        batch = await self.log.read(NOTICES + found.iss, after=found.posted - 1, limit=1)
        return batch[0].record.value if batch and batch[0].offset == found.posted else None

    async def statement(self, id_: str) -> StatementStatus | None:
        """What became of the statement `id_`; once accepted, whatever is posted under its id changes nothing."""
        row = self._projection.statement(id_)
        if row is None:
            return None
        status = "pending" if row.pending and row.outcome != ACCEPTED else STATUS[row.outcome]
        return StatementStatus(row.id, status, None if row.entry is None else await self.entry(row.entry))

    def leaf_index(self, digest: bytes) -> int | None:
        """The number of the ledger entry on the notice (the accepted one first) or statement with this digest."""
        row = self._projection.by_digest(digest)
        return row.entry if row and row.entry is not None else self._projection.statement_entry(digest)

    async def entry(self, number: int) -> Entry | None:
        found = await self.entries(number - 1, 1)
        return found[0] if found else None

    async def entries(self, after: int = -1, limit: int = BATCH) -> list[Entry]:
        """Ledger entries from number `after` + 1 on."""
        first = self._projection.offset(after + 1)
        if first is None:
            return []
        batch = await self.log.read(LEDGER, after=first - 1, limit=min(limit, self.size - after - 1))
        return [Entry.read(number, stored.record.value) for number, stored in enumerate(batch, after + 1)]

    def proof(self, number: int) -> list[bytes] | None:
        """The path of an entry to the root of `checkpoint`; None while no checkpoint covers it."""
        return self.tree.inclusion(number, self.covered) if 0 <= number < self.covered else None

    def acknowledged(self, recipient: str, sender: str, number: int) -> int | None:
        """When (ms) the ledger took the recipient's acknowledgement of a delivery."""
        return self._projection.acknowledged([(recipient, sender, number)])[0]

    async def lag(self) -> Lag:
        """Offsets count entries where the log has one record an offset, else a little more."""
        unindexed = await self.log.end(LEDGER) - self._projection.positions.get(LEDGER, -1)
        uncovered = self.size - self.covered
        return Lag(unindexed, uncovered, self._projection.time(self.covered) if uncovered else None)

    async def _status(self, row: NoticeRow) -> NoticeStatus:
        entry = None if row.entry is None else await self.entry(row.entry)
        sealed = entry.sealed if entry and entry.sealed else {}
        keys = [(delivery["recipient"], row.iss, delivery["number"]) for delivery in sealed.get("deliveries", ())]
        acknowledged = dict(zip((key[0] for key in keys), self._projection.acknowledged(keys), strict=True))
        status = STATUS[row.outcome]
        return NoticeStatus(row.iss, row.jti, row.digest, status, row.accepted_at, row.posted, entry, acknowledged)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()
