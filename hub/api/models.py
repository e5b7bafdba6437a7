"""The shapes of the answers, for the interface's description. Routes write them directly; tests hold the two
together.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Ms = Annotated[int, Field(description="Milliseconds since the epoch, UTC.")]
Base64Url = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]*$", description="base64url without padding.")]


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Problem(BaseModel):
    """RFC 9457 problem details; the codes are listed in docs/problems.md."""

    type: Annotated[str, Field(pattern=r"^urn:comity:problem:[a-z_-]+$")]
    title: str
    status: int
    detail: Annotated[str, Field(description="What, where, and what to do.")]
    code: str


class Token(Answer):
    access_token: str
    token_type: Literal["Bearer"]
    expires_in: Annotated[int, Field(description="Seconds.")]


class Accepted(Answer):
    """The notice is durable. `receipt` is a JWS of the hub (`typ` receipt+jwt); the same bytes get the same answer."""

    iss: str
    jti: str
    digest: Base64Url
    receipt: str


class LedgerEntry(Answer):
    index: Annotated[int, Field(ge=0)]
    leaf: Annotated[str, Field(description="The leaf's exact JSON text: what is hashed into the tree.")]
    sealed: Annotated[
        str | None,
        Field(description="The sealed part's JSON text; null when it was erased or is not the caller's to see."),
    ]


class DeliveryStatus(Answer):
    recipient: str
    agreement: str
    version: int
    clause: str
    withheld: list[str]
    number: int
    reason: Literal["clause", "recall"]
    acknowledged: Ms | None


class NoticeStatus(Answer):
    """A recipient sees its own delivery and no reason, detail or sealed part."""

    iss: str
    jti: str
    digest: Base64Url
    status: Literal["pending", "accepted", "refused"]
    reason: str | None
    detail: str | None
    ledger: LedgerEntry | None
    deliveries: list[DeliveryStatus]


class Grant(Answer):
    recipient: str
    agreement: str
    version: int
    clause: str
    withheld: list[str]
    reason: Literal["clause", "recall"]


class Reason(Answer):
    agreement: str | None
    version: int | None
    clause: str | None
    code: str
    detail: str


class Explanation(Answer):
    agency: str
    granted: Grant | None
    reasons: list[Reason]
    registry: Annotated[int, Field(description="How many registry events the decision had seen.")]
    at: Ms


class Denied(Answer):
    agency: str
    reasons: list[Reason]


class Preview(Answer):
    grants: list[Grant]
    denied: list[Denied]
    registry: int
    at: Ms


class Delivery(Answer):
    offset: int
    notice: Annotated[str, Field(description="SD-JWT compact, without the disclosures that the clause withholds.")]
    headers: dict[str, str]


class DeliveryPage(Answer):
    deliveries: list[Delivery]
    next: Annotated[int, Field(description="The `after` of the next request.")]


class Acknowledged(Answer):
    digest: Base64Url


class AgencyKey(Answer):
    kid: str
    alg: Literal["Ed25519"]
    x: Base64Url
    not_before: Ms
    not_after: Ms
    revoked: Ms | None


class Agency(Answer):
    id: str
    name: str
    role: Literal["partner", "auditor"]
    keys: list[AgencyKey]


class Agencies(Answer):
    agencies: list[Agency]
    registry: int


class AgreementVersion(Answer):
    id: str
    version: int
    title: str
    parties: list[str]
    in_force: dict[str, str]
    clauses: list[dict[str, Any]]
    status: Literal["in-force", "not-yet-in-force", "superseded", "terminated", "lapsed"]
    digest: Base64Url


class Agreements(Answer):
    agreements: list[AgreementVersion]


class RegistryEvent(Answer):
    position: int
    recorded: Ms
    effective: Ms
    statement: Annotated[dict[str, Any], Field(description="The JWS document.")]


class StatementStatus(Answer):
    id: str
    status: Literal["pending", "accepted", "refused"]
    position: int | None
    effective: Ms | None
    reason: str | None
    detail: str | None


class DeliveryProof(Answer):
    leaf: str
    slot: int
    slots: int
    path: list[Base64Url]


class Proof(Answer):
    """RFC 6962 inclusion of one ledger entry in the checkpoint's tree."""

    checkpoint: str
    index: int
    leaf: str
    path: list[Base64Url]
    sealed: str | None = None
    delivery: DeliveryProof | None = None


class EntryPage(Answer):
    entries: list[LedgerEntry]
    next: Annotated[int, Field(description="The `after` of the next request.")]


class Alive(Answer):
    status: Literal["ok"]


class Ready(Answer):
    status: Literal["ready", "not-ready", "draining"]
    parts: dict[str, str]


class Version(Answer):
    name: str
    version: str
    origin: str
