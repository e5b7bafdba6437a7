"""Defense: exercises, and offers and requests of resources after EDXL-RM."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Country, Data, Instant, Line, Place, Text, withholdable


class Exercise(Data):
    """A planned or running exercise."""

    name: Line = Field(description="Name of the exercise", examples=["Northern Anchor 26"])
    kind: Literal["live", "command-post", "tabletop", "cyber", "search-and-rescue", "other"] = Field(
        description="Kind of exercise"
    )
    domain: Literal["land", "maritime", "air", "cyber", "space", "joint"] | None = Field(
        default=None, description="Domain"
    )
    status: Literal["planned", "running", "changed", "cancelled", "ended"] = Field(description="State of the exercise")
    participants: list[Country] | None = Field(default=None, max_length=200, description="Participating countries")
    strength: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="Approximate personnel", examples=[4500]
    )
    from_: Instant = Field(alias="from", description="When it starts")
    until: Instant = Field(description="When it ends")
    area: list[Place] | None = Field(default=None, max_length=200, description="Where")
    restrictions: Text | None = Field(
        default=None,
        description="Airspace, sea lane and spectrum restrictions for others",
        examples=["Area D123 closed below FL100 from 06:00 to 18:00 UTC daily."],
    )
    description: Text | None = Field(
        default=None, description="What else is known, in prose", examples=["Air defense and convoy protection."]
    )
    order_of_battle: Text | None = withholdable(
        "Units and equipment taking part", examples=["Two frigates, one tanker aircraft"]
    )


class Resource(Data):
    """An offer of, or a request for, a resource."""

    direction: Literal["offer", "request"] = Field(description="Offer or request")
    kind: Literal[
        "personnel", "equipment", "supplies", "transport", "facility", "medical", "engineering", "information", "other"
    ] = Field(description="Kind of resource")
    title: Line = Field(description="One line for people", examples=["Two mobile water purification units"])
    quantity: Annotated[float, Field(gt=0)] = Field(description="How many or how much", examples=[2, 12.5])
    unit: Line | None = Field(default=None, description="Unit of the quantity", examples=["units", "t", "persons"])
    priority: Literal["routine", "priority", "immediate", "flash"] = Field(
        default="routine",
        description="Precedence",
        json_schema_extra={"x-order": ["routine", "priority", "immediate", "flash"]},
    )
    location: Place | None = Field(default=None, description="Where it is, or is needed")
    from_: Instant | None = Field(default=None, alias="from", description="Available or needed from")
    until: Instant | None = Field(default=None, description="Available or needed until")
    description: Text | None = Field(
        default=None,
        description="What else is known, in prose",
        examples=["Trailer-mounted, 5 m³ an hour each, with a crew of two."],
    )
    terms: Text | None = withholdable(
        "Terms of lending, reimbursement, caveats", examples=["Free of charge for 60 days"]
    )
