"""The auditor: reads a whole log, believes nothing but signed bytes, and decides every decision again.

One pass over the ledger, which draws the other topics along, so that memory holds digests and not notices:

1. statements  every registry event is judged again by its signatures and rules; it stands in the ledger as it stands in its
               topic; every request has its entry, and every entry its request
2. ledger      every leaf is hashed into a tree of our own; every sealed part and delivery tree is recomputed
3. messages    every notice and acknowledgement is fetched, verified and decided again at the registry position and moment
               that its entry cites; none is passed over
4. deliveries  every delivered byte is what a ledger entry says, in the sender's order, and nothing else was delivered
5. checkpoints every one is signed, and is the root of our tree at its size; also the one the auditor brings from elsewhere

It shares `process`, `decide` and the primitives with the router, and nothing else of it.
"""

from __future__ import annotations

from collections.abc import Callable

from hub.auditor.checkpoints import CHECKPOINTS, CheckpointAudit
from hub.auditor.ledger import LEDGER, LedgerAudit
from hub.auditor.reading import Extent, Reader
from hub.auditor.report import Finding, Report
from hub.core.checkpoint import Verifier
from hub.log import Log

__all__ = ["CHECKPOINTS", "LEDGER", "Finding", "Progress", "Report", "verify"]

PAGE = 500
Progress = Callable[[int, int], None]  # entries audited, entries in all


async def verify(
    log: Log,
    vkey: Verifier,
    *,
    known: bytes | None = None,
    allow_erased: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Audit everything in `log`.

    vkey: the key that checkpoints must be signed by. known: a checkpoint note that the auditor or a partner kept; the log
    must still contain that very tree. allow_erased: a missing sealed part or payload is a note, not a finding: what it said
    cannot be decided again, every proof holds without it. A hub may go on writing meanwhile.
    """
    report = Report(allow_erased=allow_erased)
    # The ledger's end is taken last: what the other topics held before that, the ledger up to there must explain.
    others = [topic for topic in await log.topics() if topic != LEDGER]
    extent = await Extent.of(log, [*others, LEDGER])
    total = extent.end(LEDGER) + 1
    audit = LedgerAudit(log, report, extent)
    await audit.open()
    ledger = Reader(log, LEDGER, extent, PAGE)
    while stored := await ledger.take():
        await audit.entry(stored.record.value)
        if report.entries % PAGE == 0 or report.entries == total:
            await audit.deliveries.settle()
            if progress:
                progress(report.entries, total)
    await audit.finish()
    checked = CheckpointAudit(report, audit.tree, audit.statements.registry, vkey)
    await checked.log(Reader(log, CHECKPOINTS, extent))
    if known is not None:
        checked.brought(known)
    report.size, report.root = audit.tree.size, audit.tree.root()
    report.sort()
    return report
