"""The notice: envelope claims, and the register of types. What a field is called in JSON is what it is called here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import Field, StringConstraints, ValidationError, model_validator
from pydantic.fields import FieldInfo

from schemas import defense, infrastructure, investment, technology, threat, trade
from schemas.base import AgencyId, Data, Model, Place, Seconds, Tlp, UuidV7
from schemas.problems import below, unknown

TLP_ORDER = ("TLP:CLEAR", "TLP:GREEN", "TLP:AMBER", "TLP:AMBER+STRICT", "TLP:RED")
AREAS = ("security", "defense", "trade", "investment", "technology", "infrastructure")
Area = Literal["security", "defense", "trade", "investment", "technology", "infrastructure"]

TYPES: Mapping[str, type[Data]] = MappingProxyType(
    {
        "threat.cyber.v1": threat.Cyber,
        "threat.terrorism.v1": threat.Terrorism,
        "threat.military.v1": threat.Military,
        "defense.exercise.v1": defense.Exercise,
        "defense.resource.v1": defense.Resource,
        "trade.measure.v1": trade.Measure,
        "trade.product-alert.v1": trade.ProductAlert,
        "investment.opportunity.v1": investment.Opportunity,
        "investment.screening.v1": investment.Screening,
        "technology.control.v1": technology.Control,
        "infrastructure.disruption.v1": infrastructure.Disruption,
        "infrastructure.project.v1": infrastructure.Project,
    }
)
Type = Annotated[str, Field(title="Notice type", examples=["threat.cyber.v1"], json_schema_extra={"enum": list(TYPES)})]


class Notice(Model):
    """The claims of a notice, with disclosed fields in place. `data` is the typed object, checked by `validate`."""

    iss: AgencyId = Field(description="The agency that says it")
    jti: UuidV7 = Field(description="Id of the notice, unique for its sender")
    iat: Seconds = Field(description="When it was signed")
    exp: Seconds = Field(description="When it stops being true or useful")
    type: Type = Field(description="What kind of notice")
    subject: Annotated[str, StringConstraints(min_length=1, max_length=200)] = Field(
        description="The thread it belongs to: notices of one subject keep their order", examples=["CVE-2025-48384"]
    )
    tlp: Tlp = Field(description="FIRST Traffic Light Protocol 2.0")
    rel_to: Annotated[list[AgencyId], Field(min_length=1, max_length=500)] | None = Field(
        default=None, description="Only these agencies may receive it, of those that a clause grants it"
    )
    exercise: bool = Field(default=False, description="Part of an exercise; not for real")
    updates: UuidV7 | None = Field(default=None, description="jti of an earlier notice of this sender that it updates")
    cancels: UuidV7 | None = Field(default=None, description="jti of an earlier notice of this sender that it cancels")
    data: dict[str, Any] = Field(description="The typed object; its schema is named by `type`")

    @model_validator(mode="after")
    def _one_reference(self) -> Notice:
        if self.updates is not None and self.cancels is not None:
            raise ValueError("a notice updates or cancels another, not both")
        return self


def validate(claims: dict[str, Any]) -> Notice:
    """The claims of a notice, full or redacted, checked together with its typed data.

    Raises pydantic.ValidationError; `schemas.problems.explain_error` turns it into a sentence.
    """
    notice = Notice.model_validate(claims)
    model = TYPES.get(notice.type)
    if model is None:
        raise unknown("type", notice.type, TYPES)
    try:
        model.model_validate(notice.data)
    except ValidationError as error:
        raise below("data", error) from None
    return notice


def area(type_: str) -> str:
    """The area of a type: its first word, and security for threats."""
    first = type_.partition(".")[0]
    return "security" if first == "threat" else first


@cache
def withholdable(type_: str) -> frozenset[str]:
    """The fields of a type's data that a clause may withhold; none of an unknown type."""
    model = TYPES.get(type_)
    if model is None:
        return frozenset()
    return frozenset(
        _name(name, info) for name, info in model.model_fields.items() if _extra(info).get("x-withholdable")
    )


@dataclass(frozen=True, slots=True)
class Found:
    """What stands at a path of a type's data.

    kinds: string, number, boolean, object; and `time` for a string, `place` for an object that is one. many: a list is
    there or on the way. order: of an ordered vocabulary, lowest first. values: of a closed vocabulary, else none.
    """

    kinds: frozenset[str]
    many: bool
    order: tuple[str, ...] | None
    values: frozenset[str]


@cache
def field(type_: str, path: str) -> Found | None:
    """What `path` (dotted, through nested objects and lists) means in a type; None when there is no such field."""
    models: list[type[Model]] = [TYPES[type_]] if type_ in TYPES else []
    leaves: list[_Leaf] = []
    many = False
    for part in path.split("."):
        leaves = [leaf for model in models for leaf in _member(model, part)]
        many = many or any(leaf.many for leaf in leaves)
        models = [
            leaf.annotation
            for leaf in leaves
            if isinstance(leaf.annotation, type) and issubclass(leaf.annotation, Model)
        ]
    if not leaves:
        return None
    order = next((tuple(leaf.said["x-order"]) for leaf in leaves if "x-order" in leaf.said), None)
    values = frozenset(value for leaf in leaves for value in _values(leaf.annotation))
    return Found(frozenset(kind for leaf in leaves for kind in _kinds(leaf)), many, order, values)


def orders(type_: str, path: str) -> tuple[str, ...] | None:
    """The declared order, lowest first, of an ordered vocabulary at `path`; None for anything else."""
    found = field(type_, path)
    return found.order if found else None


@dataclass(frozen=True, slots=True)
class _Leaf:
    annotation: Any
    many: bool
    said: Mapping[str, Any]  # what the field and its annotations add to the JSON Schema: x-order, format


def _member(model: type[Model], name: str) -> Iterator[_Leaf]:
    for attribute, info in model.model_fields.items():
        if _name(attribute, info) == name:
            yield from _unwrap(info.annotation, many=False, said=_extra(info))


def _unwrap(annotation: Any, *, many: bool, said: Mapping[str, Any]) -> Iterator[_Leaf]:
    """The plain types inside optionals, unions, lists and annotations."""
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        for item in metadata:
            said = {**said, **_extra(item)} if isinstance(item, FieldInfo) else said
        yield from _unwrap(inner, many=many, said=said)
    elif origin in (Union, UnionType):
        for part in get_args(annotation):
            if part is not NoneType:
                yield from _unwrap(part, many=many, said=said)
    elif origin is list:
        yield from _unwrap(get_args(annotation)[0], many=True, said=said)
    else:
        yield _Leaf(annotation, many, said)


def _kinds(leaf: _Leaf) -> Iterator[str]:
    annotation = leaf.annotation
    if get_origin(annotation) is Literal or annotation is str:
        yield "string"
        if leaf.said.get("format") in ("date", "date-time"):
            yield "time"
    elif annotation is bool:
        yield "boolean"
    elif annotation in (int, float):
        yield "number"
    else:
        yield "object"
        if annotation is Place:
            yield "place"


def _values(annotation: Any) -> tuple[str, ...]:
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _name(attribute: str, info: FieldInfo) -> str:
    return info.alias or attribute


def _extra(info: FieldInfo) -> dict[str, Any]:
    return info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
