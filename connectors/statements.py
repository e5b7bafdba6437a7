"""Drawing up, signing and countersigning statements: what changes the registry.

A statement is a JWS document that collects signatures: one party draws it up, the others add theirs over the same bytes,
whoever holds it last hands it in (`Client.statement`). The document is plain JSON and travels as a file.

    document = enroll("us-cisa", "CISA", key)        the agency draws up its own enrolment …
    document = sign(document, operator)              … the operator countersigns
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from connectors.errors import ConnectorError
from connectors.ids import new_id, now_ms
from connectors.keyfile import PartnerKey
from hub.core import jws, statements, strict
from hub.core.errors import Refusal

Document = dict[str, Any]


class InvalidStatement(ConnectorError):  # noqa: N818 - a word of the domain
    """The statement cannot be built or read; the message names the fault."""


def draw_up(kind: str, *signers: PartnerKey, **content: Any) -> Document:
    """A statement of this kind with a fresh id, checked and signed. Raises InvalidStatement."""
    payload = {"statement": kind, "id": new_id(), "iat": now_ms() // 1000} | content
    try:
        statements.parse(payload)
        return jws.sign_general(strict.dumps(payload), [(key.kid, key.private) for key in signers], statements.TYP)
    except (Refusal, TypeError, ValueError) as error:
        raise InvalidStatement(f"{kind}: {error}") from None


def sign(document: Document, key: PartnerKey) -> Document:
    """The document with one signature more; one that this key has signed already comes back as it is."""
    signed = read(document)
    if key.kid in signed.kids:
        return document
    return jws.add_signature(document, key.kid, key.private)


class Draft:
    """What a document says, and who has signed it so far. The signatures are for the registry to judge."""

    def __init__(self, signed: jws.General) -> None:
        self.payload: dict[str, Any] = signed.payload
        self.kids = tuple(kid for kid, _, _ in signed.signatures)

    @property
    def kind(self) -> str:
        return str(self.payload["statement"])


def read(document: Document | bytes) -> Draft:
    """Look at a document before signing it. Raises InvalidStatement."""
    try:
        signed, _ = statements.read(document)
    except Refusal as refusal:
        raise InvalidStatement(f"not a statement: {refusal}") from None
    return Draft(signed)


def enroll(agency: str, name: str, key: PartnerKey, *, role: str = "partner", days: int = 730) -> Document:
    """A new agency with its first key, signed by that key; the operator countersigns."""
    claim = key.claim(not_before=now_ms(), days=days)
    return draw_up("agency.enroll", key, agency={"id": agency, "name": name, "role": role}, key=claim)


def add_key(key: PartnerKey, new: PartnerKey, *, retire_at: int | None = None, days: int = 730) -> Document:
    """A further key of the agency, signed by both. With retire_at (ms) the old one retires then: a rotation."""
    replaces = {} if retire_at is None else {"replaces": {"kid": key.kid, "retire_at": retire_at}}
    claim = new.claim(not_before=now_ms(), days=days)
    return draw_up("key.add", key, new, agency=key.agency, key=claim, **replaces)


def revoke_key(signer: PartnerKey, kid: str, reason: str, *, compromised_from: int | None = None) -> Document:
    """The end of a key, by a good key of its agency (that one, too) or by the operator. compromised_from: ms."""
    suspect = {} if compromised_from is None else {"compromised_from": compromised_from}
    return draw_up("key.revoke", signer, agency=kid.partition("/")[0], kid=kid, reason=reason, **suspect)


def propose(agreement: Mapping[str, Any], key: PartnerKey) -> Document:
    """An agreement, or its next version, signed by one party; each other party adds its signature with `sign`."""
    return draw_up("agreement.publish", key, agreement=dict(agreement))


def terminate(agreement: str, reason: str, key: PartnerKey) -> Document:
    """The end of an agreement, by one party."""
    return draw_up("agreement.terminate", key, agreement=agreement, party=key.agency, reason=reason)
