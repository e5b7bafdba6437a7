"""Technology: changes of export-control lists."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.base import Country, Data, Date, HsCode, Line, Model, Text, Url


class Item(Model):
    """One controlled item."""

    code: Line = Field(description="Code on the list", examples=["3B001", "ML10"])
    description: Line | None = Field(
        default=None, description="Item, in the words of the list", examples=["Equipment for epitaxial growth"]
    )
    hs_codes: list[HsCode] | None = Field(default=None, max_length=100, description="HS codes it may be declared under")


class Control(Data):
    """A change of an export-control list."""

    title: Line = Field(description="One line for people", examples=["Lithography equipment added"])
    list_: Literal[
        "dual-use", "munitions", "nuclear", "missile", "chemical-biological", "national", "sanctions", "other"
    ] = Field(alias="list", description="Which list")
    country: Country = Field(description="Whose list")
    change: Literal["added", "removed", "amended", "licence-required", "licence-lifted", "denied"] = Field(
        description="What changes"
    )
    items: list[Item] = Field(min_length=1, max_length=500, description="Items concerned")
    destinations: list[Country] | None = Field(
        default=None, max_length=300, description="Destinations concerned; absent: all"
    )
    basis: Line | None = Field(default=None, description="Legal basis", examples=["Order No. 12 of 2026"])
    in_force: Date | None = Field(default=None, description="In force from")
    description: Text | None = Field(
        default=None,
        description="What else is known, in prose",
        examples=["A licence is needed for all destinations outside the annex."],
    )
    documents: list[Url] | None = Field(default=None, max_length=100, description="Full texts")
