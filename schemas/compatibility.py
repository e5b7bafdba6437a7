"""Whether a schema may replace a published one: whatever the old one accepted, the new one accepts, and it means the same.

A breaking change is a new major type (`….v2`), never a new text of the old one. In doubt the answer is "breaking": a
pattern that is different in any way counts, and so does a keyword that this check does not know.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Schema = dict[str, Any]
Pairs = frozenset[tuple[Any, Any]]

_UPPER = ("maxLength", "maxItems", "maximum", "exclusiveMaximum", "maxProperties")
_LOWER = ("minLength", "minItems", "minimum", "exclusiveMinimum", "minProperties")
_MEANING = ("x-order", "x-withholdable", "default")
_UNIONS = ("anyOf", "oneOf")
_KNOWN = {
    *_UPPER, *_LOWER, *_MEANING, *_UNIONS, "$defs", "$id", "$ref", "$schema", "additionalProperties", "const", "description",
    "discriminator", "enum", "examples", "format", "items", "pattern", "properties", "required", "title", "type",
    "x-withholdable-fields",
}  # fmt: skip


def breaking(old: Schema, new: Schema) -> list[str]:
    """Every way in which `new` breaks senders, readers or agreements that rely on `old`; empty when there is none."""
    return list(_Comparison(old, new).compare(old, new, "", frozenset()))


@dataclass(frozen=True, slots=True)
class _Comparison:
    """Two documents, in which references are looked up. `open_` holds the pairs of references that are being compared."""

    old_root: Schema
    new_root: Schema

    def compare(self, old: Schema, new: Schema, path: str, open_: Pairs) -> Iterator[str]:
        pair = (old.get("$ref"), new.get("$ref"))
        if pair in open_:
            return
        if all(pair):  # a schema written out in place comes to an end by itself
            open_ |= {pair}
        old, new = _resolve(old, self.old_root), _resolve(new, self.new_root)
        where = path or "(the whole)"
        for keyword in _MEANING:
            if old.get(keyword) != new.get(keyword):
                yield f"{where}: {keyword} changed from {old.get(keyword)} to {new.get(keyword)}"
        if _alternatives(old) or _alternatives(new):
            for branch in _alternatives(old) or [_bare(old)]:
                # An old alternative must still be accepted by one of the new; otherwise the most similar one says why not.
                choices = _alternatives(new) or [_bare(new)]
                faults = [list(self.compare(branch, choice, path, open_)) for choice in choices]
                yield from min(faults, key=len)
        else:
            yield from _values(old, new, where)
            yield from _limits(old, new, where)
            yield from self._members(old, new, path, open_)

    def _members(self, old: Schema, new: Schema, path: str, open_: Pairs) -> Iterator[str]:
        for name in sorted(set(new.get("required", [])) - set(old.get("required", []))):
            yield f"{path}.{name}: is now required".lstrip(".")
        for name, said in old.get("properties", {}).items():
            inner = f"{path}.{name}".lstrip(".")
            if name in new.get("properties", {}):
                yield from self.compare(said, new["properties"][name], inner, open_)
            else:
                yield f"{inner}: was removed"
        if new.get("additionalProperties") is False and old.get("additionalProperties") is not False:
            yield f"{path or '(the whole)'}: no longer takes other members"
        if "items" in new:
            yield from self.compare(old.get("items", {}), new["items"], f"{path}[]", open_)


def _values(old: Schema, new: Schema, where: str) -> Iterator[str]:
    """Type and closed vocabularies."""
    type_ = new.get("type")
    if type_ not in (None, old.get("type")) and not (type_ == "number" and old.get("type") == "integer"):
        yield f"{where}: type {old.get('type')} became {type_}"
    before, now = _vocabulary(old), _vocabulary(new)
    if now is not None and before is None:
        yield f"{where}: is now limited to a list of values"
    elif now is not None and before is not None and (gone := [value for value in before if value not in now]):
        yield f"{where}: no longer accepts {', '.join(map(str, gone))}"


def _limits(old: Schema, new: Schema, where: str) -> Iterator[str]:
    for limit in _UPPER:
        if limit in new and new[limit] < old.get(limit, float("inf")):
            yield f"{where}: {limit} became {new[limit]}"
    for limit in _LOWER:
        if limit in new and new[limit] > old.get(limit, float("-inf")):
            yield f"{where}: {limit} became {new[limit]}"
    if "pattern" in new and new["pattern"] != old.get("pattern"):
        yield f"{where}: pattern changed from {old.get('pattern')} to {new['pattern']}"
    for keyword in sorted(new.keys() - _KNOWN):
        if new[keyword] != old.get(keyword):
            yield f"{where}: {keyword} changed, and this check does not know what it means"


def _vocabulary(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _alternatives(schema: Schema) -> list[Schema]:
    return [branch for keyword in _UNIONS for branch in schema.get(keyword, [])]


def _bare(schema: Schema) -> Schema:
    """Without what has been compared already."""
    return {keyword: said for keyword, said in schema.items() if keyword not in _MEANING}


def _resolve(schema: Schema, root: Schema) -> Schema:
    while "$ref" in schema:
        target = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part]
        schema = {**target, **{name: said for name, said in schema.items() if name != "$ref"}}
    return schema
