"""What the ledger holds and what is signed about it: leaf, sealed parts, acknowledgements, receipts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.base import AgencyId, Digest, Line, Millis, Model, Seconds, Text, UuidV7

Count = Annotated[int, Field(ge=0)]
Number = Annotated[int, Field(ge=1)]


class Leaf(Model):
    """The public line: its exact bytes are hashed into the tree, and it tells a partner nothing about others."""

    v: Literal[1]
    kind: Literal["notice", "registry", "ack", "read"]
    digest: Digest
    outcome: Literal["accepted", "refused"]
    registry: Count = Field(description="How many registry events the decision had seen")
    at: Millis
    sealed: Digest = Field(description="SHA-256 of the sealed line")
    deliveries: Digest = Field(description="Root of the delivery tree")


class Source(Model):
    """Where the judged bytes stand."""

    topic: Line
    partition: Count = 0
    offset: Count


class SealedDelivery(Model):
    recipient: AgencyId
    agreement: Line
    version: Number
    clause: Line
    withheld: list[Line]
    number: Number
    reason: Literal["clause", "recall"]
    slot: Count


class SealedNotice(Model):
    """Of a notice: for its sender and auditors. Of a refused one, only what could be believed is there."""

    seed: Digest
    sender: AgencyId
    jti: UuidV7 | None = None
    type: Line | None = None
    kid: Line | None = None
    reason: Line | None = None
    detail: Text | None = None
    by: Literal["router", "api"]
    source: Source
    deliveries: list[SealedDelivery]


class SealedRegistry(Model):
    """Of a statement: the document, or its text when it could not be read."""

    seed: Digest
    statement: dict[str, Any] | None = None
    raw: str | None = None
    position: Count | None = None
    effective: Millis | None = None
    reason: Line | None = None
    detail: Text | None = None


class StoredDelivery(Model):
    """One delivery that a subscriber has stored durably."""

    sender: AgencyId
    number: Number
    digest: Digest


class SealedAck(Model):
    seed: Digest
    sender: AgencyId
    jti: UuidV7
    kid: Line
    stored: list[StoredDelivery]
    source: Source


class SealedRead(Model):
    """Of an auditor's reading, as the API that served it wrote it down."""

    seed: Digest
    sender: AgencyId
    read: Any
    source: Source


class Acknowledgement(Model):
    """What a subscriber signs (JWS, typ ack+jwt): it has stored these deliveries."""

    iss: AgencyId
    jti: UuidV7
    iat: Seconds
    stored: Annotated[list[StoredDelivery], Field(min_length=1, max_length=1_000)]


class Receipt(Model):
    """What the hub signs (JWS, typ receipt+jwt): it has accepted these bytes durably. The same bytes, the same receipt."""

    iss: Line = Field(description="The hub's origin")
    sub: AgencyId = Field(description="The agency whose notice it is")
    jti: UuidV7 = Field(description="The notice")
    digest: Digest
    iat: Seconds = Field(description="When it was accepted")
