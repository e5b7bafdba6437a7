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
Basis = Literal["tbt", "sps", "customs", "export-restriction", "import-restriction", "quota", "tariff", "other"]
Objective = Literal[
    "health", "safety", "environment", "food-safety", "animal-health", "plant-protection", "security", "consumer",
    "quality", "other",
]  # fmt: skip
FoundBy = Literal[
    "official-control", "border-control", "own-check", "consumer-complaint", "food-poisoning", "market-surveillance",
    "monitoring", "other",
]  # fmt: skip
Classification = Literal[
    "alert", "information-attention", "information-follow-up", "border-rejection", "news", "recall", "other"
]
Risk = Annotated[
    Literal["none", "low", "medium", "serious"],
    Field(json_schema_extra={"x-order": ["none", "low", "medium", "serious"]}),
]


class Measure(Data):
    """A technical regulation, conformity procedure or sanitary measure that a country notifies."""

    title: Line = Field(description="Title of the measure", examples=["Maximum levels of cadmium in rice"])
    notifying: Country = Field(description="Notifying country")
    body: Line | None = Field(default=None, description="Agency responsible", examples=["Ministry of Health"])
    basis: Basis = Field(description="What kind of measure, after the agreement it is notified under")
    symbol: Line | None = Field(default=None, description="Document symbol", examples=["G/SPS/N/JPN/1234"])
    hs_codes: list[HsCode] | None = Field(default=None, max_length=500, description="Products covered, HS")
    ics_codes: list[IcsCode] | None = Field(default=None, max_length=100, description="Products covered, ICS")
    products: Text | None = Field(
        default=None, description="Products covered, in words", examples=["Rice, husked or milled"]
    )
    countries: list[Country] | None = Field(
        default=None, max_length=300, description="Countries affected; absent: all partners"
    )
    objective: Objective | None = Field(default=None, description="Objective and rationale")
    description: Text | None = Field(
        default=None, description="Content of the measure", examples=["Sets a limit of 0.2 mg/kg for polished rice."]
    )
    urgent: bool | None = Field(default=None, description="Notified under the urgency procedure")
    adoption: Date | None = Field(default=None, description="Proposed date of adoption")
    in_force: Date | None = Field(default=None, description="Proposed date of entry into force")
    comments_until: Date | None = Field(default=None, description="Final date for comments")
    documents: list[Url] | None = Field(default=None, max_length=100, description="Full texts")


class Hazard(Model):
    """What is wrong with a product. One entry per hazard; a source that has one text for all gives one entry."""

    name: Line = Field(description="Hazard, in the source's words", examples=["Salmonella Enteritidis", "Choking"])
    category: Line | None = Field(
        default=None, description="Hazard category, in the source's words", examples=["pathogenic micro-organisms"]
    )
    result: Line | None = Field(
        default=None, description="Analytical result with unit", examples=["presence /25g", "12,4 µg/kg - ppb"]
    )
    limit: Line | None = Field(
        default=None, description="Maximum permitted level with unit", examples=["absence /25g", "4 µg/kg - ppb"]
    )


class Trader(Model):
    """A business in the chain."""

    name: Line = Field(description="Name of the business", examples=["Example Foods GmbH"])
    role: Literal["producer", "exporter", "importer", "distributor", "dispatcher", "retailer", "other"] | None = Field(
        default=None, description="Its part in the chain"
    )
    country: Country | None = Field(default=None, description="Where it is established")
    address: Text | None = Field(default=None, description="Postal address", examples=["Hafenstr. 1, 20457 Hamburg"])


class ProductAlert(Data):
    """A food, feed or product safety alert. Only reference, risk and product must be there; leave out what is not known."""

    reference: Line = Field(description="Reference at the source", examples=["2026.1234", "SR/00123/26"])
    title: Line | None = Field(
        default=None,
        description="Subject, in the source's words and language",
        examples=["Salmonella in sesame seeds from Nigeria", "Salmonellen in Sesam aus Nigeria"],
    )
    basis: FoundBy | None = Field(
        default=None, description="What led to the alert; `other` for a basis that is none of these"
    )
    classification: Classification | None = Field(
        default=None, description="Kind of notification; `other` for a kind that is none of these"
    )
    risk: Risk = Field(
        description="Risk decision; conditions route by it. serious: serious. medium: potentially serious, potential, "
        "high or medium, undecided or not stated. low: not serious, low. none: no risk. The source's own words go into "
        "risk_detail",
    )
    risk_detail: Line | None = Field(
        default=None, description="Risk decision in the source's words", examples=["potentially serious", "undecided"]
    )
    hazards: list[Hazard] | None = Field(
        default=None, max_length=200, description="Hazards found", examples=[[{"name": "Salmonella Enteritidis"}]]
    )
    product: Line = Field(
        description="Product name, any language; the subject where the source names no product",
        examples=["冷凍枝豆", "Sesame seeds", "Plüschhase „Hoppel“"],
    )
    category: Line | None = Field(
        default=None,
        description="Product category in the source's words",
        examples=["nuts, nut products and seeds", "Toys"],
    )
    brand: Line | None = Field(default=None, description="Brand", examples=["Example Farm"])
    description: Text | None = Field(
        default=None,
        description="What else is known, in prose; also what the source names that has no field or code here",
        examples=["Sold in 500 g bags. For attention: INFOSAN."],
    )
    lots: list[Line] | None = Field(
        default=None, max_length=500, description="Batches, barcodes, models", examples=[["L2026-031", "4006381333931"]]
    )
    hs_codes: list[HsCode] | None = Field(default=None, max_length=100, description="HS codes")
    notifying: Country | None = Field(default=None, description="Notifying country")
    origin: list[Country] | None = Field(
        default=None, max_length=300, description="Countries of origin; absent when unknown", examples=[["XK", "RS"]]
    )
    distribution: list[Country] | None = Field(
        default=None, max_length=300, description="Countries it was distributed to", examples=[["AT", "NL"]]
    )
    for_attention: list[Country] | None = Field(
        default=None, max_length=300, description="Countries asked to take note"
    )
    for_follow_up: list[Country] | None = Field(default=None, max_length=300, description="Countries asked to act")
    measures: list[Text] | None = Field(
        default=None, max_length=100, description="Measures taken", examples=[["withdrawal from the market"]]
    )
    notified: Date | Instant | None = Field(
        default=None, description="When the source notified it: a day or an instant"
    )
    references: list[Url] | None = Field(default=None, max_length=100, description="Public references")
    traders: list[Trader] | None = withholdable(
        "Businesses in the chain", max_length=500, examples=[[{"name": "Example Foods GmbH", "role": "importer"}]]
    )
