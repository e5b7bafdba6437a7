"""The generated schemas are up to date, well-formed, and break nothing that was published."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from schemas.compatibility import breaking
from schemas.notice import TYPES, withholdable
from tools import publish_schemas
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


def test_publishing_refuses_what_breaks_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(JSON, tmp_path / "json")
    monkeypatch.setattr(publish_schemas, "JSON", tmp_path / "json")
    monkeypatch.setattr(publish_schemas, "PUBLISHED", tmp_path / "json" / "published")
    present, published = tmp_path / "json" / "receipt.json", tmp_path / "json" / "published" / "receipt.json"
    assert publish_schemas.main() == 0

    wider = json.loads(present.read_text())
    wider["properties"]["note"] = {"type": "string"}
    present.write_text(json.dumps(wider))
    assert publish_schemas.main() == 0
    assert json.loads(published.read_text()) == wider

    narrower = {**wider, "required": [*wider["required"], "note"]}
    present.write_text(json.dumps(narrower))
    (tmp_path / "json" / "agreement.json").unlink()
    assert publish_schemas.main() == 1
    said = capsys.readouterr().err
    assert "receipt: note: is now required" in said and "agreement: was removed" in said
    assert json.loads(published.read_text()) == wider
