"""Each kind of breaking change is named; what only widens is let through."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from schemas.compatibility import breaking

OLD: dict[str, Any] = {
    "type": "object",
    "required": ["a"],
    "properties": {
        "a": {"type": "string", "minLength": 2, "maxLength": 10, "pattern": "^x"},
        "b": {"type": "string", "enum": ["low", "high"], "x-order": ["low", "high"]},
        "c": {"anyOf": [{"type": "integer", "minimum": 0, "maximum": 9}, {"type": "null"}], "default": None},
        "d": {"type": "array", "maxItems": 5, "items": {"$ref": "#/$defs/D"}},
        "e": {"type": "string", "x-withholdable": True},
        "f": {"type": "string", "const": "one"},
        "g": {"oneOf": [{"$ref": "#/$defs/D"}, {"$ref": "#/$defs/E"}]},
        "h": {"description": "anything"},
        "i": {"type": "array"},
        "j": {"type": "object"},
        "k": {"type": "boolean", "default": False},
        "l": {"type": "array", "uniqueItems": True},
    },
    "additionalProperties": False,
    "$defs": {
        "D": {
            "type": "object",
            "required": ["n"],
            "properties": {"n": {"type": "number"}, "deeper": {"$ref": "#/$defs/D"}},
        },
        "E": {"type": "object", "properties": {"m": {"type": "number", "exclusiveMinimum": 0}}},
    },
}

Change = Callable[[dict[str, Any]], Any]


def of(name: str, **change: Any) -> Change:
    return lambda schema: schema["properties"][name].update(change)


def without(name: str, keyword: str) -> Change:
    return lambda schema: schema["properties"][name].pop(keyword)


BREAKS: dict[str, tuple[Change, str]] = {
    "a removed field": (lambda s: s["properties"].pop("b"), "b: was removed"),
    "a newly required field": (lambda s: s["required"].append("b"), "b: is now required"),
    "a new field that is required": (
        lambda s: (s["properties"].update(z={}), s["required"].append("z")), "z: is now required"),
    "another type": (of("a", type="integer"), "a: type string became integer"),
    "a type where there was none": (of("h", type="string"), "h: type None became string"),
    "whole numbers only": (
        lambda s: s["$defs"]["D"]["properties"]["n"].update(type="integer"), "d[].n: type number became integer"),
    "a narrower list of values": (of("b", enum=["low"]), "b: no longer accepts high"),
    "a list of values where there was none": (of("a", enum=["x"]), "a: is now limited"),
    "one value where there was none": (of("e", const="x"), "e: is now limited"),
    "another single value": (of("f", const="two"), "f: no longer accepts one"),
    "a list without the single value": (
        lambda s: s["properties"].update(f={"type": "string", "enum": ["two"]}), "f: no longer accepts one"),
    "a shorter length": (of("a", maxLength=5), "a: maxLength became 5"),
    "a longer minimal length": (of("a", minLength=3), "a: minLength became 3"),
    "a length where there was none": (of("e", maxLength=5), "e: maxLength became 5"),
    "fewer elements": (of("d", maxItems=4), "d: maxItems became 4"),
    "a higher minimum": (lambda s: s["properties"]["c"]["anyOf"][0].update(minimum=1), "c: minimum became 1"),
    "a lower maximum": (lambda s: s["properties"]["c"]["anyOf"][0].update(maximum=8), "c: maximum became 8"),
    "another pattern": (of("a", pattern="^y"), "a: pattern changed from ^x to ^y"),
    "a pattern where there was none": (of("e", pattern="^y"), "e: pattern changed from None to ^y"),
    "another order": (of("b", **{"x-order": ["high", "low"]}), "b: x-order changed"),
    "no order any more": (without("b", "x-order"), "b: x-order changed"),
    "no longer withholdable": (without("e", "x-withholdable"), "e: x-withholdable changed from True to None"),
    "withholdable now": (of("a", **{"x-withholdable": True}), "a: x-withholdable changed from None to True"),
    "another default": (of("k", default=True), "k: default changed from False to True"),
    "a removed alternative": (of("c", anyOf=[{"type": "integer", "minimum": 0, "maximum": 9}]), "c: type null became integer"),
    "a field of an alternative removed": (
        lambda s: s["$defs"]["E"]["properties"].pop("m"), "g.m: was removed"),
    "no null any more": (
        lambda s: s["properties"].update(c={"type": "integer", "minimum": 0, "maximum": 9, "default": None}),
        "c: type null became integer"),
    "a field removed deep inside": (lambda s: s["$defs"]["D"]["properties"].pop("deeper"), "d[].deeper: was removed"),
    "a field required deep inside": (lambda s: s["$defs"]["D"]["required"].append("deeper"), "d[].deeper: is now required"),
    "elements of a kind where any would do": (of("i", items={"type": "string"}), "i[]: type None became string"),
    "an object that is closed now": (of("j", additionalProperties=False), "j: no longer takes other members"),
    "a rule that this check does not know": (of("i", uniqueItems=True), "i: uniqueItems changed"),
}  # fmt: skip

WIDENS: dict[str, Change] = {
    "nothing": lambda s: None,
    "a new field": lambda s: s["properties"].update(z={"type": "string"}),
    "a new withholdable field": lambda s: s["properties"].update(z={"type": "string", "x-withholdable": True}),
    "a longer length": of("a", maxLength=20),
    "no pattern": without("a", "pattern"),
    "no length": without("a", "maxLength"),
    "one value more": of("b", enum=["low", "high", "higher"]),
    "a list with the single value": lambda s: s["properties"].update(f={"type": "string", "enum": ["one", "two"]}),
    "any value": without("f", "const"),
    "one alternative more": lambda s: s["properties"]["c"]["anyOf"].append({"type": "string"}),
    "null is fine as well": lambda s: s["properties"].update(e={"anyOf": [{"type": "string"}, {"type": "null"}], "x-withholdable": True}),
    "numbers besides whole ones": lambda s: s["properties"]["c"]["anyOf"][0].update(type="number"),
    "any type": without("e", "type"),
    "no longer required": lambda s: s.update(required=[]),
    "elements of any kind": without("d", "items"),
    "other members": lambda s: s.update(additionalProperties=True),
    "other words": of("a", description="said better", title="A", examples=["xy"]),
    "a definition of another name": lambda s: (
        s["$defs"].update(F=s["$defs"].pop("E")), s["properties"]["g"].update(oneOf=[{"$ref": "#/$defs/F"}, {"$ref": "#/$defs/D"}])),
}  # fmt: skip


def changed(change: Change) -> dict[str, Any]:
    new = copy.deepcopy(OLD)
    change(new)
    return new


@pytest.mark.parametrize("name", BREAKS)
def test_a_breaking_change_is_named(name: str) -> None:
    change, told = BREAKS[name]
    faults = breaking(OLD, changed(change))
    assert any(fault.startswith(told) for fault in faults), faults


@pytest.mark.parametrize("name", WIDENS)
def test_what_only_widens_breaks_nothing(name: str) -> None:
    assert breaking(OLD, changed(WIDENS[name])) == []


def test_every_fault_is_told() -> None:
    new = copy.deepcopy(OLD)
    del new["properties"]["b"]
    new["properties"]["a"]["maxLength"] = 1
    assert breaking(OLD, new) == ["a: maxLength became 1", "b: was removed"]
