"""What cannot be decided is refused when it is proposed: each fault of an agreement, with its sentence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import ValidationError

from schemas.agreement import Agreement
from schemas.notice import area, field, orders, withholdable
from schemas.problems import explain_error

GOOD: dict[str, Any] = {
    "id": "alpine-security",
    "version": 1,
    "title": "Alpine security",
    "parties": ["at-cert", "ch-ncsc"],
    "in_force": {"from": "2026-01-01T00:00:00Z", "until": "2028-01-01T00:00:00Z"},
    "clauses": [
        {
            "id": "c1",
            "from": ["at-cert"],
            "to": ["ch-ncsc"],
            "areas": ["security"],
            "types": ["trade.measure.v1"],
            "ceiling": "TLP:AMBER",
            "when": [{"field": "severity", "op": "at_least", "value": "high"}],
            "withhold": ["source_detail"],
        }
    ],
}


def test_a_good_agreement_is_read_and_written_alike() -> None:
    assert Agreement.model_validate(GOOD).model_dump(by_alias=True, exclude_unset=True) == GOOD


def when(field: str, op: str, value: Any) -> Callable[[dict], None]:
    return lambda a: a["clauses"][0].update(
        when=[{"field": field, "op": op, "value": value}], types=["infrastructure.disruption.v1"]
    )


def in_clause(**change: Any) -> Callable[[dict], None]:
    return lambda a: a["clauses"][0].update(change)


FAULTS: dict[str, tuple[Callable[[dict], Any], str]] = {
    "a party twice": (lambda a: a.update(parties=["at-cert", "ch-ncsc", "at-cert"]), "listed twice"),
    "one party": (lambda a: a.update(parties=["at-cert"]), "parties"),
    "a stranger": (in_clause(to=["de-bsi"]), "clause c1: not a party: de-bsi"),
    "a clause id twice": (lambda a: a["clauses"].append(copy.deepcopy(a["clauses"][0])), "an id is used twice"),
    "an end before the beginning": (lambda a: a.update(in_force={"from": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}), "until must be after from"),
    "no such day": (lambda a: a["in_force"].update(until="2028-02-30T00:00:00Z"), "in_force.until"),
    "nothing covered": (in_clause(areas=[], types=[]), "at least one type or area"),
    "an unknown type": (in_clause(types=["threat.weather.v1"]), "unknown type threat.weather.v1"),
    "an unknown area": (in_clause(areas=["weather"]), "areas"),
    "an unknown ceiling": (in_clause(ceiling="TLP:BLUE"), "ceiling"),
    "a field that cannot be withheld": (in_clause(withhold=["title"]), "title is not a withholdable field"),
    "an unknown operator": (when("severity", "like", "high"), "op"),
    "an unknown field": (when("colour", "one_of", ["red"]), "has a field colour"),
    "an unknown level": (when("severity", "at_least", "enormous"), "must be one of"),
    "a level of a number": (when("available", "at_least", "much"), "must be a number"),
    "at least of a text": (when("name", "at_least", 3), "neither a number nor an ordered vocabulary"),
    "one_of without a list": (when("asset", "one_of", "port"), "must be a list"),
    "one_of an unknown value": (when("asset", "one_of", ["spaceport"]), "'spaceport' is none of"),
    "one_of another kind": (when("available", "one_of", ["many"]), "the field is a number"),
    "includes of no list": (when("asset", "includes", "port"), "not a list"),
    "a prefix of a number": (when("available", "starts_with", "1"), "must be strings"),
    "a prefix that is a number": (when("locode", "starts_with", 3), "must be strings"),
    "within nothing": (when("location", "within", "NL"), "box"),
    "within something else": (when("location", "within", {"circle": 3}), "box"),
    "a box of three": (when("location", "within", {"box": [1, 2, 3]}), "four numbers"),
    "a box of words": (when("location", "within", {"box": ["a", "b", "c", "d"]}), "four numbers"),
    "a box off the globe": (when("location", "within", {"box": [0, 50, 10, 40]}), "not on the globe"),
    "a box on a text": (when("name", "within", {"box": [0, 0, 1, 1]}), "not a place"),
    "a window on a place": (when("location", "within", {"from": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"}), "not a time"),
    "a window on a text": (when("name", "within", {"from": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"}), "not a time"),
    "a window on a text of one type": (
        in_clause(
            types=["trade.measure.v1"],
            when=[{"field": "title", "op": "within", "value": {"from": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"}}],
        ),
        "not a time",
    ),
    "a box on another object": (
        in_clause(when=[{"field": "products", "op": "within", "value": {"box": [0, 0, 1, 1]}}]),
        "not a place",
    ),
    "an object to be one of": (
        in_clause(types=[], when=[{"field": "products", "op": "one_of", "value": ["Git"]}]),
        "name a member of it",
    ),
    "a window backwards": (when("until", "within", {"from": "2027-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}), "in that order"),
    "an unknown member": (lambda a: a.update(annex="x"), "annex"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_named(name: str) -> None:
    change, told = FAULTS[name]
    bad = copy.deepcopy(GOOD)
    change(bad)
    with pytest.raises(ValidationError) as caught:
        Agreement.model_validate(bad)
    assert told in explain_error(caught.value)


@pytest.mark.parametrize(
    ("field_", "op", "value"),
    [
        ("severity", "at_least", "severe"),
        ("available", "at_least", 100),
        ("asset", "one_of", ["port", "airport"]),
        ("locode", "starts_with", ["NL", "BE"]),
        ("location", "within", {"box": [3, 51, 7, 54]}),
        ("location", "within", {"box": [170, -10, -170, 10]}),
        ("from", "within", {"from": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"}),
        ("references", "includes", "https://example.org/"),
        ("available", "one_of", [0, 1.5]),
    ],
)
def test_a_good_condition_is_accepted(field_: str, op: str, value: Any) -> None:
    good = copy.deepcopy(GOOD)
    good["clauses"][0].update(areas=["infrastructure"], types=[], withhold=["cause"])
    good["clauses"][0]["when"] = [{"field": field_, "op": op, "value": value}]
    Agreement.model_validate(good)


def test_a_condition_may_concern_only_some_of_the_types_covered() -> None:
    """`severity: critical` is a word of cyber threats alone; for the other types of the area the clause then grants nothing."""
    good = copy.deepcopy(GOOD)
    good["clauses"][0]["when"] = [{"field": "severity", "op": "at_least", "value": "critical"}]
    Agreement.model_validate(good)


def test_a_condition_on_a_yes_or_no() -> None:
    good = copy.deepcopy(GOOD)
    good["clauses"][0]["when"] = [{"field": "exploited", "op": "one_of", "value": [True]}]
    Agreement.model_validate(good)


def test_fields_are_found_through_objects_and_lists() -> None:
    assert field("threat.cyber.v1", "products.vendor").many
    assert field("threat.cyber.v1", "products.nothing") is None
    assert field("threat.cyber.v1", "severity.deeper") is None
    assert field("no.such.v1", "severity") is None
    assert field("threat.cyber.v1", "exploited").kinds == {"boolean"}
    assert field("threat.cyber.v1", "due_date").kinds == {"string", "time"}
    assert field("trade.product-alert.v1", "notified").kinds == {"string", "time"}
    assert field("defense.exercise.v1", "area").kinds == {"object", "place"}
    assert orders("threat.cyber.v1", "title") is None
    assert orders("threat.cyber.v1", "nothing") is None
    assert orders("infrastructure.disruption.v1", "severity") == ("minor", "moderate", "severe", "closed")
    assert withholdable("no.such.v1") == frozenset()
    assert area("threat.cyber.v1") == "security"
    assert area("trade.measure.v1") == "trade"
