"""Trade: measures after the WTO TBT/SPS notification forms, product alerts after RASFF and Safety Gate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import Country, Data, Date, HsCode, Instant, Line, Model, Text, Url, withholdable

IcsCode = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{2}(\.[0-9]{3}(\.[0-9]{2})?)?$"),
    Field(title="International Classification for Standards", examples=["67.040"]),
]


class Measure(Data):
    """A technical regulation, conformity procedure or sanitary measure that a country notifies."""

    title: Line = Field(description="Title of the measure", examples=["Maximum levels of cadmium in rice"])
    notifying: Country = Field(description="Notifying country")
    body: Line | None = Field(default=None, description="Agency responsible")
    basis: Literal["tbt", "sps", "customs", "export-restriction", "import-restriction", "quota", "tariff", "other"] = (
        Field(description="What kind of measure, after the agreement it is notified under")
    )
    symbol: Line | None = Field(default=None, description="Document symbol", examples=["G/SPS/N/JPN/1234"])
    hs_codes: list[HsCode] | None = Field(default=None, max_length=500, description="Products covered, HS")
    ics_codes: list[IcsCode] | None = Field(default=None, max_length=100, description="Products covered, ICS")
    products: Text | None = Field(default=None, description="Products covered, in words")
    countries: list[Country] | None = Field(
        default=None, max_length=300, description="Countries affected; absent: all partners"
    )
    objective: (
        Literal[
            "health",
            "safety",
            "environment",
            "food-safety",
            "animal-health",
            "plant-protection",
            "security",
            "consumer",
            "quality",
            "other",
        ]
        | None
    ) = Field(default=None, description="Objective and rationale")
    description: Text | None = Field(default=None, description="Content of the measure")
    urgent: bool | None = Field(default=None, description="Notified under the urgency procedure")
    adoption: Date | None = Field(default=None, description="Proposed date of adoption")
    in_force: Date | None = Field(default=None, description="Proposed date of entry into force")
    comments_until: Date | None = Field(default=None, description="Final date for comments")
    documents: list[Url] | None = Field(default=None, max_length=100, description="Full texts")


class Hazard(Model):
    """What is wrong with a product."""

    name: Line = Field(description="Hazard, in the source's words", examples=["Salmonella Enteritidis"])
    category: Line | None = Field(default=None, description="Hazard category", examples=["pathogenic micro-organisms"])
    result: Line | None = Field(default=None, description="Analytical result with unit", examples=["presence /25g"])
    limit: Line | None = Field(default=None, description="Maximum permitted level with unit")


class Trader(Model):
    """A business in the chain."""

    name: Line
    role: Literal["producer", "exporter", "importer", "distributor", "dispatcher", "retailer", "other"] | None = None
    country: Country | None = None
    address: Text | None = None


class ProductAlert(Data):
    """A food, feed or product safety alert."""

    reference: Line = Field(description="Reference at the source", examples=["2026.1234", "A12/00123/26"])
    title: Line | None = Field(default=None, description="Subject, in the source's words and language")
    basis: (
        Literal[
            "official-control",
            "border-control",
            "own-check",
            "consumer-complaint",
            "food-poisoning",
            "market-surveillance",
            "monitoring",
            "other",
        ]
        | None
    ) = Field(default=None, description="What led to the alert")
    classification: (
        Literal[
            "alert", "information-attention", "information-follow-up", "border-rejection", "news", "recall", "other"
        ]
        | None
    ) = Field(default=None, description="Kind of notification")
    risk: Literal["none", "low", "medium", "serious"] = Field(
        description="Risk decision; `medium` also stands for potentially serious or undecided",
        json_schema_extra={"x-order": ["none", "low", "medium", "serious"]},
    )
    risk_detail: Line | None = Field(
        default=None, description="Risk decision in the source's words", examples=["potentially serious"]
    )
    hazards: list[Hazard] | None = Field(default=None, max_length=200, description="Hazards found")
    product: Line = Field(description="Product name, any language", examples=["冷凍枝豆", "Sesame seeds"])
    category: Line | None = Field(
        default=None, description="Product category in the source's words", examples=["nuts, nut products and seeds"]
    )
    brand: Line | None = None
    description: Text | None = None
    lots: list[Line] | None = Field(default=None, max_length=500, description="Batches, barcodes, models")
    hs_codes: list[HsCode] | None = Field(default=None, max_length=100, description="HS codes")
    notifying: Country | None = Field(default=None, description="Notifying country")
    origin: list[Country] | None = Field(default=None, max_length=300, description="Countries of origin")
    distribution: list[Country] | None = Field(
        default=None, max_length=300, description="Countries it was distributed to"
    )
    for_attention: list[Country] | None = Field(
        default=None, max_length=300, description="Countries asked to take note"
    )
    for_follow_up: list[Country] | None = Field(default=None, max_length=300, description="Countries asked to act")
    measures: list[Text] | None = Field(default=None, max_length=100, description="Measures taken")
    notified: Date | Instant | None = Field(default=None, description="When the source notified it")
    references: list[Url] | None = Field(default=None, max_length=100, description="Public references")
    traders: list[Trader] | None = withholdable("Businesses in the chain", max_length=500)
