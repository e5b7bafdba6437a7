"""The spine of an audit: every ledger entry in order, its leaf into a tree of our own, its claims to those who check them."""

from __future__ import annotations

import hashlib
from typing import Any

from pydantic import ValidationError

from hub.auditor.deliveries import DeliveryAudit
from hub.auditor.messages import MessageAudit
from hub.auditor.reading import Extent
from hub.auditor.report import Report
from hub.auditor.statements import StatementAudit
from hub.core import record
from hub.core.errors import Refusal
from hub.core.merkle import Tree, leaf_hash
from hub.core.strict import b64, unb64
from hub.log import Log
from schemas.base import Model
from schemas.ledger import SealedAck, SealedNotice, SealedRead, SealedRegistry
from schemas.problems import explain_error

LEDGER = "comity.ledger"
SEALED: dict[str, type[Model]] = {
    "notice": SealedNotice,
    "registry": SealedRegistry,
    "ack": SealedAck,
    "read": SealedRead,
}


class LedgerAudit:
    """`entry` is called for every ledger record in order, `finish` at the end."""

    def __init__(self, log: Log, report: Report, extent: Extent) -> None:
        self.tree = Tree()
        self.statements = StatementAudit(log, report, extent)
        self.deliveries = DeliveryAudit(log, report, extent)
        self.messages = MessageAudit(log, report, extent, self.statements.registry, self.deliveries)
        self._report = report
        self._newest: dict[str, int] = {}  # writer -> ms of its newest entry

    async def open(self) -> None:
        await self.statements.open()

    async def entry(self, value: bytes) -> None:
        """One ledger record: its leaf into the tree, then everything it says against everything it cites."""
        report = self._report
        report.entries += 1
        self.tree.append(leaf_hash(value.partition(b"\n")[0]))
        try:
            _, leaf, sealed_line, sealed = record.decode(value)
        except Refusal as refusal:
            report.find(f"unreadable: {refusal.detail}")
            return
        self._check_moment(leaf)
        if sealed_line is None or sealed is None:
            report.missing("the sealed part is missing")
            await self._erased(leaf)
            return
        if b64(hashlib.sha256(sealed_line).digest()) != leaf["sealed"]:
            report.find("the sealed part is not the one that the leaf commits to")
        try:
            SEALED[leaf["kind"]].model_validate(sealed)
            await self._explain(leaf, sealed)
        except ValidationError as error:
            report.find(f"the sealed part is not well formed: {explain_error(error)}")
        except (KeyError, ValueError, Refusal) as error:
            report.find(f"the sealed part cannot be understood: {error}")

    async def finish(self) -> None:
        """What no entry explains, in any topic."""
        self.statements.finish()
        await self.statements.unanswered()
        await self.messages.finish()
        await self.deliveries.finish()

    async def _explain(self, leaf: dict[str, Any], sealed: dict[str, Any]) -> None:
        kind, report = leaf["kind"], self._report
        self._check_order(leaf["at"], "the registry" if kind == "registry" else sealed["sender"])
        if kind in ("ack", "read") and leaf["outcome"] == "refused":
            report.find(f"an entry of kind {kind} is never refused")
        slots = record.slots(self.statements.registry.view(leaf["registry"]).enrolled())
        if kind == "registry":
            await self.statements.entry(leaf, sealed)
            said: list[record.Delivery] = []
        else:
            report.notices += kind == "notice"
            report.acknowledgements += kind == "ack"
            report.reads += kind == "read"
            report.refused += leaf["outcome"] == "refused"
            said = await self.messages.entry(leaf, sealed)
        tree = record.DeliveryTree(unb64(sealed["seed"]), unb64(leaf["digest"]), said, slots)
        if b64(tree.root) != leaf["deliveries"]:
            report.find("the root of its delivery tree is not that of the deliveries it lists")
        elif sealed.get("deliveries", []) != tree.sealed():
            report.find("a delivery is not in the slot its seed draws")

    async def _erased(self, leaf: dict[str, Any]) -> None:
        """What its leaf alone still says."""
        digest = unb64(leaf["digest"])
        if leaf["kind"] == "registry":
            await self.statements.erased(leaf)
        else:
            self.messages.erased(digest)
            self.deliveries.erased(digest)

    def _check_moment(self, leaf: dict[str, Any]) -> None:
        """A decision has seen every event that was in effect at its time, and none that is yet to come."""
        if leaf["kind"] == "registry":  # judged against all that was recorded before it, which StatementAudit checks
            return
        position, effective = self.statements.registry.position, self.statements.in_effect(leaf["at"])
        if leaf["registry"] > position:
            self._report.find(f"it cites {leaf['registry']} registry events; {position} are recorded before it")
        if leaf["registry"] < effective:
            self._report.find(f"it was decided on {leaf['registry']} registry events when {effective} were in effect")

    def _check_order(self, at: int, writer: str) -> None:
        """Times never go back: those of the registry, and those of the router that owns a sender's topic."""
        if at < self._newest.get(writer, 0):
            self._report.find(f"its time {at} lies before that of the last entry of {writer}")
        self._newest[writer] = max(at, self._newest.get(writer, 0))
