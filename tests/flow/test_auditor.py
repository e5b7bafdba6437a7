"""The auditor finds nothing in an honest log, and names each fraud that is planted into the stored one."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from hub.auditor import Report, verify
from hub.core.checkpoint import Signer
from hub.log import Stored
from hub.log.embedded import EmbeddedLog
from hub.notary import Notary
from tests.flow.frauds import (
    FRAUDS,
    SIGNER,
    busy_log,
    change_first,
    drop,
    drop_notice,
    erase,
    grant,
    notices,
    put,
    resign,
    rows,
)
from tests.flow.test_router import A, B, C, Hub
from tests.world import key_of

VKEY = SIGNER.verifier


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("honest") / "comity.db"

    async def write() -> None:
        await (await busy_log(path)).log.close()

    asyncio.run(write())
    return path


@pytest.fixture
async def db(honest: Path, tmp_path: Path) -> AsyncIterator[sqlite3.Connection]:
    """A copy to plant frauds into."""
    source, copy = sqlite3.connect(honest), sqlite3.connect(tmp_path / "comity.db", isolation_level=None)
    source.backup(copy)
    yield copy
    copy.close()


async def audit(path: Path, **options: Any) -> Report:
    log = EmbeddedLog.open(path, read_only=True)
    try:
        return await verify(log, VKEY, **options)
    finally:
        await log.close()


async def test_an_honest_log_holds(honest: Path) -> None:
    report = await audit(honest)
    assert report.findings == []
    assert (report.statements, report.notices, report.refused, report.acknowledgements) == (8, 8, 4, 1)
    assert (report.deliveries, report.checkpoints, report.pending, report.erased) == (8, 2, 0, 0)
    assert report.size == report.entries == 18


@pytest.mark.parametrize("name", FRAUDS)
async def test_a_planted_fraud_is_named(name: str, db: sqlite3.Connection, tmp_path: Path) -> None:
    where = FRAUDS[name](db)
    report = await audit(tmp_path / "comity.db")
    assert not report.holds
    assert any(f.where.startswith(where) for f in report.findings), report.findings


SEEN_THROUGH = [name for name in FRAUDS if "checkpoint" not in name and "root for" not in name]


@pytest.mark.parametrize("name", SEEN_THROUGH)
async def test_signing_the_fraud_anew_does_not_hide_it_from_a_kept_checkpoint(
    name: str, db: sqlite3.Connection, tmp_path: Path
) -> None:
    kept = rows(db, "comity.checkpoints")[-1][1]
    FRAUDS[name](db)
    resign(db)
    assert not (await audit(tmp_path / "comity.db", known=kept)).holds


@pytest.mark.parametrize("name", [name for name in SEEN_THROUGH if name != "the last entry removed"])
async def test_the_holder_of_the_hubs_key_cannot_make_up_the_evidence_for_it(
    name: str, db: sqlite3.Connection, tmp_path: Path
) -> None:
    """Even who signs every checkpoint anew needs the agencies' keys to make notices, agreements and ledger agree."""
    FRAUDS[name](db)
    resign(db)
    assert not (await audit(tmp_path / "comity.db")).holds


async def test_a_removed_last_entry_can_only_be_seen_by_who_kept_a_checkpoint(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    """What happened last can be undone before anyone has evidence of it: so keep checkpoints, and receipts."""
    kept = rows(db, "comity.checkpoints")[-1][1]
    FRAUDS["the last entry removed"](db)
    resign(db)
    report = await audit(tmp_path / "comity.db")
    assert (report.holds, report.pending) == (True, 1)
    [finding] = (await audit(tmp_path / "comity.db", known=kept)).findings
    assert (finding.where, "entries were removed" in finding.what) == ("the checkpoint you brought", True)


async def test_checkpoints_tell_between_which_entries_the_ledger_was_changed(
    db: sqlite3.Connection, tmp_path: Path
) -> None:
    FRAUDS["another reason for a refusal"](db)
    report = await audit(tmp_path / "comity.db")
    assert "entries 8 to 17 are not what was signed" in report.findings[-1].what


async def test_the_first_finding_is_the_first_entry_that_does_not_hold(db: sqlite3.Connection, tmp_path: Path) -> None:
    for at in (2, 0):
        change_first(grant("number", 9), at=at)(db)
    report = await audit(tmp_path / "comity.db")
    assert report.findings[0].index == notices(db)[0][0]


async def test_a_hub_that_signs_with_a_key_its_registry_does_not_name_is_not_believed(honest: Path) -> None:
    log = EmbeddedLog.open(honest, read_only=True)
    try:
        report = await verify(log, Signer("comity.test/ledger", key_of("x")).verifier)
    finally:
        await log.close()
    assert "the registry names another key of the hub" in report.findings[0].what


ERASURES: dict[str, Callable[[sqlite3.Connection], object]] = {
    "the sealed part of a notice": erase,
    "the sealed part of a statement": lambda db: put(db, "comity.ledger", 4, rows(db, "comity.ledger")[4][1].partition(b"\n")[0]),
    "the sealed part of an enrolment": lambda db: put(db, "comity.ledger", 1, rows(db, "comity.ledger")[1][1].partition(b"\n")[0]),
    "a notice": drop_notice,
    "a notice and its deliveries": lambda db: [drop_notice(db), drop(db, f"comity.deliveries.{B}", 0), drop(db, f"comity.deliveries.{C}", 0)],
    "a sealed part, its notice and its deliveries": lambda db: [
        erase(db), drop_notice(db), drop(db, f"comity.deliveries.{B}", 0), drop(db, f"comity.deliveries.{C}", 0),
    ],
    "a request": lambda db: drop(db, "comity.requests", 0),
    "a refused notice": lambda db: drop(db, f"comity.notices.{A}", 4),
}  # fmt: skip


@pytest.mark.parametrize("name", ERASURES)
async def test_what_was_erased_lawfully_is_noted_and_everything_else_still_holds(
    name: str, db: sqlite3.Connection, tmp_path: Path
) -> None:
    ERASURES[name](db)
    report = await audit(tmp_path / "comity.db", allow_erased=True)
    assert report.erased
    assert report.findings == []


async def test_progress_is_told(honest: Path) -> None:
    told: list[tuple[int, int]] = []
    await audit(honest, progress=lambda done, total: told.append((done, total)))
    assert told == [(18, 18)]


class Overtaken(EmbeddedLog):
    """The first times that the auditor reads, the hub has just written more."""

    hub: Hub
    writes = 40

    async def read(self, topic: str, after: int = -1, limit: int = 500, wait: float = 0.0) -> list[Stored]:
        if self.writes:
            self.writes -= 1
            await self.hub.enroll(f"it-{self.writes:03}")
            await self.hub.post(A, self.hub.world.notice(A), self.hub.world.notice(A, kid=f"{A}/9"))
            await self.hub.router.step()
            await Notary(self.hub.log, SIGNER, interval_ms=0).step()
        return await super().read(topic, after, limit, wait)


async def test_what_a_hub_writes_during_the_audit_is_no_finding(tmp_path: Path) -> None:
    hub = await busy_log(tmp_path / "comity.db")
    before = len(await hub.ledger())
    log = Overtaken(tmp_path / "comity.db", read_only=True)
    log.hub = hub
    report = await verify(log, VKEY)
    await log.close()
    assert len(await hub.ledger()) > before
    await hub.log.close()
    assert (report.findings, report.entries) == ([], before)
