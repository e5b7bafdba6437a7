"""Security: threats. After STIX 2.1, CSAF 2 and the KEV catalogue (cyber); after CAP 1.2 and EDXL (terrorism, military)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.base import (
    Country,
    Data,
    Date,
    Instant,
    Line,
    Model,
    Place,
    Severity,
    Text,
    Url,
    withholdable,
)

Cve = Annotated[
    str,
    StringConstraints(pattern=r"^CVE-[0-9]{4}-[0-9]{4,19}$"),
    Field(title="CVE identifier", examples=["CVE-2025-48384"]),
]
Cwe = Annotated[
    str,
    StringConstraints(pattern=r"^CWE-[0-9]{1,5}$"),
    Field(title="CWE identifier", examples=["CWE-416"]),
]
Cpe = Annotated[
    str,
    StringConstraints(pattern=r"^cpe:2\.3:[aho*-](:([^:\s\\]|\\\S)+){10}$", max_length=500),
    Field(title="CPE 2.3 formatted string", examples=["cpe:2.3:a:git:git:*:*:*:*:*:*:*:*"]),
]
Sector = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z][a-z0-9-]{1,39}$"),
    Field(title="Sector: a lowercase word", examples=["energy", "health", "ports", "finance"]),
]


IndicatorType = Literal[
    "ipv4", "ipv6", "domain", "url", "email", "md5", "sha1", "sha256", "sha512", "file", "asn", "yara", "sigma", "stix",
    "other",
]  # fmt: skip
CyberKind = Literal[
    "vulnerability", "exploitation", "malware", "campaign", "incident", "phishing", "indicators", "advisory", "other"
]
Technique = Annotated[
    str,
    StringConstraints(pattern=r"^(TA[0-9]{4}|T[0-9]{4}(\.[0-9]{3})?)$"),
    Field(title="MITRE ATT&CK technique or tactic", examples=["T1190", "TA0001"]),
]
Urgency = Annotated[
    Literal["unknown", "past", "future", "expected", "immediate"],
    Field(json_schema_extra={"x-order": ["unknown", "past", "future", "expected", "immediate"]}),
]
CapSeverity = Annotated[
    Literal["unknown", "minor", "moderate", "severe", "extreme"],
    Field(json_schema_extra={"x-order": ["unknown", "minor", "moderate", "severe", "extreme"]}),
]
Certainty = Annotated[
    Literal["unknown", "unlikely", "possible", "likely", "observed"],
    Field(json_schema_extra={"x-order": ["unknown", "unlikely", "possible", "likely", "observed"]}),
]


class Product(Model):
    """An affected product; versions in the vendor's own words."""

    vendor: Line | None = Field(default=None, description="Vendor or project", examples=["Microsoft"])
    product: Line = Field(description="Product name", examples=["Windows"])
    cpe: Cpe | None = Field(default=None, description="CPE 2.3 name")
    versions: list[Line] | None = Field(
        default=None, max_length=500, description="Affected versions or ranges", examples=[["< 2.43.7", "2.44.*"]]
    )


class Indicator(Model):
    """An indicator of compromise."""

    type: IndicatorType = Field(description="What the value is; stix: a STIX pattern")
    value: Text = Field(
        description="The indicator itself, not defanged",
        examples=["203.0.113.7", "[domain-name:value = 'example.org']"],
    )
    description: Text | None = Field(default=None, description="What it indicates", examples=["Command and control"])
    first_seen: Instant | None = Field(default=None, description="When it was first seen")
    last_seen: Instant | None = Field(default=None, description="When it was last seen")


class Cyber(Data):
    """A cyber threat: a vulnerability, its exploitation, malware, a campaign, an incident.

    Only kind and title must be there; leave out what is not known.
    """

    kind: CyberKind = Field(description="What the notice is about; a KEV row is an exploitation")
    title: Line = Field(description="One line for people", examples=["Use after free in a GPU driver, exploited"])
    summary: Text | None = Field(
        default=None,
        description="What is known, in prose",
        examples=["A crafted page frees memory that the driver still uses; attackers run code of their own."],
    )
    severity: Severity | None = Field(
        default=None, description="The sender's assessment; conditions route by it, and a notice without it fails them"
    )
    cvss: Annotated[float, Field(ge=0, le=10)] | None = Field(
        default=None, description="CVSS base score, 0 to 10", examples=[9.8]
    )
    sectors: list[Sector] | None = Field(default=None, max_length=50, description="Sectors concerned")
    countries: list[Country] | None = Field(default=None, max_length=300, description="Countries concerned")
    products: list[Product] | None = Field(default=None, max_length=1000, description="Affected products")
    cves: list[Cve] | None = Field(default=None, max_length=2000, description="CVE identifiers")
    cwes: list[Cwe] | None = Field(default=None, max_length=200, description="Weakness classes; empty when unassigned")
    exploited: bool | None = Field(default=None, description="Whether exploitation has been seen")
    ransomware: Literal["known", "unknown"] | None = Field(
        default=None, description="Known use in ransomware campaigns; unknown: none is known"
    )
    techniques: list[Technique] | None = Field(
        default=None, max_length=500, description="MITRE ATT&CK techniques or tactics", examples=[["T1190"]]
    )
    indicators: list[Indicator] | None = Field(default=None, max_length=5000, description="Indicators of compromise")
    actions: list[Text] | None = Field(
        default=None,
        max_length=100,
        description="Advised actions, most urgent first",
        examples=[["Apply the vendor's update, or stop using the product."]],
    )
    date_added: Date | None = Field(default=None, description="When the source catalogued it")
    due_date: Date | None = Field(default=None, description="By when the actions are due")
    references: list[Url] | None = Field(default=None, max_length=500, description="Public references")
    external_ids: list[Line] | None = Field(
        default=None,
        max_length=100,
        description="Identifiers at the source, such as a STIX id or an advisory's number",
        examples=[["indicator--0b8a2f1c-6a52-4f8e-9d7e-3c5a1e0f2b4d", "RHSA-2026:1234"]],
    )
    source_detail: Text | None = withholdable(
        "How and where the sender learnt of it",
        examples=["Reported in confidence by the operator of a sensor network."],
    )


class _Alert(Data):
    """Common to alerts after CAP 1.2."""

    category: str = Field(description="Kind of threat", examples=["other"])
    headline: Line = Field(description="One line for people", examples=["Drone sightings near a container terminal"])
    description: Text | None = Field(
        default=None, description="What is known, in prose", examples=["Three drones circled the quay for ten minutes."]
    )
    urgency: Urgency = Field(description="CAP urgency")
    severity: CapSeverity = Field(description="CAP severity")
    certainty: Certainty = Field(description="CAP certainty")
    locations: list[Place] | None = Field(default=None, max_length=200, description="Where")
    countries: list[Country] | None = Field(default=None, max_length=300, description="Countries concerned")
    from_: Instant | None = Field(default=None, alias="from", description="From when")
    until: Instant | None = Field(default=None, description="Until when")
    advice: Text | None = Field(
        default=None, description="What recipients should do", examples=["Report sightings to the port authority."]
    )
    references: list[Url] | None = Field(default=None, max_length=100, description="Public references")
    source_detail: Text | None = withholdable(
        "How and where the sender learnt of it",
        examples=["Reported in confidence by the operator of a sensor network."],
    )
    collection_method: Text | None = withholdable(
        "How the information was collected", examples=["Radar, confirmed by two observers"]
    )


class Terrorism(_Alert):
    """A terrorist threat or event."""

    category: Literal[
        "attack", "plot", "explosive", "firearms", "cbrn", "drone", "financing", "travel", "radicalisation", "other"
    ] = Field(description="Kind of threat")


class Military(_Alert):
    """A military threat or activity."""

    category: Literal[
        "airspace", "maritime", "land", "missile", "electronic-warfare", "sabotage", "mobilisation", "hybrid", "other"
    ] = Field(description="Kind of threat")
