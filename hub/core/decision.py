"""The rule: who receives a notice, which fields, under which clause; and why nobody else does.

`decide` is pure and deterministic: router, preview, explain, what-if and auditor all call it. An agency A receives a notice
of S when some clause of some agreement in force has S in `from`, A in `to`, covers the type, its conditions hold, the TLP is
within its ceiling, `rel_to` (if given) names A, and the notice has not expired. Of several granting clauses the one that
withholds least of this notice is named; then the lowest (agreement, clause) id.

A `cancels` also goes to everyone who received the notice it cancels, until that notice's `exp`: a recall, with every
withholdable field withheld. Order of agreements is irrelevant; times are milliseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from hub.core.agreement import Objection, Rule, Version
from schemas.notice import Notice, area, withholdable

if TYPE_CHECKING:
    from hub.core.registry import View


@dataclass(frozen=True, slots=True)
class Grant:
    """One agency that receives the notice: under which clause, without which fields (sorted)."""

    recipient: str
    agreement: str
    version: int
    clause: str
    withheld: tuple[str, ...]
    reason: Literal["clause", "recall"] = "clause"


@dataclass(frozen=True, slots=True)
class Received:
    """Who got an earlier notice, and under which clause: what a recall must know."""

    recipient: str
    agreement: str
    version: int
    clause: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What the hub remembers of a notice it has judged: its digest, `exp` in seconds, and who received it."""

    digest: bytes
    exp: int
    received: tuple[Received, ...] = ()


@dataclass(frozen=True, slots=True)
class Decision:
    """Grants sorted by recipient, and the registry position and moment they were decided at."""

    grants: tuple[Grant, ...]
    registry: int
    at: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why one clause (or, without a clause, one agreement, or none at all) does not grant."""

    agreement: str | None
    version: int | None
    clause: str | None
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Why:
    """The answer for one agency: its grant, or every reason against it."""

    agency: str
    granted: Grant | None
    reasons: tuple[Reason, ...]


def decide(notice: Notice, view: View, at: int, original: Seen | None = None) -> Decision:
    """Who receives `notice` by what `view` knows at `at`. `original` is what a `cancels` cancels, if the hub has seen it."""
    best: dict[str, tuple[tuple[int, tuple[str, str]], Grant]] = {}
    if at < notice.exp * 1000:
        for rule in view.rules(notice.iss, notice.type, at):
            if rule.objection(notice.tlp, notice.data):
                continue
            withheld = tuple(sorted(rule.withhold.intersection(notice.data)))
            rank = (len(withheld), rule.order)
            for recipient in rule.recipients:
                if _may_receive(notice, recipient) and (recipient not in best or rank < best[recipient][0]):
                    best[recipient] = (rank, _grant(rule, recipient, withheld))
    grants = {recipient: grant for recipient, (_, grant) in best.items()}
    for grant in _recalls(notice, at, original):
        grants.setdefault(grant.recipient, grant)
    return Decision(tuple(grants[recipient] for recipient in sorted(grants)), view.position, at)


def explain(notice: Notice, view: View, at: int, agency: str, original: Seen | None = None) -> Why:
    """Why `agency` receives the notice, or each reason why not, by the very same rule."""
    decision = decide(notice, view, at, original)
    granted = next((grant for grant in decision.grants if grant.recipient == agency), None)
    return Why(agency, granted, () if granted else tuple(_reasons(notice, view, at, agency)))


def _may_receive(notice: Notice, agency: str) -> bool:
    return agency != notice.iss and (notice.rel_to is None or agency in notice.rel_to)


def _grant(rule: Rule, recipient: str, withheld: tuple[str, ...]) -> Grant:
    return Grant(recipient, rule.version.agreement.id, rule.version.agreement.version, rule.clause.id, withheld)


def _recalls(notice: Notice, at: int, original: Seen | None) -> Iterator[Grant]:
    """Everyone who received the cancelled notice must hear of it, though no clause would grant it today."""
    if notice.cancels is None or original is None or at >= min(original.exp, notice.exp) * 1000:
        return
    withheld = tuple(sorted(withholdable(notice.type).intersection(notice.data)))
    for had in original.received:
        yield Grant(had.recipient, had.agreement, had.version, had.clause, withheld, "recall")


def _reasons(notice: Notice, view: View, at: int, agency: str) -> Iterator[Reason]:
    if agency == notice.iss:
        yield Reason(None, None, None, "is-sender", f"{agency} is the sender")
        return
    if at >= notice.exp * 1000:
        yield Reason(None, None, None, "expired", "the notice has expired")
        return
    if not _may_receive(notice, agency):
        yield Reason(None, None, None, "not-in-rel-to", f"the sender narrowed the notice by rel_to, without {agency}")
    shared = False
    for version in view.versions(notice.iss, agency):
        shared = True
        yield from _version_reasons(notice, view.position, at, agency, version)
    if not shared:
        yield Reason(None, None, None, "no-agreement", f"no agreement has both {notice.iss} and {agency} as parties")


def _version_reasons(notice: Notice, position: int, at: int, agency: str, version: Version) -> Iterator[Reason]:
    name = (version.agreement.id, version.agreement.version)
    if objection := version.objection(position, at):
        yield Reason(*name, None, objection.code, objection.detail)
        return
    for clause in version.agreement.clauses:
        rule = version.rules.get((clause.id, notice.type))
        found: Objection | None
        if notice.iss not in clause.from_:
            found = Objection("sender-not-in-clause", f"the clause does not grant anything from {notice.iss}")
        elif agency not in clause.to:
            found = Objection("recipient-not-in-clause", f"the clause grants nothing to {agency}")
        elif rule is None:
            found = Objection(
                "type-not-covered", f"the clause covers neither {notice.type} nor the area {area(notice.type)}"
            )
        else:
            found = rule.objection(notice.tlp, notice.data)
        if found:
            yield Reason(*name, clause.id, found.code, found.detail)
