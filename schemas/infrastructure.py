"""Infrastructure: disruptions after REMIT UMM, DATEX II and S-124, and projects."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import Country, Data, Instant, Line, Place, Text, Url, withholdable

Locode = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Z]{2}[A-Z2-9]{3}$"),
    Field(title="UN/LOCODE", examples=["NLRTM"]),
]
Eic = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9A-Z-]{16}$"),
    Field(title="Energy Identification Code", examples=["10YNL----------L"]),
]
Asset = Literal[
    "port",
    "airport",
    "road",
    "rail",
    "waterway",
    "border-crossing",
    "electricity",
    "gas",
    "oil",
    "hydrogen",
    "water",
    "telecom",
    "submarine-cable",
    "satellite",
    "other",
]


class Disruption(Data):
    """Something that does not work as it should, or will not."""

    asset: Asset = Field(description="Kind of asset")
    name: Line = Field(description="Name of the asset", examples=["Maasvlakte II container terminal"])
    country: Country = Field(description="Where")
    locode: Locode | None = Field(default=None, description="UN/LOCODE of a port, airport or crossing")
    eic: Eic | None = Field(default=None, description="EIC of an energy asset")
    road: Line | None = Field(default=None, description="Road or line number", examples=["A13", "E40"])
    location: Place | None = Field(default=None, description="Where exactly")
    status: Literal["planned", "active", "changed", "ended", "dismissed"] = Field(description="State of the disruption")
    severity: Literal["minor", "moderate", "severe", "closed"] = Field(
        description="How bad", json_schema_extra={"x-order": ["minor", "moderate", "severe", "closed"]}
    )
    available: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Capacity that is left", examples=[0, 450]
    )
    installed: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Capacity installed", examples=[900]
    )
    unit: Line | None = Field(
        default=None, description="Unit of the capacities", examples=["MW", "GWh/d", "TEU/d", "lanes"]
    )
    from_: Instant = Field(alias="from", description="From when")
    until: Instant | None = Field(default=None, description="Until when, as far as known")
    description: Text | None = Field(
        default=None, description="What else is known, in prose", examples=["Quay cranes 3 to 7 are out of service."]
    )
    advice: Text | None = Field(
        default=None, description="Diversions and advice", examples=["Feeder ships are diverted to Antwerp."]
    )
    references: list[Url] | None = Field(default=None, max_length=100, description="Public references")
    cause: Text | None = withholdable("Cause, as far as known", examples=["Damage to the high-voltage supply"])


class Project(Data):
    """A planned or running infrastructure project."""

    asset: Asset = Field(description="Kind of asset")
    name: Line = Field(description="Name of the project", examples=["North Sea interconnector 2"])
    countries: list[Country] = Field(min_length=1, max_length=50, description="Where")
    locode: Locode | None = Field(default=None, description="UN/LOCODE")
    eic: Eic | None = Field(default=None, description="EIC of an energy asset")
    capacity: Annotated[float, Field(ge=0)] | None = Field(
        default=None, description="Capacity when finished", examples=[1400]
    )
    unit: Line | None = Field(default=None, description="Unit of the capacity", examples=["MW"])
    stage: Literal["planned", "permitting", "construction", "commissioning", "operation", "cancelled"] = Field(
        description="Stage"
    )
    from_: Instant | None = Field(default=None, alias="from", description="Start of works")
    until: Instant | None = Field(default=None, description="Expected completion")
    description: Text | None = Field(
        default=None, description="What else is known, in prose", examples=["A direct current cable of 200 km."]
    )
    references: list[Url] | None = Field(default=None, max_length=100, description="Public references")
    contractors: list[Line] | None = withholdable(
        "Contractors and suppliers", max_length=200, examples=[["Example Cables AS"]]
    )
