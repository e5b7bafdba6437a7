"""The generated schemas are up to date, well-formed, and break nothing that was published."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.compatibility import breaking
from schemas.notice import TYPES, withholdable
from tools.generate import generated, main

JSON = Path(__file__).parents[2] / "schemas" / "json"
FILES = sorted(JSON.glob("*.json"))


def test_generated_files_are_up_to_date() -> None:
    assert main(["--check"]) == 0
    assert {path for path in generated() if path.parent == JSON} == set(FILES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_schema_is_valid_named_and_described(path: Path) -> None:
    schema = json.loads(path.read_text())
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:comity:schema:{path.stem}"
    assert schema["title"] == path.stem
    assert schema["description"]
    assert schema["examples"]
    assert all(Draft202012Validator(schema).is_valid(example) for example in schema["examples"])
    if path.stem in TYPES:
        assert set(schema.get("x-withholdable-fields", [])) == withholdable(path.stem)
        assert withholdable(path.stem).isdisjoint(schema["required"])
        assert schema["additionalProperties"] is False


def objects(schema: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The members of a schema and of all its definitions, by where they stand."""
    parts = {"": schema, **schema.get("$defs", {})}
    return {
        f"{name}.{field}": said for name, part in parts.items() for field, said in part.get("properties", {}).items()
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_field_says_what_it_is_and_shows_a_value(path: Path) -> None:
    """A stranger converts data from the schema alone."""
    for where, said in objects(json.loads(path.read_text())).items():
        assert len(said.get("description", "")) > 3, where
        shown = ("examples", "enum", "const", "$ref", "discriminator")
        whole = json.dumps(said)
        assert any(f'"{keyword}":' in whole for keyword in shown) or '"boolean"' in whole, where


def test_the_examples_of_a_field_are_valid() -> None:
    for path in FILES:
        schema = json.loads(path.read_text())
        for where, said in objects(schema).items():
            validator = Draft202012Validator({**said, "$defs": schema.get("$defs", {})})
            for example in said.get("examples", []):
                assert validator.is_valid(example), (path.stem, where, example)


@pytest.mark.parametrize("path", sorted((JSON / "published").glob("*.json")), ids=lambda path: path.stem)
def test_what_was_published_is_not_broken(path: Path) -> None:
    assert breaking(json.loads(path.read_text()), json.loads((JSON / path.name).read_text())) == []


OLD: dict[str, Any] = {
    "type": "object",
    "required": ["a"],
    "properties": {
        "a": {"type": "string", "maxLength": 10, "pattern": "^x"},
        "b": {"enum": ["low", "high"], "x-order": ["low", "high"]},
        "c": {"anyOf": [{"type": "integer", "minimum": 0}, {"type": "null"}]},
        "d": {"type": "array", "items": {"$ref": "#/$defs/D"}},
        "e": {"type": "string", "x-withholdable": True},
    },
    "$defs": {"D": {"type": "object", "properties": {"n": {"type": "number"}, "deeper": {"$ref": "#/$defs/D"}}}},
}

BREAKS: dict[str, tuple[Any, str]] = {
    "a removed field": (lambda s: s["properties"].pop("b"), "b: was removed"),
    "a newly required field": (lambda s: s["required"].append("b"), "b: is now required"),
    "another type": (lambda s: s["properties"]["a"].update(type="integer"), "a: type string became integer"),
    "a narrower list of values": (lambda s: s["properties"]["b"].update(enum=["low"]), "b: no longer accepts high"),
    "a list of values where there was none": (lambda s: s["properties"]["a"].update(enum=["x"]), "a: is now limited"),
    "a shorter length": (lambda s: s["properties"]["a"].update(maxLength=5), "a: maxLength became 5"),
    "a higher minimum": (lambda s: s["properties"]["c"]["anyOf"][0].update(minimum=1), "c: minimum became 1"),
    "another pattern": (lambda s: s["properties"]["a"].update(pattern="^y"), "a: pattern changed"),
    "another order": (lambda s: s["properties"]["b"].update({"x-order": ["high", "low"]}), "b: x-order changed"),
    "no longer withholdable": (lambda s: s["properties"]["e"].pop("x-withholdable"), "e: x-withholdable changed"),
    "a removed alternative": (
        lambda s: s["properties"]["c"].update(anyOf=[{"type": "integer", "minimum": 0}]),
        "c: type null",
    ),
    "a field removed deep inside": (lambda s: s["$defs"]["D"]["properties"].pop("n"), "d[].n: was removed"),
}


@pytest.mark.parametrize("name", BREAKS)
def test_a_breaking_change_is_named(name: str) -> None:
    change, told = BREAKS[name]
    new = copy.deepcopy(OLD)
    change(new)
    assert any(fault.startswith(told) for fault in breaking(OLD, new)), breaking(OLD, new)


def test_what_only_widens_breaks_nothing() -> None:
    new = copy.deepcopy(OLD)
    new["properties"]["f"] = {"type": "string"}
    new["properties"]["a"]["maxLength"] = 20
    new["properties"]["b"] = {"enum": ["low", "high", "higher"], "x-order": ["low", "high"]}
    new["properties"]["c"]["anyOf"].append({"type": "string"})
    new["required"] = []
    assert breaking(OLD, new) == []
