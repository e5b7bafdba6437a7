"""docs/notices.md: every notice type with its fields, read off the generated JSON Schemas."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from schemas.notice import AREAS, TYPES, area

Schema = dict[str, Any]

HEAD = """\
# Notice types

Generated from the schemas by `make generate`; do not edit.

The machine-readable form of each type is [`schemas/json/<type>.json`](../schemas/json), JSON Schema 2020-12; examples, good and bad,
are in [`schemas/examples/<type>/`](../schemas/examples). Nothing else is needed to make notices from data of your own:
leave out what is not known, put in no empty text, and no field that is not listed here.

* **Needed**: ✓ must be there. ◇ may be *withheld* by a clause: such a field is never needed, is signed as a salted digest, and a
  notice is valid without it.
* `a < b < c`: an ordered vocabulary; the condition `at_least` of a clause compares by this order. `a · b · c`: one of these words.
* `list[].field`: the field of each element of the list. Agreements name it `list.field`.
* All texts are Unicode, of any language. A notice has 64 KiB at most, all in all.

"""


def render(schemas: Mapping[str, Schema]) -> str:
    """The whole page, from the JSON Schemas by name."""
    parts = [HEAD, _contents(), "## The claims of every notice\n\n", _table(schemas["notice"]), "\n"]
    for name in AREAS:
        parts.append(f"## {name.capitalize()}\n\n")
        for type_ in (type_ for type_ in TYPES if area(type_) == name):
            schema = schemas[type_]
            example = json.dumps(schema["examples"][0], indent=2, ensure_ascii=False)
            parts.append(f"### {type_}\n\n{schema['description']}\n\n{_table(schema)}\n")
            parts.append(
                f"<details><summary>An example of <code>data</code></summary>\n\n```json\n{example}\n```\n\n</details>\n\n"
            )
    return "".join(parts).rstrip() + "\n"


def _contents() -> str:
    lines = []
    for name in AREAS:
        types = [f"[`{type_}`](#{type_.replace('.', '')})" for type_ in TYPES if area(type_) == name]
        lines.append(f"* {name}: {', '.join(types)}")
    return "\n".join(lines) + "\n\n"


def _table(schema: Schema) -> str:
    rows = ["| field | needed | form | meaning |", "|---|:-:|---|---|"]
    rows += [
        f"| `{path}` | {needed} | {form} | {meaning} |" for path, needed, form, meaning in _rows(schema, schema, "")
    ]
    return "\n".join(rows) + "\n"


def _rows(schema: Schema, root: Schema, prefix: str) -> Iterator[tuple[str, str, str, str]]:
    for name, said in schema["properties"].items():
        mark = "✓" if name in schema.get("required", []) else "◇" if said.get("x-withholdable") else ""
        example = _example(said, root)
        shown = "" if example in (None, {}) else f" E.g. `{json.dumps(example, ensure_ascii=False)}`"
        meaning = said["description"].rstrip(".") + "." + shown
        yield prefix + name, mark, _cell(_form(said, root)), _cell(meaning)
        for part in _parts(said, root):
            if "properties" in part:
                list_ = any("items" in each for each in _parts(said, root, inside=False))
                yield from _rows(part, root, f"{prefix}{name}{'[]' if list_ else ''}.")


def _example(said: Schema, root: Schema) -> Any:
    """One of its own, or of its parts; None when they have none."""
    if "examples" in said:
        return said["examples"][0]
    for part in _parts(said, root, inside=False):
        if "examples" in part:
            return part["examples"][0]
        if "items" in part and (inner := _example(part["items"], root)) is not None:
            return [inner]
    return None


def _parts(said: Schema, root: Schema, *, inside: bool = True) -> Iterator[Schema]:
    """The alternatives of a field but null, with references followed; and what is inside lists, if asked."""
    for part in said.get("anyOf", [said]):
        here = {**root["$defs"][part["$ref"].rpartition("/")[2]], **part} if "$ref" in part else part
        if here.get("type") != "null":
            yield here
            if inside and "items" in here:
                yield from _parts(here["items"], root)


def _form(said: Schema, root: Schema) -> str:
    return " or ".join(dict.fromkeys(_one(part, root) for part in _parts(said, root, inside=False)))


def _one(part: Schema, root: Schema) -> str:
    if "enum" in part:
        return (" < " if "x-order" in part else " · ").join(
            f"`{value}`" for value in part.get("x-order") or part["enum"]
        )
    if part["type"] == "array":
        least, most = part.get("minItems", 0), part.get("maxItems")
        return f"list, {f'{least} to' if least else 'at most'} {most}, of: {_form(part['items'], root)}"
    if part["type"] == "string":
        named = part.get("title", "") if "pattern" in part else ""
        return named or f"text, at most {part['maxLength']:,} characters"
    if part.get("maximum", 0) > 1_000_000_000:
        return str(part["title"])
    if part["type"] in ("integer", "number"):
        word = "whole number" if part["type"] == "integer" else "number"
        bounds = {"minimum": "from", "exclusiveMinimum": "more than", "maximum": "to"}
        return " ".join([word, *(f"{told} {part[limit]:g}" for limit, told in bounds.items() if limit in part)])
    return {"boolean": "true or false"}.get(part["type"], "object")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
