"""Validation errors for people: where, what would be right, the nearest known name; never more than an excerpt of the input."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import StringConstraints, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from schemas.base import Model
from schemas.fields import Leaf, leaves, names

EXCERPT = 80  # characters of the input that an error shows, at most
SENTENCE = 400
TOLD = 3  # faults that are told in full
LOOKED_AT = 30  # of thousands of faults in one input, so that telling them costs no more than finding them

Loc = tuple[int | str, ...]
Models = Sequence[type[Model]]

_SENTENCES = {
    "missing": "is required",
    "string_type": "must be a string",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "bool_type": "must be true or false",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "too_short": "must have at least {min_length} elements",
    "too_long": "must have at most {max_length} elements, not {actual_length}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "value_error": "{error}",
}


def explain_error(error: ValidationError) -> str:
    """`data.severity: must be one of low, medium, high, critical (got "hgh")`; several joined by `; `, at most three."""
    found = list(_faults(error, _named(error.title)))
    told = [f"{path(loc)}: {sentence}" if loc else sentence for loc, sentence, _ in found[:TOLD]]
    more = f"{'at least ' if error.error_count() >= LOOKED_AT else ''}{len(found) - TOLD} more"
    return "; ".join([*told, f"and {more}"] if len(found) > TOLD else told)


def path(loc: Loc) -> str:
    """`hazards.0.name`; what a sender made up is shortened."""
    return ".".join(_clip(_printable(str(part)), EXCERPT) for part in loc)


def below(member: str, error: ValidationError, model: type[Model]) -> ValidationError:
    """The same faults of a `model`, told from one level further up."""
    return _error(_told((member, *loc), sentence, got) for loc, sentence, got in _faults(error, [model]))


def unknown(member: str, value: str, known: Iterable[str]) -> ValidationError:
    """A value that is none of the known ones, with the nearest of them."""
    return _error([_told((member,), f"is unknown; {nearest(value, list(known))}{_got(value)}", value)])


def _told(loc: Loc, sentence: str, got: object) -> InitErrorDetails:
    return InitErrorDetails(type=PydanticCustomError("told", "{said}", {"said": sentence}), loc=loc, input=got)


def _error(details: Iterable[InitErrorDetails]) -> ValidationError:
    return ValidationError.from_exception_data("Notice", list(details))


def _faults(error: ValidationError, models: Models) -> Iterator[tuple[Loc, str, object]]:
    """(path, sentence, input) of each place that is wrong, unknown names first: they are what was meant by what is missing."""
    places: dict[Loc, list[tuple[str, ErrorDetails]]] = {}
    items = sorted(error.errors(include_url=False), key=lambda item: item["type"] != "extra_forbidden")
    for item in items[:LOOKED_AT]:
        loc, sentence = _read(item, models)
        places.setdefault(loc, []).append((sentence, item))
    for loc, told in places.items():
        # Several at one place are the alternatives of a union; those that the input resembles less only distract.
        least = min(_distance(item["type"]) for _, item in told)
        meant = dict.fromkeys(said for said, item in told if _distance(item["type"]) == least)
        item = told[0][1]
        bare = item["type"] in ("missing", "extra_forbidden", "told") or isinstance(item["input"], dict | list)
        yield (
            loc,
            _clip(" or ".join(meant), SENTENCE) + ("" if bare else _got(item["input"])),
            item["input"],
        )


def _distance(kind: str) -> int:
    """How far an input is from what was wanted: right but for a rule, of the right type, of another type."""
    return 0 if kind == "value_error" else 2 if kind.endswith("_type") else 1


def _read(item: ErrorDetails, models: Models) -> tuple[Loc, str]:
    """Where it is, without pydantic's names for the alternatives of a union, and what would be right there."""
    strange = item["type"] == "extra_forbidden"
    as_it_is = item["type"] == "told" or not models
    kept: list[int | str] = []
    leafs: list[Leaf] = []
    for part in item["loc"][:-1] if strange else item["loc"]:
        found = [leaf for model in models for leaf in leaves(model, str(part))]
        if found:
            leafs, models = found, [leaf.model for leaf in found if leaf.model]
        if found or as_it_is or isinstance(part, int):
            kept.append(part)
    if strange:
        name = str(item["loc"][-1])
        return (
            *kept,
            name,
        ), f"is not a field here; {nearest(name, [known for model in models for known in names(model)])}"
    return tuple(kept), _sentence(item, leafs)


def _sentence(item: ErrorDetails, leafs: Iterable[Leaf]) -> str:
    kind, context = item["type"], item.get("ctx", {})
    if kind == "literal_error":
        values = re.findall("'([^']*)'", context["expected"])
        return f"must be one of {', '.join(values)}" if len(values) > 1 else f"must be {_bare(context['expected'])}"
    if kind == "string_pattern_mismatch":
        return _form(context["pattern"], leafs)
    if kind == "union_tag_not_found":
        return f"{_bare(context['discriminator'])} is required: it says which kind it is"
    if kind == "union_tag_invalid":
        tags = re.findall("'([^']*)'", context["expected_tags"])
        return f"{_bare(context['discriminator'])} is unknown; {nearest(context['tag'], tags)}{_got(context['tag'])}"
    if context.get("min_length") == 1:
        return "must not be empty"
    round_ = {
        name: int(said) if isinstance(said, float) and said.is_integer() else said for name, said in context.items()
    }
    return _SENTENCES[kind].format(**round_) if kind in _SENTENCES else item["msg"]


def _bare(quoted: str) -> str:
    return quoted.strip("'")


def _form(pattern: str, leafs: Iterable[Leaf]) -> str:
    """What a text must look like: the title of the code and an example, where the schema has them."""
    for leaf in leafs:
        if any(isinstance(note, StringConstraints) and note.pattern == pattern for note in leaf.notes):
            for note in reversed(leaf.notes):
                if isinstance(note, FieldInfo) and note.title and note.examples:
                    return f"must look like {note.examples[0]} ({note.title})"
    return f"must match {pattern}"


def _named(title: str) -> list[type[Model]]:
    """The models that an error's title names: one, or the alternatives of a union."""
    wanted, found, waiting = set(re.findall(r"\w+", title)), [], [Model]
    while waiting:
        model = waiting.pop()
        waiting += model.__subclasses__()
        if model.__name__ in wanted and model.__module__.startswith("schemas."):
            found.append(model)
    return found


def nearest(name: str, known: Sequence[str]) -> str:
    """`did you mean severity?`, or all the known names when none is near."""
    near = get_close_matches(name[:EXCERPT], known, n=1, cutoff=0.7)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(dict.fromkeys(known))}"


def _got(value: Any) -> str:
    short = value[:EXCERPT] if isinstance(value, str) else value
    return f" (got {_clip(_printable(json.dumps(short, ensure_ascii=False, default=repr)), EXCERPT)})"


def _printable(text: str) -> str:
    """What would not show, or would show as something else (control characters, reversed writing), as escapes."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text[:SENTENCE])


def _clip(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
