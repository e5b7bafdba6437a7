"""Every example says what it claims: good ones pass, also redacted; bad ones are refused for the fault in their name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from schemas.notice import TYPES, validate, withholdable
from schemas.problems import explain_error

ROOT = Path(__file__).parents[2] / "schemas"
EXAMPLES = ROOT / "examples"
GOOD = sorted(EXAMPLES.glob("*/good.json"))
BAD = sorted(EXAMPLES.glob("*/bad-*.json"))

# What the fault in a name looks like in the error; the rest name the field they spoil.
TOLD = {
    "unknown-field": "data.colour", "empty-data": "required", "day": "out of range", "date": "data.", "reference": "data.references",
    "number-as-text": "data.cvss", "instant-without-zone": "data.until", "latitude": "data.locations.0.lat",
    "hazard-without-name": "data.hazards.0.name", "trader-role": "data.traders.0.role", "currency": "data.size.currency",
    "python-name": "data.from_", "no-investor-country": "data.investor_countries", "risk": "data.risk", "country": "data.countries",
    "update-and-cancel": "not both", "agency": "iss", "unknown-claim": "nbf", "iat-as-text": "iat", "cpe": "data.products.0.cpe",
    "type": "did you mean threat.cyber.v1", "empty-rel-to": "rel_to", "no-countries": "data.countries", "no-items": "data.items",
}  # fmt: skip
# Rules that JSON Schema does not express: the calendar, one reference only, the register of types being ours.
BEYOND_JSON_SCHEMA = {"bad-day.json", "bad-update-and-cancel.json"}


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def of_json_schema(claims: dict[str, Any]) -> list[str]:
    """The faults an independent validator finds, using only the generated files."""
    notice = Draft202012Validator(load(ROOT / "json" / "notice.json"))
    faults = [error.message for error in notice.iter_errors(claims)]
    data = ROOT / "json" / f"{claims.get('type')}.json"
    if data.exists():
        faults += [error.message for error in Draft202012Validator(load(data)).iter_errors(claims.get("data"))]
    return faults


def test_every_type_has_a_good_example_and_several_bad_ones() -> None:
    assert {path.parent.name for path in GOOD} == {*TYPES, "notice"}
    for name in TYPES:
        assert len(list((EXAMPLES / name).glob("bad-*.json"))) >= 5


@pytest.mark.parametrize("path", GOOD, ids=lambda path: path.parent.name)
def test_a_good_example_passes_whole_and_redacted(path: Path) -> None:
    claims = load(path)
    notice = validate(claims)
    assert notice.data == claims["data"]
    assert of_json_schema(claims) == []
    redacted = {name: value for name, value in claims["data"].items() if name not in withholdable(claims["type"])}
    validate(claims | {"data": redacted})
    assert of_json_schema(claims | {"data": redacted}) == []


@pytest.mark.parametrize("path", [p for p in GOOD if p.parent.name in TYPES], ids=lambda path: path.parent.name)
def test_parsing_then_serialising_changes_nothing(path: Path) -> None:
    data = load(path)["data"]
    model = TYPES[path.parent.name].model_validate(data)
    assert model.model_dump(by_alias=True, exclude_unset=True) == data


@pytest.mark.parametrize("path", BAD, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_bad_example_is_refused_for_the_fault_in_its_name(path: Path) -> None:
    fault = path.stem.removeprefix("bad-")
    with pytest.raises(ValidationError) as caught:
        validate(load(path))
    told = explain_error(caught.value)
    expected = TOLD.get(fault) or fault.removeprefix("no-").replace("-", "_")
    assert expected in told
    assert len(told) < 1_000
    if path.name not in BEYOND_JSON_SCHEMA:
        assert of_json_schema(load(path)) != []


def test_an_error_shows_little_of_the_input() -> None:
    claims = load(EXAMPLES / "threat.cyber.v1" / "good.json") | {"subject": "x" * 5_000}
    with pytest.raises(ValidationError) as caught:
        validate(claims)
    assert len(explain_error(caught.value)) < 200


def test_a_type_unlike_any_other_names_the_known_ones() -> None:
    with pytest.raises(ValidationError) as caught:
        validate(load(EXAMPLES / "threat.cyber.v1" / "good.json") | {"type": "Ω"})
    assert "infrastructure.project.v1" in explain_error(caught.value)
