"""Whether a schema may replace a published one: whatever the old one accepted, the new one accepts, and it means the same.

A breaking change is a new major type (`….v2`), never a new text of the old one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]
_UPPER = ("maxLength", "maxItems", "maximum", "exclusiveMaximum", "maxProperties")
_LOWER = ("minLength", "minItems", "minimum", "exclusiveMinimum", "minProperties")
_SAME = ("pattern", "x-order", "x-withholdable", "const")


def breaking(old: Schema, new: Schema) -> list[str]:
    """Every way in which `new` breaks senders, readers or agreements that rely on `old`; empty when there is none."""
    return list(_compare(old, new, old, new, "", frozenset()))


def _compare(
    old: Schema, new: Schema, old_root: Schema, new_root: Schema, path: str, open_: frozenset[str]
) -> Iterator[str]:
    reference = old.get("$ref", "")
    if reference and reference in open_:
        return
    if reference:
        open_ |= {reference}
    old, new = _resolve(old, old_root), _resolve(new, new_root)
    where = path or "(the whole)"
    if "type" in old and old["type"] != new.get("type"):
        yield f"{where}: type {old['type']} became {new.get('type')}"
    yield from _limits(old, new, where)
    accepted: list[Any] = new["enum"] if "enum" in new else old.get("enum") or []
    if gone := [value for value in old.get("enum", []) if value not in accepted]:
        yield f"{where}: no longer accepts {', '.join(map(str, gone))}"
    if "enum" in new and "enum" not in old:
        yield f"{where}: is now limited to a list of values"
    for name in sorted(set(new.get("required", [])) - set(old.get("required", []))):
        yield f"{path}.{name}: is now required".lstrip(".")
    for name, said in old.get("properties", {}).items():
        inner = f"{path}.{name}".lstrip(".")
        if name not in new.get("properties", {}):
            yield f"{inner}: was removed"
        else:
            yield from _compare(said, new["properties"][name], old_root, new_root, inner, open_)
    if isinstance(old.get("items"), dict):
        yield from _compare(old["items"], new.get("items", {}), old_root, new_root, f"{path}[]", open_)
    yield from _branches(old, new, old_root, new_root, path, open_)


def _limits(old: Schema, new: Schema, where: str) -> Iterator[str]:
    for limit in _UPPER:
        if limit in new and new[limit] < old.get(limit, float("inf")):
            yield f"{where}: {limit} became {new[limit]}"
    for limit in _LOWER:
        if limit in new and new[limit] > old.get(limit, float("-inf")):
            yield f"{where}: {limit} became {new[limit]}"
    for keyword in _SAME:
        if old.get(keyword) != new.get(keyword):
            yield f"{where}: {keyword} changed from {old.get(keyword)} to {new.get(keyword)}"


def _branches(
    old: Schema, new: Schema, old_root: Schema, new_root: Schema, path: str, open_: frozenset[str]
) -> Iterator[str]:
    """Each old alternative must still be accepted by one of the new."""
    for keyword in ("anyOf", "oneOf"):
        for branch in old.get(keyword, []):
            choices = new.get(keyword, [new])
            faults = [list(_compare(branch, choice, old_root, new_root, path, open_)) for choice in choices]
            if all(faults):
                yield min(faults, key=len)[0]


def _resolve(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        target = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{name: said for name, said in schema.items() if name != "$ref"}}
    return schema
