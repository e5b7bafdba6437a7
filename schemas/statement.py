"""Statements: what changes the registry. Each is the payload of a JWS signed by whoever must agree to it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from schemas.agreement import Agreement
from schemas.base import AgencyId, Digest, Line, Millis, Model, Seconds, Text, UuidV7

Kid = Annotated[
    str,
    StringConstraints(pattern=r"^(hub|operator|[a-z]{2}-[a-z0-9-]{2,40})/[A-Za-z0-9._-]{1,40}$"),
    Field(title="Key id: its owner, then a name", examples=["us-cisa/2026-1"]),
]
AgreementId = Annotated[
    str, StringConstraints(min_length=1, max_length=64), Field(title="Agreement id", examples=["alpine-security"])
]


class KeyClaim(Model):
    """A public key, valid from not_before to before not_after (ms)."""

    kid: Kid = Field(description="Id of the key")
    alg: Literal["Ed25519"] = Field(description="Its algorithm, RFC 9864")
    x: Annotated[Digest, Field(title="Ed25519 public key, base64url")] = Field(description="The public key, 32 bytes")
    not_before: Millis = Field(description="Valid from")
    not_after: Millis = Field(description="Valid to before")


class AgencyClaim(Model):
    """An agency as it is enrolled."""

    id: AgencyId = Field(description="Its id, for good")
    name: Line = Field(
        description="Its name, for people", examples=["Bundesamt für Sicherheit in der Informationstechnik"]
    )
    role: Literal["partner", "auditor"] = Field(
        default="partner", description="partner: sends and receives; auditor: reads the whole ledger"
    )


class Replaces(Model):
    """The key that a new one replaces, and when it retires (ms)."""

    kid: Kid = Field(description="The key that is replaced")
    retire_at: Millis = Field(description="When it stops being valid")


class _Statement(Model):
    id: UuidV7 = Field(description="Id of the statement; it is recorded once")
    iat: Seconds = Field(description="When it was drawn up")


class HubFound(_Statement):
    """The first event: the hub's origin, its key and the operator's. Signed by both keys."""

    statement: Literal["hub.found"] = Field(description="Kind of statement")
    origin: Annotated[str, StringConstraints(pattern=r"^[^\s+]{1,200}$")] = Field(
        description="Name of the log, as in its checkpoints", examples=["hub.example.org/comity"]
    )
    hub: KeyClaim = Field(description="The hub's key")
    operator: KeyClaim = Field(description="The operator's key")


class AgencyEnroll(_Statement):
    """A new agency with its first key. Signed by the operator and that key."""

    statement: Literal["agency.enroll"] = Field(description="Kind of statement")
    agency: AgencyClaim = Field(description="The agency")
    key: KeyClaim = Field(description="Its first key")


class KeyAdd(_Statement):
    """A further key, perhaps replacing one. Signed by a good key of the agency and the new key."""

    statement: Literal["key.add"] = Field(description="Kind of statement")
    agency: AgencyId = Field(description="Whose key")
    key: KeyClaim = Field(description="The new key")
    replaces: Replaces | None = Field(default=None, description="The key that it replaces, and when")


class KeyRevoke(_Statement):
    """The end of a key. Signed by a good key of the agency (that one, too), or by the operator."""

    statement: Literal["key.revoke"] = Field(description="Kind of statement")
    agency: AgencyId = Field(description="Whose key")
    kid: Kid = Field(description="The key that ends")
    compromised_from: Millis | None = Field(default=None, description="From when its signatures are suspect")
    reason: Text = Field(description="Why, for people", examples=["The laptop that held it was stolen."])


class AgreementPublish(_Statement):
    """An agreement, or a new version of one. Signed by all its parties, and those of the version it replaces."""

    statement: Literal["agreement.publish"] = Field(description="Kind of statement")
    agreement: Agreement = Field(description="The agreement, in full")


class AgreementTerminate(_Statement):
    """The end of an agreement by one party. Signed by that party."""

    statement: Literal["agreement.terminate"] = Field(description="Kind of statement")
    agreement: AgreementId = Field(description="Which agreement")
    party: AgencyId = Field(description="Who ends it")
    reason: Text = Field(description="Why, for people", examples=["Replaced by a treaty."])


class AgreementLapse(_Statement):
    """A record that an agreement's last day has passed. Signed by the hub."""

    statement: Literal["agreement.lapse"] = Field(description="Kind of statement")
    agreement: AgreementId = Field(description="Which agreement")
    version: Annotated[int, Field(ge=1)] = Field(description="Which version", examples=[1])


Statement = Annotated[
    HubFound | AgencyEnroll | KeyAdd | KeyRevoke | AgreementPublish | AgreementTerminate | AgreementLapse,
    Field(discriminator="statement"),
]


class RegistryEvent(Model):
    """An accepted statement: its place, when it was recorded, when it takes effect (ms), and the signed document."""

    position: Annotated[int, Field(ge=0)] = Field(description="Its place among the events, from 0", examples=[17])
    recorded: Millis = Field(description="When it was recorded")
    effective: Millis = Field(description="When it takes effect")
    statement: dict[str, Any] = Field(description="The signed document", examples=[{}])
