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
AgreementId = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class KeyClaim(Model):
    """A public key, valid from not_before to before not_after (ms)."""

    kid: Kid
    alg: Literal["Ed25519"]
    x: Annotated[Digest, Field(title="Ed25519 public key, base64url")]
    not_before: Millis
    not_after: Millis


class AgencyClaim(Model):
    id: AgencyId
    name: Line
    role: Literal["partner", "auditor"] = "partner"


class Replaces(Model):
    """The key that a new one replaces, and when it retires (ms)."""

    kid: Kid
    retire_at: Millis


class _Statement(Model):
    id: UuidV7 = Field(description="Id of the statement; it is recorded once")
    iat: Seconds = Field(description="When it was drawn up")


class HubFound(_Statement):
    """The first event: the hub's origin, its key and the operator's. Signed by both keys."""

    statement: Literal["hub.found"]
    origin: Annotated[str, StringConstraints(pattern=r"^[^\s+]{1,200}$")]
    hub: KeyClaim
    operator: KeyClaim


class AgencyEnroll(_Statement):
    """A new agency with its first key. Signed by the operator and that key."""

    statement: Literal["agency.enroll"]
    agency: AgencyClaim
    key: KeyClaim


class KeyAdd(_Statement):
    """A further key, perhaps replacing one. Signed by a good key of the agency and the new key."""

    statement: Literal["key.add"]
    agency: AgencyId
    key: KeyClaim
    replaces: Replaces | None = None


class KeyRevoke(_Statement):
    """The end of a key. Signed by a good key of the agency (that one, too), or by the operator."""

    statement: Literal["key.revoke"]
    agency: AgencyId
    kid: Kid
    compromised_from: Millis | None = Field(default=None, description="From when its signatures are suspect")
    reason: Text


class AgreementPublish(_Statement):
    """An agreement, or a new version of one. Signed by all its parties, and those of the version it replaces."""

    statement: Literal["agreement.publish"]
    agreement: Agreement


class AgreementTerminate(_Statement):
    """The end of an agreement by one party. Signed by that party."""

    statement: Literal["agreement.terminate"]
    agreement: AgreementId
    party: AgencyId
    reason: Text


class AgreementLapse(_Statement):
    """A record that an agreement's last day has passed. Signed by the hub."""

    statement: Literal["agreement.lapse"]
    agreement: AgreementId
    version: Annotated[int, Field(ge=1)]


Statement = Annotated[
    HubFound | AgencyEnroll | KeyAdd | KeyRevoke | AgreementPublish | AgreementTerminate | AgreementLapse,
    Field(discriminator="statement"),
]


class RegistryEvent(Model):
    """An accepted statement: its place, when it was recorded, when it takes effect (ms), and the signed document."""

    position: Annotated[int, Field(ge=0)]
    recorded: Millis
    effective: Millis
    statement: dict[str, Any]
