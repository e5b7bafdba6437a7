"""Investment: opportunities, and screening of foreign direct investment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.base import Country, Currency, Data, Date, Line, Model, Text, Url, withholdable

Sector = Literal[
    "agriculture", "construction", "defense", "education", "energy", "finance", "health", "ict", "logistics", "manufacturing",
    "mining", "ports", "semiconductors", "services", "space", "telecommunications", "transport", "water", "other",
]  # fmt: skip


class Money(Model):
    """An amount in a currency (ISO 4217)."""

    amount: Annotated[float, Field(ge=0)] = Field(description="Amount, in units of the currency", examples=[120000000])
    currency: Currency = Field(description="Currency")


class Party(Model):
    """A party to a transaction."""

    name: Line = Field(description="Name of the party", examples=["Example Capital SA"])
    role: Literal["investor", "target", "seller", "sponsor", "adviser", "ultimate-owner", "other"] | None = Field(
        default=None, description="Its part in the transaction"
    )
    country: Country | None = Field(default=None, description="Where it is established")


class Opportunity(Data):
    """An investment that partners are invited to."""

    title: Line = Field(description="One line for people", examples=["Grid-scale storage, two sites"])
    sector: Sector = Field(description="Sector")
    country: Country = Field(description="Where")
    instrument: Literal["equity", "debt", "ppp", "concession", "grant", "guarantee", "fund", "other"] = Field(
        description="Form of investment"
    )
    size: Money | None = Field(default=None, description="Size")
    stage: Literal["concept", "feasibility", "tender", "financing", "construction", "operation"] = Field(
        description="Stage",
        json_schema_extra={"x-order": ["concept", "feasibility", "tender", "financing", "construction", "operation"]},
    )
    deadline: Date | None = Field(default=None, description="Expressions of interest until")
    description: Text | None = Field(
        default=None,
        description="What else is known, in prose",
        examples=["Batteries of 200 MWh beside existing substations."],
    )
    documents: list[Url] | None = Field(default=None, max_length=100, description="Prospectus, tender documents")
    parties: list[Party] | None = withholdable("Sponsors and bidders", max_length=200)


class Screening(Data):
    """A foreign investment under screening, shared so that partners can comment."""

    title: Line = Field(
        description="One line for people, without naming the parties", examples=["Stake in a wafer inspection maker"]
    )
    sector: Sector = Field(description="Sector of the target")
    country: Country = Field(description="Country of the target")
    investor_countries: list[Country] = Field(
        min_length=1, max_length=50, description="Countries of the investors, direct and ultimate"
    )
    instrument: Literal[
        "acquisition", "merger", "joint-venture", "greenfield", "minority-stake", "asset-purchase", "other"
    ] = Field(description="Form of investment")
    stake: Annotated[float, Field(gt=0, le=100)] | None = Field(
        default=None, description="Stake, per cent", examples=[24.9]
    )
    size: Money | None = Field(default=None, description="Value of the transaction")
    stage: Literal["notified", "phase-1", "phase-2", "cleared", "conditions", "prohibited", "withdrawn"] = Field(
        description="Stage of the procedure"
    )
    risks: (
        list[
            Literal[
                "critical-infrastructure", "critical-technology", "supply", "personal-data", "media", "defense", "other"
            ]
        ]
        | None
    ) = Field(default=None, max_length=7, description="Risks under consideration")
    comments_until: Date | None = Field(default=None, description="Comments of partners until")
    description: Text | None = Field(
        default=None,
        description="What else is known, in prose",
        examples=["The investor would appoint one of five directors."],
    )
    parties: list[Party] | None = withholdable("Investor, target and owners by name", max_length=200)
