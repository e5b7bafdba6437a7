"""Every example says what it claims: good ones pass, also redacted; bad ones are refused for the fault in their name, and for nothing else."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from pydantic import TypeAdapter, ValidationError

from schemas.documents import MODELS
from schemas.notice import TYPES, validate, withholdable
from schemas.problems import explain_error
from schemas.statement import Statement

ROOT = Path(__file__).parents[2] / "schemas"
EXAMPLES = ROOT / "examples"
NOTICES = {*TYPES, "notice"}
GOOD = sorted(EXAMPLES.glob("*/good*.json"))
BAD = sorted(EXAMPLES.glob("*/bad-*.json"))
FAULTS: dict[str, str] = json.loads((Path(__file__).parent / "faults.json").read_text())

# Rules that JSON Schema does not express: the calendar, and what depends on another part of the document.
BEYOND_JSON_SCHEMA = {
    "threat.cyber.v1/bad-day", "notice/bad-update-and-cancel", "agreement/bad-party-twice", "agreement/bad-stranger",
    "agreement/bad-clause-id-twice", "agreement/bad-until-before-from", "agreement/bad-unknown-field",
    "agreement/bad-unknown-level", "agreement/bad-nothing-covered", "agreement/bad-not-withholdable",
    "agreement/bad-box-on-a-text", "agreement/bad-box-off-the-globe", "agreement/bad-window-backwards",
}  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def of(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


def check(name: str, document: Any) -> Any:
    """As the hub reads it. Returns what is dumped again."""
    if name in NOTICES:
        return validate(document).model_dump(exclude_unset=True)
    model: TypeAdapter[Any] = TypeAdapter(Statement if name == "statement" else MODELS[name])
    return model.dump_python(model.validate_python(document), by_alias=True, exclude_unset=True)


def of_json_schema(name: str, document: dict[str, Any]) -> list[str]:
    """The faults an independent validator finds, using only the generated files."""
    parts = {"notice" if name in NOTICES else name: document}
    if name in NOTICES and document.get("type") in TYPES:
        parts[document["type"]] = document.get("data")
    return [
        error.message
        for part, value in parts.items()
        for error in Draft202012Validator(load(ROOT / "json" / f"{part}.json")).iter_errors(value)
    ]


def differences(old: Any, new: Any, path: str = "") -> Iterator[str]:
    """Where two documents differ, outermost names that are on one side only."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            if name in old and name in new:
                yield from differences(old[name], new[name], f"{path}.{name}".lstrip("."))
            else:
                yield f"{path}.{name}".lstrip(".")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for index, (one, other) in enumerate(zip(old, new, strict=True)):
            yield from differences(one, other, f"{path}.{index}")
    elif old != new or type(old) is not type(new):
        yield path


def test_every_type_and_message_has_a_good_example_and_bad_ones() -> None:
    names = {*MODELS, "statement"}
    assert {path.parent.name for path in GOOD} == names
    for name in names:
        assert len(list((EXAMPLES / name).glob("bad-*.json"))) >= (5 if name in TYPES else 3), name
    assert {of(path) for path in BAD} == FAULTS.keys()


def test_there_is_an_example_of_every_kind_of_statement() -> None:
    kinds = {load(path)["statement"] for path in GOOD if path.parent.name == "statement"}
    assert kinds == set(load(ROOT / "json" / "statement.json")["discriminator"]["mapping"])


@pytest.mark.parametrize("path", GOOD, ids=of)
def test_a_good_example_is_read_and_written_alike(path: Path) -> None:
    document = load(path)
    assert check(path.parent.name, document) == document
    assert of_json_schema(path.parent.name, document) == []


@pytest.mark.parametrize("type_", TYPES)
def test_the_data_of_a_good_example_is_read_and_written_alike(type_: str) -> None:
    data = load(EXAMPLES / type_ / "good.json")["data"]
    assert TYPES[type_].model_validate(data).model_dump(by_alias=True, exclude_unset=True) == data


@pytest.mark.parametrize("type_", TYPES)
def test_a_good_example_passes_with_any_field_withheld_that_may_be(type_: str) -> None:
    claims = load(EXAMPLES / type_ / "good.json")
    assert withholdable(type_) <= claims["data"].keys(), "the example shows every withholdable field"
    for names in [{name} for name in withholdable(type_)] + [withholdable(type_)]:
        redacted = claims | {"data": {name: said for name, said in claims["data"].items() if name not in names}}
        assert validate(redacted).data == redacted["data"]
        assert of_json_schema(type_, redacted) == []


@pytest.mark.parametrize("type_", TYPES)
def test_a_required_field_may_not_be_missing(type_: str) -> None:
    claims = load(EXAMPLES / type_ / "good.json")
    for name in load(ROOT / "json" / f"{type_}.json")["required"]:
        bare = copy.deepcopy(claims)
        del bare["data"][name]
        with pytest.raises(ValidationError) as caught:
            validate(bare)
        assert explain_error(caught.value) == f"data.{name}: is required"
        assert of_json_schema(type_, bare) != []


@pytest.mark.parametrize("path", BAD, ids=of)
def test_a_bad_example_is_refused_for_the_fault_in_its_name(path: Path) -> None:
    name, document = path.parent.name, load(path)
    with pytest.raises(ValidationError) as caught:
        check(name, document)
    assert explain_error(caught.value) == FAULTS[of(path)]
    assert (of_json_schema(name, document) == []) == (of(path) in BEYOND_JSON_SCHEMA)


@pytest.mark.parametrize("path", BAD, ids=of)
def test_a_bad_example_differs_from_the_good_one_in_one_thing(path: Path) -> None:
    changed = list(differences(load(path.parent / "good.json"), load(path)))
    assert len(changed) == 1 or path.stem in ("bad-empty-data", "bad-python-name"), changed
