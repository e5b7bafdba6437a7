"""What the ledger holds and what is signed about it: leaf, sealed parts, acknowledgements, receipts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.base import AgencyId, Digest, Line, Millis, Model, Seconds, Text, UuidV7

Count = Annotated[int, Field(ge=0, examples=[17])]
Number = Annotated[int, Field(ge=1, examples=[1])]
Seed = Annotated[Digest, Field(title="32 random bytes, base64url", description="From which slots and salts are drawn")]


class Leaf(Model):
    """The public line: its exact bytes are hashed into the tree, and it tells a partner nothing about others."""

    v: Literal[1] = Field(description="Version of this format")
    kind: Literal["notice", "registry", "ack", "read"] = Field(description="What the entry is about")
    digest: Digest = Field(description="SHA-256 of what was judged; of a notice, over its JWS")
    outcome: Literal["accepted", "refused"] = Field(description="What became of it")
    registry: Count = Field(description="How many registry events the decision had seen")
    at: Millis = Field(description="When it was judged")
    sealed: Digest = Field(description="SHA-256 of the sealed line")
    deliveries: Digest = Field(description="Root of the delivery tree")


class Source(Model):
    """Where the judged bytes stand."""

    topic: Line = Field(description="Topic", examples=["comity.notices.us-cisa"])
    partition: Count = Field(default=0, description="Partition of the topic")
    offset: Count = Field(description="Offset in it")


class SealedDelivery(Model):
    """One delivery: to whom, under which clause, without which fields, and where it stands in the delivery tree."""

    recipient: AgencyId = Field(description="Who received it")
    agreement: Line = Field(description="Id of the agreement that grants it", examples=["alpine-security"])
    version: Number = Field(description="Version of the agreement")
    clause: Line = Field(description="Id of the clause that grants it", examples=["c1"])
    withheld: list[Line] = Field(description="Fields that were taken out, sorted", examples=[["source_detail"]])
    number: Number = Field(description="Number of the delivery, per sender and recipient, without gaps")
    reason: Literal["clause", "recall"] = Field(
        description="clause: the clause grants it; recall: it cancels a notice that the agency had received"
    )
    slot: Count = Field(description="Its leaf in the delivery tree")


class SealedNotice(Model):
    """Of a notice: for its sender and auditors. Of a refused one, only what could be believed is there."""

    seed: Seed
    sender: AgencyId = Field(description="Who posted it")
    jti: UuidV7 | None = Field(default=None, description="Id of the notice")
    type: Line | None = Field(default=None, description="Its type", examples=["threat.cyber.v1"])
    kid: Line | None = Field(default=None, description="The key that signed it", examples=["us-cisa/2026-1"])
    reason: Line | None = Field(default=None, description="Why it was refused, a stable code", examples=["schema"])
    detail: Text | None = Field(
        default=None, description="Why it was refused, for people", examples=["data.title: is required"]
    )
    by: Literal["router", "api"] = Field(description="Who judged it")
    source: Source = Field(description="Where the judged bytes stand")
    deliveries: list[SealedDelivery] = Field(description="What was delivered, sorted by recipient")


class SealedRegistry(Model):
    """Of a statement: the document, or its text when it could not be read."""

    seed: Seed
    statement: dict[str, Any] | None = Field(default=None, description="The signed document", examples=[{}])
    raw: str | None = Field(default=None, description="Its text, when it could not be read", examples=["{"])
    position: Count | None = Field(default=None, description="Its place among the accepted statements")
    effective: Millis | None = Field(default=None, description="When it takes effect")
    reason: Line | None = Field(default=None, description="Why it was refused, a stable code", examples=["not-signed"])
    detail: Text | None = Field(
        default=None, description="Why it was refused, for people", examples=["a signature of de-bsi is missing"]
    )


class StoredDelivery(Model):
    """One delivery that a subscriber has stored durably."""

    sender: AgencyId = Field(description="Whose notice it is")
    number: Number = Field(description="Number of the delivery")
    digest: Digest = Field(description="Digest of the notice")


class SealedAck(Model):
    """Of an acknowledgement: for its sender and auditors."""

    seed: Seed
    sender: AgencyId = Field(description="Who acknowledges")
    jti: UuidV7 = Field(description="Id of the acknowledgement")
    kid: Line = Field(description="The key that signed it", examples=["us-cisa/2026-1"])
    stored: list[StoredDelivery] = Field(description="What it has stored")
    source: Source = Field(description="Where the judged bytes stand")


class SealedRead(Model):
    """Of an auditor's reading, as the API that served it wrote it down."""

    seed: Seed
    sender: AgencyId = Field(description="The auditor")
    read: Any = Field(description="What was asked for", examples=[{"after": -1, "limit": 500}])
    source: Source = Field(description="Where the request stands")


class Acknowledgement(Model):
    """What a subscriber signs (JWS, typ ack+jwt): it has stored these deliveries."""

    iss: AgencyId = Field(description="Who acknowledges")
    jti: UuidV7 = Field(description="Id of the acknowledgement")
    iat: Seconds = Field(description="When it was signed")
    stored: Annotated[list[StoredDelivery], Field(min_length=1, max_length=1_000)] = Field(
        description="The deliveries that are stored durably"
    )


class Receipt(Model):
    """What the hub signs (JWS, typ receipt+jwt): it has accepted these bytes durably. The same bytes, the same receipt."""

    iss: Line = Field(description="The hub's origin", examples=["hub.example.org/comity"])
    sub: AgencyId = Field(description="The agency whose notice it is")
    jti: UuidV7 = Field(description="The notice")
    digest: Digest = Field(description="Digest of the notice")
    iat: Seconds = Field(description="When it was accepted")
