"""The auditor: reads a whole log, believes nothing but signed bytes, and decides every decision again.

Four passes over one stream, so that memory holds digests and not notices:

1. registry   every event is judged again by its signatures and rules, and stands in the ledger as it stands in its topic
2. ledger     every leaf is hashed into a tree of our own; every sealed part and delivery tree is recomputed; every notice is
              fetched, verified and decided again at the registry position and moment its entry cites
3. deliveries every delivered byte is what a ledger entry says, in the sender's order, and nothing else was delivered
4. signatures every checkpoint is the root of our tree at its size; also the one the auditor brings from elsewhere

Shares `process`, `decide` and the primitives with the router, and nothing else of it.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hub.core import record, statements, strict
from hub.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from hub.core.decision import Received, Seen
from hub.core.errors import Refusal, VerificationFailed
from hub.core.merkle import Tree, leaf_hash
from hub.core.process import Accepted, Duplicate, Outcome, Refused, Stored, digest_of, process
from hub.core.registry import Registry
from hub.core.strict import b64, unb64
from hub.deliveries import DeliveryAudit
from hub.follow import REGISTRY, parse_event
from hub.log import Log
from hub.memory import KEEP
from schemas.statement import RegistryEvent

LEDGER = "comity.ledger"
CHECKPOINTS = "comity.checkpoints"
NOTICES = "comity.notices."
PAGE = 500
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold. `index` is the ledger entry it is about, None when it is about another topic."""

    where: str
    what: str
    index: int | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(slots=True)
class Report:
    """What was read, and what does not hold; the first finding is the first entry that does not."""

    entries: int = 0
    statements: int = 0
    notices: int = 0
    refused: int = 0
    deliveries: int = 0
    acknowledgements: int = 0
    checkpoints: int = 0
    erased: int = 0
    pending: int = 0
    size: int = 0
    root: bytes = b""
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        return not self.findings

    def sort(self) -> None:
        last = 1 << 62
        self.findings.sort(key=lambda finding: last if finding.index is None else finding.index)


async def verify(
    log: Log,
    vkey: Verifier,
    *,
    known: bytes | None = None,
    allow_erased: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Audit everything in `log`. `vkey` is the key the checkpoints must be signed by, `known` a checkpoint note that the
    auditor (or a partner) kept: the log must still contain that very tree."""
    audit = Audit(log, allow_erased)
    await audit.load_registry()
    total = await log.end(LEDGER) + 1
    offset = -1
    while page := await log.read(LEDGER, after=offset, limit=PAGE):
        for stored in page:
            await audit.entry(stored.record.value)
            offset = stored.offset
        await audit.deliveries.settle()
        if progress:
            progress(audit.report.entries, total)
    audit.finish_registry()
    await audit.deliveries.finish()
    await audit.unexplained()
    await audit.checkpoints(vkey, known)
    audit.report.sort()
    return audit.report


class Audit:
    """The state of one audit. `entry` is called for every ledger record in order."""

    def __init__(self, log: Log, allow_erased: bool) -> None:
        self.log = log
        self.allow_erased = allow_erased
        self.report = Report()
        self.tree = Tree()
        self.registry = Registry()
        self.deliveries = DeliveryAudit(log, self.report, self.find)
        self._events: list[RegistryEvent] = []
        self._effective: list[int] = []
        self._seen: dict[tuple[str, str], Seen] = {}
        self._explained: dict[str, set[int]] = {}
        self._digests: set[bytes] = set()
        self._newest: dict[str, int] = {}
        self._index = 0

    def find(self, what: str, where: str | None = None) -> None:
        """Note something that does not hold, of the present entry or of `where`."""
        index = self._index if where is None else None
        self.report.findings.append(Finding(where or f"ledger entry {index}", what, index))

    async def load_registry(self) -> None:
        """All events of the registry topic; a decision must have seen those that were effective at its time."""
        offset = -1
        while page := await self.log.read(REGISTRY, after=offset, limit=PAGE):
            for stored in page:
                offset = stored.offset
                try:
                    self._events.append(parse_event(stored.record.value))
                except VerificationFailed as fault:
                    self.find(str(fault), f"{REGISTRY} offset {offset}")
        self._effective = [event.effective for event in self._events]
        if self._effective != sorted(self._effective):
            self.find("events take effect out of order", REGISTRY)

    async def entry(self, value: bytes) -> None:
        """One ledger record: its leaf into the tree, then everything it says against everything it cites."""
        self._index = self.report.entries
        self.report.entries += 1
        self.tree.append(leaf_hash(value.partition(b"\n")[0]))
        try:
            _, leaf, sealed_line, sealed = record.decode(value)
        except Refusal as refusal:
            self.find(f"unreadable: {refusal.detail}")
            return
        if sealed_line is None or sealed is None:
            self._erased("the sealed part is missing")
            return
        if b64(hashlib.sha256(sealed_line).digest()) != leaf["sealed"]:
            self.find("the sealed part is not the one the leaf commits to")
        try:
            await self._explain(leaf, sealed)
        except (KeyError, TypeError, ValueError, Refusal) as error:
            self.find(f"the sealed part cannot be understood: {type(error).__name__}: {error}")

    async def _explain(self, leaf: dict[str, Any], sealed: dict[str, Any]) -> None:
        self._check_times(leaf, sealed)
        match leaf["kind"]:
            case "registry":
                self._statement(leaf, sealed)
            case "notice" | "ack":
                await self._message(leaf, sealed)
            case "read":
                await self._read(leaf, sealed)

    def _erased(self, what: str) -> None:
        self.report.erased += 1
        if not self.allow_erased:
            self.find(f"{what}; if it was erased lawfully, say so with --allow-erased")

    def _check_times(self, leaf: dict[str, Any], sealed: dict[str, Any]) -> None:
        """Times of one writer never go back, and a decision has seen every event that was effective at its time."""
        who = sealed.get("sender", REGISTRY) if leaf["kind"] != "registry" else REGISTRY
        if leaf["at"] < self._newest.get(who, 0):
            self.find(f"its time {leaf['at']} lies before the entry of {who} that came before it")
        self._newest[who] = max(leaf["at"], self._newest.get(who, 0))
        if leaf["registry"] > self.registry.position:
            self.find(f"it cites {leaf['registry']} registry events where the ledger so far has {self.registry.position}")
        effective = bisect.bisect_right(self._effective, leaf["at"])
        if leaf["kind"] == "notice" and leaf["registry"] < effective:
            self.find(f"it was decided on {leaf['registry']} registry events when {effective} were in effect")

    # registry ----------------------------------------------------------------------------------------------------------

    def _statement(self, leaf: dict[str, Any], sealed: dict[str, Any]) -> None:
        self.report.statements += 1
        self._check_tree(leaf, sealed, [])
        document = strict.dumps(sealed["statement"]) if "statement" in sealed else sealed["raw"].encode()
        if leaf["outcome"] == "refused":
            self.report.refused += 1
            reason = self._refusal_of(document, leaf["at"])
            if reason is None or reason != sealed.get("reason"):
                self.find(f"the statement was refused for {sealed.get('reason')}; judged again: {reason or 'it is good'}")
            return
        position = self.registry.position
        if leaf["registry"] != position or position >= len(self._events):
            self.find(f"it records registry event {leaf['registry']}; the registry topic has {len(self._events)} events")
            return
        event = self._events[position]
        if (sealed["statement"], sealed["position"], sealed["effective"], leaf["at"]) != (
            event.statement, event.position, event.effective, event.recorded,
        ):  # fmt: skip
            self.find(f"it differs from event {position} in the registry topic")
        try:
            self.registry.follow(event)
        except VerificationFailed as fault:
            self.find(str(fault))
            return
        if b64(statements.read(event.statement)[0].digest) != leaf["digest"]:
            self.find("the digest is not that of the statement")

    def _refusal_of(self, document: bytes, at: int) -> str | None:
        try:
            self.registry.judge(document, at)
        except Refusal as refusal:
            return refusal.code
        return None

    def finish_registry(self) -> None:
        if len(self._events) > self.registry.position:
            self.find(f"no ledger entry records event {self.registry.position}", f"{REGISTRY} event {self.registry.position}")

    # notices and acknowledgements --------------------------------------------------------------------------------------

    async def _message(self, leaf: dict[str, Any], sealed: dict[str, Any]) -> None:
        """Fetch what was judged, and judge it again where and when the entry says."""
        if leaf["kind"] == "ack":
            self.report.acknowledgements += 1
        else:
            self.report.notices += 1
            self.report.refused += leaf["outcome"] == "refused"
        source = sealed["source"]
        owner = source["topic"].removeprefix(NOTICES)
        if sealed["sender"] != owner:
            self.find(f"the sender {sealed['sender']} does not own {source['topic']}")
        if source["offset"] in self._explained.setdefault(source["topic"], set()):
            self.find(f"{source['topic']} offset {source['offset']} is explained twice")
        self._explained[source["topic"]].add(source["offset"])
        self._digests.add(unb64(leaf["digest"]))
        found = await self.log.read(source["topic"], after=source["offset"] - 1, limit=1)
        if not found or found[0].offset != source["offset"]:
            self._erased(f"what it judged is missing: {source['topic']} offset {source['offset']}")
            return
        raw = found[0].record.value
        if b64(digest_of(raw)) != leaf["digest"]:
            self.find(f"its digest is not that of {source['topic']} offset {source['offset']}")
            return
        at, view = leaf["at"], self.registry.view(leaf["registry"])
        outcome = process(raw, owner=owner, at=at, view=view, seen=lambda iss, jti: self._remembered(iss, jti, at))
        self._compare(leaf, sealed, outcome, raw)

    def _remembered(self, iss: str, jti: str, at: int) -> Seen | None:
        seen = self._seen.get((iss, jti))
        return seen if seen and (seen.exp + KEEP) * 1000 > at else None

    def _compare(self, leaf: dict[str, Any], sealed: dict[str, Any], outcome: Outcome, raw: bytes) -> None:
        if leaf["outcome"] == "refused":
            self._compare_refusal(leaf, sealed, outcome)
        elif leaf["kind"] == "ack" and isinstance(outcome, Stored):
            self._compare_acknowledgement(leaf, sealed, outcome)
        elif leaf["kind"] == "notice" and isinstance(outcome, Accepted):
            self._compare_decision(leaf, sealed, outcome, raw)
        elif isinstance(outcome, Duplicate):
            self.find("the same bytes are in the ledger before; a duplicate is written once")
        else:
            told = f"{outcome.reason}: {outcome.detail}" if isinstance(outcome, Refused) else type(outcome).__name__
            self.find(f"the ledger says accepted; judged again: {told}")

    def _compare_refusal(self, leaf: dict[str, Any], sealed: dict[str, Any], outcome: Outcome) -> None:
        self._check_tree(leaf, sealed, [])
        if sealed.get("deliveries"):
            self.find("a refused notice has deliveries")
        if isinstance(outcome, Refused):
            if outcome.reason != sealed.get("reason"):
                self.find(f"the ledger says refused for {sealed.get('reason')}; judged again: {outcome.reason}")
        elif sealed["by"] == "api":
            self.report.notes.append(f"entry {self._index}: refused by the API for {sealed.get('reason')}, good by now")
        else:
            self.find(f"the ledger says refused for {sealed.get('reason')}; judged again it is good")

    def _compare_acknowledgement(self, leaf: dict[str, Any], sealed: dict[str, Any], outcome: Stored) -> None:
        self._check_tree(leaf, sealed, [])
        said = outcome.acknowledgement
        stored = [entry.model_dump() for entry in said.stored]
        if (sealed["jti"], sealed["stored"], sealed["kid"]) != (said.jti, stored, outcome.kid):
            self.find("it is not what the acknowledgement says")
        for entry in said.stored:
            if not self.deliveries.ledgered(said.iss, entry.sender, entry.number, entry.digest):
                self.report.notes.append(
                    f"entry {self._index}: {said.iss} acknowledges delivery {entry.number} of {entry.sender}, which it never got"
                )
        self._seen[said.iss, said.jti] = Seen(outcome.digest, leaf["at"] // 1000 + 8 * 86_400)

    def _compare_decision(self, leaf: dict[str, Any], sealed: dict[str, Any], outcome: Accepted, raw: bytes) -> None:
        notice = outcome.notice
        claims = (notice.iss, notice.jti, notice.type, outcome.envelope.kid)
        if claims != tuple(sealed.get(name) for name in ("sender", "jti", "type", "kid")):
            self.find("the claims it cites are not those of the notice")
        said = [record.Delivery.from_sealed(notice.iss, entry) for entry in sealed["deliveries"]]
        decided = [
            (g.recipient, g.agreement, g.version, g.clause, g.withheld, g.reason) for g in outcome.decision.grants
        ]
        if decided != [(d.recipient, d.agreement, d.version, d.clause, d.withheld, d.reason) for d in said]:
            self.find(_difference(decided, said))
        self._check_tree(leaf, sealed, said)
        self.deliveries.expect(outcome.envelope, said, unb64(sealed["seed"]))
        received = tuple(Received(d.recipient, d.agreement, d.version, d.clause) for d in said)
        self._seen[notice.iss, notice.jti] = Seen(outcome.digest, notice.exp, received)

    async def _read(self, leaf: dict[str, Any], sealed: dict[str, Any]) -> None:
        """An auditor's own reading: that it happened is all there is to check."""
        self._check_tree(leaf, sealed, [])
        source = sealed["source"]
        self._explained.setdefault(source["topic"], set()).add(source["offset"])
        found = await self.log.read(source["topic"], after=source["offset"] - 1, limit=1)
        if not found or b64(hashlib.sha256(found[0].record.value).digest()) != leaf["digest"]:
            self.find(f"its digest is not that of {source['topic']} offset {source['offset']}")

    def _check_tree(self, leaf: dict[str, Any], sealed: dict[str, Any], said: list[record.Delivery]) -> None:
        slots = record.slots(self.registry.view(leaf["registry"]).enrolled())
        tree = record.DeliveryTree(unb64(sealed["seed"]), unb64(leaf["digest"]), said, slots)
        if b64(tree.root) != leaf["deliveries"]:
            self.find("the root of its delivery tree is not that of the deliveries it lists")
        elif sealed.get("deliveries", []) != tree.sealed():
            self.find("a delivery is not in the slot its seed draws")

    # what nothing explains, and what is signed -------------------------------------------------------------------------

    async def unexplained(self) -> None:
        """Every message is explained by an entry, or is the same bytes as one that is; only the newest may be waiting."""
        for topic in await self.log.topics(NOTICES):
            explained = self._explained.get(topic, set())
            last, offset = max(explained, default=-1), -1
            while page := await self.log.read(topic, after=offset, limit=PAGE):
                for stored in page:
                    offset = stored.offset
                    if offset in explained or digest_of(stored.record.value) in self._digests:
                        continue
                    if offset < last:
                        self.find("no ledger entry says what became of it", f"{topic} offset {offset}")
                    else:
                        self.report.pending += 1

    async def checkpoints(self, vkey: Verifier, known: bytes | None) -> None:
        """Every checkpoint is the root of this very tree at its size."""
        offset, size = -1, 0
        while page := await self.log.read(CHECKPOINTS, after=offset, limit=PAGE):
            for stored in page:
                offset = stored.offset
                checkpoint = self._check_note(vkey, stored.record.value, f"{CHECKPOINTS} offset {offset}")
                self.report.checkpoints += 1
                if checkpoint and checkpoint.size < size:
                    self.find(f"size {checkpoint.size} after size {size}", f"{CHECKPOINTS} offset {offset}")
                size = max(size, checkpoint.size if checkpoint else 0)
        if known is not None:
            self._check_note(vkey, known, "the checkpoint you brought")
        if size < self.report.entries:
            self.report.notes.append(f"the last {self.report.entries - size} entries are not under a checkpoint yet")
        self.report.size, self.report.root = self.tree.size, self.tree.root()

    def _check_note(self, vkey: Verifier, note: bytes, where: str) -> Checkpoint | None:
        try:
            checkpoint = open_checkpoint(note, vkey)
        except VerificationFailed as fault:
            self.find(str(fault), where)
            return None
        if checkpoint.size > self.tree.size:
            self.find(f"it covers {checkpoint.size} entries, the ledger has {self.tree.size}: entries were removed", where)
        elif self.tree.root(checkpoint.size) != checkpoint.root:
            self.find(f"its root is not that of the first {checkpoint.size} entries: the ledger was rewritten", where)
        if self.registry.origin is not None and checkpoint.origin != self.registry.origin:
            self.find(f"it is of {checkpoint.origin}, this ledger is of {self.registry.origin}", where)
        return checkpoint


def _difference(decided: list[tuple[Any, ...]], said: list[record.Delivery]) -> str:
    """The first recipient of whom ledger and rule say different things."""
    ledger = {d.recipient: (d.recipient, d.agreement, d.version, d.clause, d.withheld, d.reason) for d in said}
    rule = {grant[0]: grant for grant in decided}
    for recipient in sorted(ledger.keys() | rule.keys()):
        if ledger.get(recipient) != rule.get(recipient):
            return f"decided again, {recipient} gets {_told(rule.get(recipient))}; the ledger says {_told(ledger.get(recipient))}"
    return "the deliveries are listed out of order"


def _told(grant: tuple[Any, ...] | None) -> str:
    if grant is None:
        return "nothing"
    _, agreement, version, clause, withheld, reason = grant
    return f"it under {agreement}@{version}/{clause} without {', '.join(withheld) or 'nothing'} ({reason})"
