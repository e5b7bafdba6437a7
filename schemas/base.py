"""The shared vocabulary: strict models, patterns of public code lists, and how a field says that it may be withheld.

Patterns say [0-9], never \\d: to the engine behind pydantic, \\d is a digit of any script; to JSON Schema it is not.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints


class Model(BaseModel):
    """Strict and closed: no coercion, no unknown member."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Data(Model):
    """What a notice is about: the base of every type's `data`. Withholdable fields are always optional."""


def withholdable(description: str, **more: Any) -> Any:
    """A field that a clause may withhold: it is signed as a salted digest, and a redacted notice is valid without it."""
    return Field(default=None, description=description, json_schema_extra={"x-withholdable": True}, **more)


def _on_the_calendar(text: str) -> str:
    """The text itself, not a datetime, so that what is read is written back byte for byte. No 30 February, no leap second."""
    datetime.fromisoformat(text)
    return text


AgencyId = Annotated[
    str,
    StringConstraints(pattern=r"^[a-z]{2}-[a-z0-9-]{2,40}$"),
    Field(title="Agency id: ISO 3166-1 alpha-2, then a short name", examples=["us-cisa"]),
]
UuidV7 = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$"),
    Field(title="UUID version 7, RFC 9562", examples=["01980c7e-4a00-7000-8000-000000000001"]),
]
Digest = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9_-]{43}$"),
    Field(title="SHA-256, base64url without padding", examples=["47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"]),
]
Instant = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?Z$"),
    AfterValidator(_on_the_calendar),
    Field(
        title="RFC 3339 instant in UTC, ending in Z",
        examples=["2026-03-01T12:00:00Z"],
        json_schema_extra={"format": "date-time"},
    ),
]
Date = Annotated[
    str,
    StringConstraints(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"),
    AfterValidator(_on_the_calendar),
    Field(title="calendar date, ISO 8601", examples=["2026-03-01"], json_schema_extra={"format": "date"}),
]
# Lengths in characters, generous to feeds in the wild: the envelope as a whole is capped in bytes anyway.
Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=2_000)]
Url = Annotated[
    str,
    StringConstraints(pattern=r"^https?://[^\s<>\"]+$", max_length=2_000),
    Field(title="Web address", examples=["https://example.org/advisory"], json_schema_extra={"format": "uri"}),
]
Country = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Z]{2}$"),
    Field(title="ISO 3166-1 alpha-2, or a user-assigned code such as XK", examples=["DE"]),
]
Currency = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Z]{3}$"),
    Field(title="ISO 4217", examples=["EUR"]),
]
HsCode = Annotated[
    str,
    StringConstraints(pattern=r"^([0-9]{2}){1,5}$"),
    Field(title="Harmonized System code, 2 to 10 digits", examples=["854231"]),
]
Millis = Annotated[
    int, Field(ge=0, le=253_402_300_799_999, title="Milliseconds since the epoch", examples=[1772366400000])
]
Seconds = Annotated[
    int, Field(ge=0, le=253_402_300_799, title="Seconds since the epoch (NumericDate)", examples=[1772366400])
]
Tlp = Literal["TLP:CLEAR", "TLP:GREEN", "TLP:AMBER", "TLP:AMBER+STRICT", "TLP:RED"]
Severity = Annotated[
    Literal["low", "medium", "high", "critical"],
    Field(json_schema_extra={"x-order": ["low", "medium", "high", "critical"]}),
]


class Place(Model):
    """A point, WGS 84 degrees, with a name and a country; any of them may be absent."""

    lat: Annotated[float, Field(ge=-90, le=90)] | None = Field(
        default=None, description="Latitude, degrees north", examples=[51.95]
    )
    lon: Annotated[float, Field(ge=-180, le=180)] | None = Field(
        default=None, description="Longitude, degrees east", examples=[4.05]
    )
    name: Line | None = Field(default=None, description="Name of the place", examples=["Maasvlakte"])
    country: Country | None = Field(default=None, description="Country it lies in")
