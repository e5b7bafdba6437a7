"""The registry: agencies, keys and agreements as the fold of an event log.

Facts are only ever added, each with the registry position that shows it and the moment it takes effect. So any past state is
a view of the same memory, `registry.view(n)` is what a reader of n events knew, and a replay decides exactly as the router did.
A position is a count of events; times are milliseconds since the epoch.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from hub.core import statements
from hub.core.agreement import Rule, Version, compile_rules, moment
from hub.core.errors import Refusal
from hub.core.keys import End, Key
from hub.core.strict import unb64
from schemas.statement import (
    AgencyEnroll,
    AgreementPublish,
    AgreementTerminate,
    HubFound,
    KeyAdd,
    KeyClaim,
    KeyRevoke,
    RegistryEvent,
    Statement,
)

OPERATOR = statements.OPERATOR
HUB = statements.HUB


@dataclass(frozen=True, slots=True)
class Agency:
    id: str
    name: str
    role: str
    position: int
    effective: int


class Registry:
    """The fold. `apply` adds an event that `hub.core.judging` has judged; nothing is ever taken away."""

    def __init__(self) -> None:
        self.position = 0
        self.recorded = 0
        self.origin: str | None = None
        self.statements: set[str] = set()
        self.agencies: dict[str, Agency] = {}
        self.enrolments: list[int] = []  # positions, ascending
        self.keys: dict[str, Key] = {}
        self.keys_of: dict[str, list[str]] = {}
        self.public_keys: set[bytes] = set()
        self.agreements: dict[str, list[Version]] = {}
        self.by_party: dict[str, list[Version]] = {}
        self.rules: dict[tuple[str, str], list[Rule]] = {}

    def view(self, position: int | None = None) -> View:
        """The state as a reader of `position` events knew it; by default the newest."""
        return View(self, self.position if position is None else min(position, self.position))

    def apply(self, event: RegistryEvent) -> Statement:
        """Add a judged event."""
        document, statement = statements.read(event.statement)
        self.position = event.position + 1
        self.recorded = event.recorded
        self.statements.add(statement.id)
        match statement:
            case HubFound():
                self.origin = statement.origin
                self._add_key(HUB, statement.hub, event.effective)
                self._add_key(OPERATOR, statement.operator, event.effective)
            case AgencyEnroll(agency=agency):
                self.agencies[agency.id] = Agency(agency.id, agency.name, agency.role, self.position, event.effective)
                self.enrolments.append(self.position)
                self._add_key(agency.id, statement.key, event.effective)
            case KeyAdd():
                self._add_key(statement.agency, statement.key, event.effective)
                if old := statement.replaces:
                    self._end_key(old.kid, End(self.position, event.effective, old.retire_at, revoked=False))
            case KeyRevoke():
                end = End(self.position, event.effective, event.effective, True, statement.compromised_from)
                self._end_key(statement.kid, end)
            case AgreementPublish():
                self._publish(statement, document.digest, event.effective)
            case AgreementTerminate():
                self.agreements[statement.agreement][-1].ends.append((self.position, event.effective, "terminated"))
            case _:  # AgreementLapse, the last of the union
                self.agreements[statement.agreement][-1].lapsed = True
        return statement

    def _add_key(self, agency: str, claim: KeyClaim, effective: int) -> None:
        key = Key(claim.kid, agency, unb64(claim.x), claim.not_before, claim.not_after, self.position, effective)
        self.keys[key.kid] = key
        self.public_keys.add(key.public)
        self.keys_of.setdefault(agency, []).append(key.kid)

    def _end_key(self, kid: str, end: End) -> None:
        self.keys[kid] = self.keys[kid].ended_by(end)

    def _publish(self, statement: AgreementPublish, digest: bytes, effective: int) -> None:
        agreement = statement.agreement
        start, until = moment(agreement.in_force.from_), moment(agreement.in_force.until)
        version = Version(agreement, digest, self.position, effective, start, until)
        for before in self.agreements.get(agreement.id, ()):
            before.ends.append((self.position, max(effective, start), "superseded"))
        self.agreements.setdefault(agreement.id, []).append(version)
        for party in agreement.parties:
            self.by_party.setdefault(party, []).append(version)
        for rule in compile_rules(version):
            version.rules[rule.clause.id, rule.type] = rule
            for sender in rule.clause.from_:
                self.rules.setdefault((sender, rule.type), []).append(rule)

    def lapsing(self, at: int) -> Iterator[Version]:
        """Newest versions whose `until` has passed and whose lapse is not on record yet."""
        for versions in self.agreements.values():
            newest = versions[-1]
            if newest.until <= at and not newest.lapsed and not newest.ends:
                yield newest


@dataclass(frozen=True, slots=True)
class View:
    """What a reader of the first `position` events knows. Every question takes the moment `at`."""

    registry: Registry
    position: int

    def key(self, kid: str, at: int) -> Key:
        """The key, good at `at`; Refusal unknown-key, key-not-yet-valid, key-expired or key-revoked."""
        key = self.registry.keys.get(kid)
        problem = "unknown-key" if key is None else key.problem(self.position, at)
        if key is None or problem:
            raise Refusal(problem or "unknown-key", f"{_shorten(kid)}: {KEY_PROBLEMS[problem or 'unknown-key']}")
        return key

    def agency(self, agency: str, at: int) -> Agency | None:
        found = self.registry.agencies.get(agency)
        return found if found and found.position <= self.position and found.effective <= at else None

    def agencies(self, at: int) -> list[Agency]:
        """All agencies enrolled, by id."""
        return [found for name in sorted(self.registry.agencies) if (found := self.agency(name, at))]

    def enrolled(self) -> int:
        """How many agencies these events enrolled: what sizes a delivery tree."""
        return bisect_right(self.registry.enrolments, self.position)

    def keys(self, agency: str) -> list[Key]:
        """Every key the agency ever had, oldest first; `Key.problem` says which are good."""
        kids = self.registry.keys_of.get(agency, ())
        return [key for kid in kids if (key := self.registry.keys[kid]).position <= self.position]

    def agreements(self, at: int) -> list[Version]:
        """Every published version these events show, by id and version, in force or not."""
        everything = (
            version for name in sorted(self.registry.agreements) for version in self.registry.agreements[name]
        )
        return [version for version in everything if version.position <= self.position and version.effective <= at]

    def versions(self, one: str, other: str) -> list[Version]:
        """Versions with both agencies as parties, by id and version."""
        shared = [
            version
            for version in self.registry.by_party.get(one, ())
            if other in version.agreement.parties and version.position <= self.position
        ]
        return sorted(shared, key=lambda version: (version.agreement.id, version.agreement.version))

    def rules(self, sender: str, type_: str, at: int) -> Iterator[Rule]:
        """The rules of agreements in force that can grant this type from this sender; others cost nothing."""
        for rule in self.registry.rules.get((sender, type_), ()):
            if rule.version.objection(self.position, at) is None:
                yield rule


KEY_PROBLEMS = {
    "unknown-key": "the registry knows no such key; register it with `comity key rotate`, or wait until it takes effect",
    "key-not-yet-valid": "the key is not valid yet",
    "key-expired": "the key has expired or was retired; rotate it",
    "key-revoked": "the key was revoked; sign with another",
}


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else text[:77] + "…"
