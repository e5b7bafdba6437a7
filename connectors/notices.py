"""Building and signing a notice. What the hub would refuse for its schema is refused here first, and named."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Required, TypedDict, Unpack

from pydantic import ValidationError

from connectors.errors import InvalidNotice
from connectors.ids import new_id, new_salt, now_ms
from connectors.keyfile import PartnerKey
from hub.core import envelope
from hub.core.errors import Refusal
from hub.core.keys import Key
from hub.core.process import MAX_LIFETIME, Refused, process
from hub.core.registry import Registry
from hub.core.strict import b64
from schemas.notice import validate, withholdable
from schemas.problems import explain_error

LIFETIME = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class SignedNotice:
    """A signed notice: exact bytes (SD-JWT compact), its jti, its digest (base64url), the jti it updates or cancels."""

    raw: bytes
    jti: str
    digest: str
    refers_to: str | None = None

    def __bytes__(self) -> bytes:
        return self.raw

    @classmethod
    def read(cls, raw: bytes) -> SignedNotice:
        """From bytes signed anywhere; InvalidNotice when they are no notice. The signature is for the hub to check."""
        try:
            found = envelope.split(raw)
        except Refusal as refusal:
            raise InvalidNotice(f"not a signed notice: {refusal}") from None
        said = found.payload
        if not isinstance(said.get("jti"), str):
            raise InvalidNotice("not a signed notice: jti is missing")
        refers_to = said.get("updates") or said.get("cancels")
        return cls(raw, said["jti"], b64(found.digest), refers_to if isinstance(refers_to, str) else None)


class NoticeFields(TypedDict, total=False):
    """What a sender says. exp: NumericDate, moment, or lifetime (30 days when not given). updates, cancels: a jti."""

    type: Required[str]
    subject: Required[str]
    tlp: Required[str]
    data: Required[Mapping[str, Any]]
    rel_to: Collection[str] | None
    exp: int | datetime | timedelta | None
    updates: str | None
    cancels: str | None
    exercise: bool | None


def claims(agency: str, **fields: Unpack[NoticeFields]) -> dict[str, Any]:
    """The claims of a fresh notice of `agency`, checked against the schemas; InvalidNotice names every fault."""
    iat = now_ms() // 1000
    given: dict[str, Any] = {name: value for name, value in fields.items() if value is not None}
    where = f"{given.get('type')} {given.get('subject')!r}"
    said: dict[str, Any] = {"iss": agency, "jti": new_id(), "iat": iat, **given, "exp": _expiry(iat, fields.get("exp"))}
    if isinstance(given.get("rel_to"), tuple | set | frozenset):
        said["rel_to"] = sorted(given["rel_to"])
    try:
        validate(said)
    except ValidationError as error:
        raise InvalidNotice(f"{where}: {explain_error(error)}") from None
    if not 0 < said["exp"] - iat <= MAX_LIFETIME:
        raise InvalidNotice(f"{where}: exp: must lie in the future, at most {MAX_LIFETIME // 86_400} days on")
    return said


def sign(said: Mapping[str, Any], key: PartnerKey) -> SignedNotice:
    """Sign claims: withholdable fields become disclosures. InvalidNotice when they are too large or cannot be JSON."""
    try:
        raw = envelope.sign(said, kid=key.kid, key=key.private, withholdable=withholdable(said["type"]), salts=new_salt)
    except (Refusal, TypeError, ValueError) as error:
        raise InvalidNotice(f"{said['type']} {said['subject']!r}: {error}") from None
    return SignedNotice.read(raw)


def check(notice: SignedNotice, key: PartnerKey) -> None:
    """Judge a notice as a hub would that knows nothing but its sender; InvalidNotice with the reason it would give.

    That is: size, form, schema, lifetime, whose it is, and the signature where it is by this very key. Another key of
    the agency is for the hub's registry to know.
    """
    kid, known = envelope.split(notice.raw).kid, Registry()
    known.keys[kid] = Key(kid, kid.partition("/")[0], key.public, 0, 2**62, position=0, effective=0)
    holds = envelope.verify if kid == key.kid else lambda *_: True
    judged = process(notice.raw, owner=key.agency, at=now_ms(), view=known.view(), seen=lambda *_: None, verify=holds)
    if isinstance(judged, Refused):
        raise InvalidNotice(f"{notice.jti}: {judged.reason}: {judged.detail}", judged.reason)


def _expiry(iat: int, exp: int | datetime | timedelta | None) -> int:
    match exp:
        case None:
            return iat + int(LIFETIME.total_seconds())
        case timedelta():
            return iat + int(exp.total_seconds())
        case datetime():
            if exp.tzinfo is None:
                raise InvalidNotice("exp: a moment without a time zone; use datetime.now(UTC) + …")
            return int(exp.timestamp())
        case _:
            return exp
