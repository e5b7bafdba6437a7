"""What a model says about its fields: what stands at a dotted path, what a field is called in JSON, what it is marked with.

Agreements are checked against it when they are proposed, and errors are told with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from schemas.base import Model, Place


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at a path.

    kinds: string, number, boolean, object; and `time` for a string, `place` for an object that is one. many: a list is
    there or on the way. order: of an ordered vocabulary, lowest first. values: of a closed vocabulary, else none.
    """

    kinds: frozenset[str]
    many: bool
    order: tuple[str, ...] | None
    values: frozenset[str]


@dataclass(frozen=True, slots=True)
class Leaf:
    """One plain type of a field, out of its optionals, unions and lists, with all the annotations on the way to it."""

    annotation: Any
    many: bool
    notes: tuple[Any, ...]

    @property
    def model(self) -> type[Model] | None:
        plain = isinstance(self.annotation, type) and issubclass(self.annotation, Model)
        return self.annotation if plain else None

    def said(self, keyword: str) -> Any:
        """What an annotation adds to the JSON Schema under this keyword, as x-order or format; None when nothing."""
        return next((found for note in self.notes if (found := marks(note).get(keyword)) is not None), None)


def name(attribute: str, info: FieldInfo) -> str:
    """What a field is called in JSON."""
    return info.alias or attribute


def names(model: type[Model]) -> list[str]:
    """What its fields are called in JSON, in the order of the model."""
    return [name(attribute, info) for attribute, info in model.model_fields.items()]


def marks(note: Any) -> dict[str, Any]:
    """What a field or an annotation adds to its JSON Schema."""
    said = note.json_schema_extra if isinstance(note, FieldInfo) else None
    return said if isinstance(said, dict) else {}


def leaves(model: type[Model], field: str) -> Iterator[Leaf]:
    """The plain types of a field, by its name in JSON; none when there is no such field."""
    for attribute, info in model.model_fields.items():
        if name(attribute, info) == field:
            yield from _unwrap(info.annotation, False, (info, *info.metadata))


def find(model: type[Model], path: str) -> Found | None:
    """What stands at a dotted path, through nested objects and lists; None when there is no such field."""
    models: Iterable[type[Model]] = [model]
    ends: list[Leaf] = []
    many = False
    for part in path.split("."):
        ends = [leaf for there in models for leaf in leaves(there, part)]
        many = many or any(leaf.many for leaf in ends)
        models = [leaf.model for leaf in ends if leaf.model]
    if not ends:
        return None
    order = next((tuple(found) for leaf in ends if (found := leaf.said("x-order"))), None)
    values = frozenset(value for leaf in ends for value in _values(leaf.annotation))
    return Found(frozenset(kind for leaf in ends for kind in _kinds(leaf)), many, order, values)


def _unwrap(annotation: Any, many: bool, notes: tuple[Any, ...]) -> Iterator[Leaf]:
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *more = get_args(annotation)
        yield from _unwrap(inner, many, (*notes, *more))
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            if part is not NoneType:
                yield from _unwrap(part, many, notes)
    elif origin is list:
        yield from _unwrap(get_args(annotation)[0], True, notes)
    else:
        yield Leaf(annotation, many, notes)


def _kinds(leaf: Leaf) -> Iterator[str]:
    if get_origin(leaf.annotation) is Literal or leaf.annotation is str:
        yield "string"
        if leaf.said("format") in ("date", "date-time"):
            yield "time"
    elif leaf.annotation is bool:
        yield "boolean"
    elif leaf.annotation in (int, float):
        yield "number"
    else:
        yield "object"
        if leaf.model is Place:
            yield "place"


def _values(annotation: Any) -> tuple[str, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()
