"""The notice: envelope claims, and the register of types. What a field is called in JSON is what it is called here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, ValidationError, model_validator

from schemas import defense, fields, infrastructure, investment, technology, threat, trade
from schemas.base import AgencyId, Data, Model, Seconds, Tlp, UuidV7
from schemas.fields import Found, find
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
    data: dict[str, Any] = Field(
        description="The typed object; its schema is named by `type`",
        examples=[{"kind": "advisory", "title": "Patch now"}],
    )

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
        raise below("data", error, model) from None
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
        fields.name(attribute, info)
        for attribute, info in model.model_fields.items()
        if fields.marks(info).get("x-withholdable")
    )


@cache
def field(type_: str, path: str) -> Found | None:
    """What `path` (dotted, through nested objects and lists) means in a type; None when there is no such field."""
    return find(TYPES[type_], path) if type_ in TYPES else None


def orders(type_: str, path: str) -> tuple[str, ...] | None:
    """The declared order, lowest first, of an ordered vocabulary at `path`; None for anything else."""
    found = field(type_, path)
    return found.order if found else None
