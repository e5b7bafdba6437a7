"""The agreement: a document signed by all its parties, whose clauses grant. What cannot be decided is refused here, when it is proposed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, model_validator

from schemas.base import AgencyId, Instant, Line, Model, Text, Tlp
from schemas.fields import Found, names
from schemas.notice import TYPES, Area, Type, area, field, withholdable
from schemas.problems import nearest

Scalar = Annotated[str, StringConstraints(min_length=1, max_length=500)] | int | float | bool
Operator = Literal["at_least", "one_of", "includes", "starts_with", "within"]


class Condition(Model):
    """One test of a field of the notice's data. A field that is not there fails it; of a list, any element may pass it."""

    field: Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*$", max_length=100)] = Field(
        description="Field of data, dotted into nested objects", examples=["severity", "products.vendor"]
    )
    op: Operator = Field(
        description="at_least: a number, or a place in an ordered vocabulary; one_of: the value is in the list; includes: the list "
        "field contains the value, or any of them; starts_with: a prefix, or any of them; within: a box of coordinates or a window of time"
    )
    value: Scalar | Annotated[list[Scalar], Field(min_length=1, max_length=500)] | dict[str, Any] = Field(
        description='What to compare with; for within {"box":[west,south,east,north]} or {"from":…,"until":…}'
    )


class InForce(Model):
    """From the first instant to before the last."""

    from_: Instant = Field(alias="from", description="The first instant")
    until: Instant = Field(description="The instant at which it has ended")

    @model_validator(mode="after")
    def _forward(self) -> InForce:
        if datetime.fromisoformat(self.from_) >= datetime.fromisoformat(self.until):
            raise ValueError("until must be after from")
        return self


class Clause(Model):
    """One grant: who to whom, which notices, up to which TLP, under which conditions, without which fields."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9.-]{0,39}$")] = Field(
        description="Id of the clause, unique in the agreement", examples=["c1"]
    )
    from_: list[AgencyId] = Field(alias="from", min_length=1, max_length=500, description="Senders")
    to: list[AgencyId] = Field(min_length=1, max_length=500, description="Recipients")
    areas: list[Area] = Field(default=[], max_length=6, description="Every type of these areas")
    types: list[Type] = Field(default=[], max_length=100, description="These types")
    ceiling: Tlp = Field(description="The highest TLP it grants")
    when: list[Condition] = Field(default=[], max_length=50, description="Conditions that must all hold")
    withhold: list[Line] = Field(
        default=[], max_length=50, description="Withholdable fields that are taken out", examples=[["source_detail"]]
    )
    note: Text | None = Field(default=None, description="For people", examples=["Agreed in Bern, article 4."])

    @model_validator(mode="after")
    def _can_be_decided(self) -> Clause:
        for type_ in self.types:
            if type_ not in TYPES:
                raise ValueError(f"types: unknown type {type_[:80]}; {nearest(type_, list(TYPES))}")
        covered = [type_ for type_ in TYPES if type_ in self.types or area(type_) in self.areas]
        if not covered:
            raise ValueError("a clause names at least one type or area")
        for name in self.withhold:
            if not any(name in withholdable(type_) for type_ in covered):
                known = sorted({field for type_ in covered for field in withholdable(type_)})
                raise ValueError(
                    f"withhold: {name[:80]} is not a withholdable field of any type the clause covers; {nearest(name, known)}"
                )
        for condition in self.when:
            found = [there for type_ in covered if (there := field(type_, condition.field))]
            if not found:
                known = [name for type_ in covered for name in names(TYPES[type_])]
                told = nearest(condition.field, known)
                raise ValueError(f"when: no type the clause covers has a field {condition.field}; {told}")
            faults = [fault for there in found if (fault := _fault(condition, there))]
            # A word that only some of the types know is fine, the others then never meet it; a wrong kind of field is not.
            if len(faults) == len(found) or (faults and condition.op == "within"):
                raise ValueError(f"when: {condition.field} {condition.op}: {faults[0]}")
        return self


class Agreement(Model):
    """Parties, clauses, and when it is in force. A version replaces the one before it."""

    id: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{1,63}$")] = Field(
        description="Id of the agreement, the same in all its versions", examples=["alpine-security"]
    )
    version: Annotated[int, Field(ge=1)] = Field(description="Version, from 1, without gaps", examples=[1])
    title: Line = Field(description="Title, for people", examples=["Alpine security"])
    parties: list[AgencyId] = Field(min_length=2, max_length=500, description="Agencies that sign it, all of them")
    in_force: InForce = Field(description="When it is in force")
    clauses: list[Clause] = Field(min_length=1, max_length=1_000, description="What it grants")

    @model_validator(mode="after")
    def _parties_and_ids(self) -> Agreement:
        if len(set(self.parties)) != len(self.parties):
            raise ValueError("parties: an agency is listed twice")
        ids = [clause.id for clause in self.clauses]
        if len(set(ids)) != len(ids):
            raise ValueError("clauses: an id is used twice")
        for clause in self.clauses:
            strangers = {*clause.from_, *clause.to} - set(self.parties)
            if strangers:
                raise ValueError(f"clause {clause.id}: not a party: {', '.join(sorted(strangers))}")
        return self


def _fault(condition: Condition, found: Found) -> str | None:
    """What is wrong with a condition over such a field; None when it can be evaluated."""
    value = condition.value
    many = value if isinstance(value, list) else [value]
    match condition.op:
        case "at_least":
            return _at_least_fault(value, found)
        case "one_of" | "includes":
            if condition.op == "one_of" and not isinstance(value, list):
                return "the value must be a list"
            if condition.op == "includes" and not found.many:
                return "the field is not a list; use one_of"
            if "object" in found.kinds:
                return "the field is an object; name a member of it, as in products.vendor"
            if not {_kind(item) for item in many} <= found.kinds:
                return f"the field is a {' or '.join(sorted(found.kinds))}, the value is not"
            strange = [item for item in many if found.values and item not in found.values]
            return f"{strange[0]!r} is none of {', '.join(sorted(found.values))}" if strange else None
        case "starts_with":
            strings = all(isinstance(item, str) for item in many) and "string" in found.kinds
            return None if strings else "prefixes and field must be strings"
        case _:  # within, the last of the operators
            return _within_fault(value, found)


def _at_least_fault(value: Any, found: Found) -> str | None:
    if found.order is not None:
        return None if value in found.order else f"the value must be one of {', '.join(found.order)}"
    if "number" not in found.kinds:
        return "the field is neither a number nor an ordered vocabulary"
    return None if _kind(value) == "number" else "the value must be a number"


def _within_fault(value: Any, found: Found) -> str | None:
    if not isinstance(value, dict):
        return 'the value must be {"box":[west,south,east,north]} or {"from":…,"until":…}'
    if value.keys() == {"box"}:
        box = value["box"]
        if not isinstance(box, list) or len(box) != 4 or not all(_kind(edge) == "number" for edge in box):
            return "box must be four numbers: west, south, east, north"
        if not (-180 <= box[0] <= 180 and -180 <= box[2] <= 180 and -90 <= box[1] <= box[3] <= 90):
            return "the box is not on the globe"
        return None if "place" in found.kinds else "the field is not a place"
    if value.keys() == {"from", "until"}:
        try:
            InForce.model_validate(value)
        except ValueError:
            return "from and until must be RFC 3339 instants in UTC, in that order"
        return None if "time" in found.kinds else "the field is not a time"
    return 'the value must be {"box":[west,south,east,north]} or {"from":…,"until":…}'


def _kind(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "string" if isinstance(value, str) else "object"
