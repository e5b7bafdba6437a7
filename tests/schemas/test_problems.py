"""An error says where, what would be right and what was nearest, and shows no more than an excerpt of the input."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from schemas.agreement import Agreement
from schemas.ledger import Leaf, Receipt
from schemas.notice import validate
from schemas.problems import EXCERPT, explain_error
from schemas.statement import Statement

GOOD: dict[str, Any] = json.loads(
    (Path(__file__).parents[2] / "schemas/examples/trade.product-alert.v1/good.json").read_text()
)
AGREEMENT: dict[str, Any] = {
    "id": "alpine-security",
    "version": 1,
    "title": "Alpine security",
    "parties": ["at-cert", "ch-ncsc"],
    "in_force": {"from": "2026-01-01T00:00:00Z", "until": "2028-01-01T00:00:00Z"},
    "clauses": [
        {"id": "c1", "from": ["at-cert"], "to": ["ch-ncsc"], "types": ["threat.cyber.v1"], "ceiling": "TLP:AMBER"}
    ],
}
INSTANT = "2026-03-01T12:00:00Z (RFC 3339 instant in UTC, ending in Z)"

OF_DATA: dict[str, tuple[dict[str, Any], str]] = {
    "a word that is none of ours": (
        {"risk": "hgh"}, 'data.risk: must be one of none, low, medium, serious (got "hgh")'),
    "a misspelt name": ({"orign": ["DE"]}, "data.orign: is not a field here; did you mean origin?"),
    "a misspelt name deep inside": (
        {"hazards": [{"nmae": "x"}]},
        "data.hazards.0.nmae: is not a field here; did you mean name?; data.hazards.0.name: is required"),
    "a code of another form": (
        {"hs_codes": ["0802", "080"]},
        'data.hs_codes.1: must look like 854231 (Harmonized System code, 2 to 10 digits) (got "080")'),
    "neither of two forms": (
        {"notified": "yesterday"},
        f'data.notified: must look like 2026-03-01 (calendar date, ISO 8601) or must look like {INSTANT} (got "yesterday")'),
    "the right form, but no such day": (
        {"notified": "2026-02-30"}, 'data.notified: day is out of range for month (got "2026-02-30")'),
    "another type": ({"product": 3}, "data.product: must be a string (got 3)"),
    "a value for a list": ({"origin": "DE"}, 'data.origin: must be a list (got "DE")'),
    "nothing where something is due": ({"product": ""}, 'data.product: must not be empty (got "")'),
    "null where something is due": ({"product": None}, "data.product: must be a string (got null)"),
    "writing that would not show": ({"risk": "a\u202e\x00"}, '(got "a\\u202e\\u0000")'),
    "writing of any language": ({"risk": "深刻"}, '(got "深刻")'),
}  # fmt: skip


@pytest.mark.parametrize("name", OF_DATA)
def test_a_fault_of_data_is_told_with_its_path(name: str) -> None:
    change, told = OF_DATA[name]
    with pytest.raises(ValidationError) as caught:
        validate(GOOD | {"data": GOOD["data"] | change})
    said = explain_error(caught.value)
    assert said.endswith(told) if told.startswith("(") else said == told


def said_of(check: Any, value: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        check(value)
    return explain_error(caught.value)


def test_faults_of_claims() -> None:
    assert said_of(validate, GOOD | {"iat": 1.5}) == "iat: must be a whole number (got 1.5)"
    assert said_of(validate, GOOD | {"exercise": "no"}) == 'exercise: must be true or false (got "no")'
    assert said_of(validate, GOOD | {"iat": -1}) == "iat: must be at least 0 (got -1)"
    assert said_of(validate, GOOD | {"subject": "x" * 201}).startswith(
        "subject: must have at most 200 characters (got "
    )
    assert said_of(validate, GOOD | {"rel_to": []}) == "rel_to: must not be empty"
    assert said_of(validate, GOOD | {"data": []}) == "data: must be an object"
    assert said_of(validate, []) == "must be an object"
    assert said_of(validate, GOOD | {"exprcise": True}) == "exprcise: is not a field here; did you mean exercise?"
    assert said_of(validate, GOOD | {"updates": GOOD["jti"], "cancels": GOOD["jti"]}) == (
        "a notice updates or cancels another, not both"
    )


def test_an_unknown_type_names_the_nearest_or_all() -> None:
    said = said_of(validate, GOOD | {"type": "trade.product-alrt.v1"})
    assert said == 'type: is unknown; did you mean trade.product-alert.v1? (got "trade.product-alrt.v1")'
    assert "known are threat.cyber.v1, " in said_of(validate, GOOD | {"type": "Ω"})


def test_a_statement_is_read_by_its_kind() -> None:
    check = TypeAdapter(Statement).validate_python
    assert said_of(check, {}) == "statement is required: it says which kind it is"
    assert said_of(check, {"statement": "key.ad"}) == 'statement is unknown; did you mean key.add? (got "key.ad")'
    assert said_of(check, {"statement": "key.add", "agncy": "us-cisa"}) == (
        "agncy: is not a field here; did you mean agency?; id: is required; iat: is required; and 2 more"
    )


def test_a_value_of_several_kinds_is_told_once() -> None:
    agreement = copy.deepcopy(AGREEMENT)
    agreement["clauses"][0]["when"] = [{"field": "severity", "op": "at_least", "value": None}]
    assert said_of(Agreement.model_validate, agreement) == (
        "clauses.0.when.0.value: must be a string or must be a whole number or must be a number or must be true or false "
        "or must be a list or must be an object (got null)"
    )
    agreement["clauses"][0]["when"][0]["value"] = "x" * 3_000
    assert said_of(Agreement.model_validate, agreement).startswith(
        "clauses.0.when.0.value: must have at most 500 characters (got "
    )


def test_a_form_without_a_name_shows_its_pattern() -> None:
    assert said_of(Agreement.model_validate, AGREEMENT | {"id": "X"}) == (
        'id: must match ^[a-z0-9][a-z0-9-]{1,63}$ (got "X")'
    )


def test_a_single_word_that_is_due() -> None:
    leaf = {"v": 2, "kind": "ack", "outcome": "accepted", "registry": 0, "at": 0}
    leaf |= dict.fromkeys(("digest", "sealed", "deliveries"), "A" * 43)
    assert said_of(Leaf.model_validate, leaf) == "v: must be 1 (got 2)"


def test_a_kind_of_error_without_a_sentence_of_ours_keeps_pydantics() -> None:
    assert said_of(Receipt.model_validate_json, "{").startswith("Invalid JSON: ")


def test_a_foreign_model_is_told_too() -> None:
    class Foreign(BaseModel):
        n: int

    assert said_of(Foreign.model_validate, {"n": []}) == "n: must be a whole number"


LONG = "x" * 60_000
GIANTS: dict[str, dict[str, Any]] = {
    "a name": {LONG: 1},
    "a value": {"risk": LONG},
    "a text": {"product": LONG},
    "a list": {"hs_codes": [LONG] * 10},
    "a list for a text": {"product": [LONG]},
    "an object for a text": {"product": {LONG: LONG}},
    "names deep inside": {"hazards": [{"name": "n", LONG: 1}]},
}


@pytest.mark.parametrize("name", GIANTS)
def test_an_error_shows_little_of_the_input(name: str) -> None:
    said = said_of(validate, GOOD | {"data": GOOD["data"] | GIANTS[name]})
    assert "x" * (EXCERPT + 1) not in said
    assert len(said) < 1_500


def test_thousands_of_faults_cost_little_to_tell() -> None:
    hazards = [{f"n{number}": 1 for number in range(100)} for _ in range(60)]
    said = said_of(validate, GOOD | {"data": GOOD["data"] | {"hazards": hazards}})
    assert said.endswith("; and at least 27 more")
    assert said.count("is not a field here") == 3
