"""Agreements compiled for deciding: one `Rule` per clause and notice type, with its conditions as plain predicates.

A rule answers one question, in one place: what does this clause object to in this notice? `decide` grants when there is no
objection and `explain` prints the objection, so the two cannot disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from schemas.agreement import Agreement, Clause, Condition
from schemas.notice import TLP_ORDER, TYPES, area, orders, withholdable

Predicate = Callable[[Any], bool]
RANK = {label: rank for rank, label in enumerate(TLP_ORDER)}


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a clause does not grant: a stable code and a sentence for people."""

    code: str
    detail: str


@dataclass(slots=True)
class Version:
    """One published version of an agreement. Facts that end it are only ever added (position, moment, code)."""

    agreement: Agreement
    digest: bytes
    position: int
    effective: int
    start: int
    until: int
    ends: list[tuple[int, int, str]] = field(default_factory=list)
    lapsed: bool = False
    rules: dict[tuple[str, str], Rule] = field(default_factory=dict)  # by (clause id, type)

    def objection(self, position: int, at: int) -> Objection | None:
        """Why this version is not in force at `at` for a reader of `position` events; None when it is."""
        if self.position > position or self.effective > at:
            return Objection("not-yet-in-force", "the agreement was not yet in effect")
        for ended, when, code in self.ends:
            if ended <= position and when <= at:
                return Objection(code, f"the agreement was {code}")
        if at < self.start:
            return Objection("not-yet-in-force", f"the agreement is in force from {self.agreement.in_force.from_}")
        if at >= self.until:
            return Objection("lapsed", f"the agreement was in force until {self.agreement.in_force.until}")
        return None


@dataclass(frozen=True, slots=True)
class Test:
    """One compiled condition: dotted path into the notice's data, and the predicate that any value there must meet."""

    path: tuple[str, ...]
    holds: Predicate
    source: Condition

    def passes(self, data: Mapping[str, Any]) -> bool:
        return any(self.holds(value) for value in values(data, self.path))


@dataclass(frozen=True, slots=True)
class Rule:
    """One clause as it applies to one notice type."""

    version: Version
    clause: Clause
    type: str
    recipients: frozenset[str]
    ceiling: int
    tests: tuple[Test, ...]
    withhold: frozenset[str]
    order: tuple[str, str]

    def objection(self, tlp: str, data: Mapping[str, Any]) -> Objection | None:
        """What the clause has against the notice itself, apart from time and recipient; None when it grants."""
        if RANK[tlp] > self.ceiling:
            return Objection("tlp-above-ceiling", f"the notice is {tlp}, the clause ends at {self.clause.ceiling}")
        for test in self.tests:
            if not test.passes(data):
                said = test.source
                return Objection("condition-failed", f"{said.field} must be {said.op} {said.value!r}")
        return None


def values(data: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Every value at `path`; a list on the way or at the end stands for each of its elements."""
    if isinstance(data, list):
        for element in data:
            yield from values(element, path)
    elif not path:
        yield data
    elif isinstance(data, dict) and path[0] in data:
        yield from values(data[path[0]], path[1:])


def moment(text: str) -> int:
    """Milliseconds since the epoch of an RFC 3339 instant, or of a date (its first instant in UTC).

    Python 3.11 reads at most six fractional digits; what is finer than a microsecond is cut.
    """
    parsed = datetime.fromisoformat(text)
    if parsed.tzinfo is None:
        parsed = parsed.replace(tzinfo=UTC)
    return round(parsed.timestamp() * 1000)


def compile_condition(condition: Condition, type_: str) -> Test:
    """The predicate of a condition for one type. The schema has already refused what cannot be compiled."""
    path = tuple(condition.field.split("."))
    return Test(path, OPERATORS[condition.op](condition.value, orders(type_, condition.field)), condition)


def _at_least(value: Any, order: tuple[str, ...] | None) -> Predicate:
    if order is None:
        return lambda found: isinstance(found, int | float) and not isinstance(found, bool) and found >= value
    high_enough = frozenset(order[order.index(value) :]) if value in order else frozenset()
    return lambda found: found in high_enough


def _one_of(value: Any, _order: tuple[str, ...] | None) -> Predicate:
    wanted = value if isinstance(value, list) else [value]
    return lambda found: found in wanted


def _starts_with(value: Any, _order: tuple[str, ...] | None) -> Predicate:
    prefixes = tuple(value) if isinstance(value, list) else (value,)
    return lambda found: isinstance(found, str) and found.startswith(prefixes)


def _within(value: Any, _order: tuple[str, ...] | None) -> Predicate:
    if "box" in value:
        west, south, east, north = value["box"]

        def inside(found: Any) -> bool:
            if not isinstance(found, dict) or found.get("lat") is None or found.get("lon") is None:
                return False
            lon = found["lon"]
            # RFC 7946 §5.2: a box whose west is greater than its east crosses the antimeridian.
            across = west <= lon <= east if west <= east else lon >= west or lon <= east
            return bool(across and south <= found["lat"] <= north)

        return inside
    start, end = moment(value["from"]), moment(value["until"])
    return lambda found: isinstance(found, str) and start <= moment(found) < end


OPERATORS: dict[str, Callable[[Any, tuple[str, ...] | None], Predicate]] = {
    "at_least": _at_least,
    "one_of": _one_of,
    "includes": _one_of,
    "starts_with": _starts_with,
    "within": _within,
}


def covered(clause: Clause) -> list[str]:
    """The notice types a clause covers: those it names, and all of the areas it names."""
    return [type_ for type_ in TYPES if type_ in clause.types or area(type_) in clause.areas]


def compile_rules(version: Version) -> Iterator[Rule]:
    """One rule per clause and type it covers, in the order of the document."""
    for clause in version.agreement.clauses:
        for type_ in covered(clause):
            yield Rule(
                version=version,
                clause=clause,
                type=type_,
                recipients=frozenset(clause.to),
                ceiling=RANK[clause.ceiling],
                tests=tuple(compile_condition(condition, type_) for condition in clause.when),
                withhold=frozenset(clause.withhold) & withholdable(type_),
                order=(version.agreement.id, clause.id),
            )
