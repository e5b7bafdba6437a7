"""One message in, one outcome out: everything the hub ever says about a notice is decided on this page.

The checklist, in this order; the first that fails is the answer:

 1. size        at most 64 KiB
 2. split       `<JWS>~<disclosure>~…~`, base64url that re-encodes to itself, JSON that two readers cannot read differently
 3. header      exactly alg, typ, kid; alg is the one bound to the key in the registry
 4. duplicate   the very bytes on record are no news: they get their old answer, whatever has become of the key since
 5. key         the key of the agency that owns the topic, good at this moment and registry position
 6. signature   Ed25519 over the exact bytes
 7. disclosures each referenced once by what was signed, none missing
 8. schema      the claims and the typed data; withholdable fields are disclosures, and nothing else is
 9. equivocation  the same `jti` with other bytes
10. freshness   not before its time, not expired, not longer-lived than 400 days
11. decide      who receives it, by the clauses of the agreements in force
12. outcome     Accepted, Refused, Duplicate or Stored

Refusals and duplicates are values, not exceptions: the router writes them down and moves on, so there are no poison pills.
Pure: time, registry view and memory are arguments. The API runs it before it says 202, the router trusts nobody and runs
it again, and the auditor runs it a third time on the same arguments, years later.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from hub.core import envelope, jws
from hub.core.decision import Decision, Seen, decide
from hub.core.envelope import Envelope
from hub.core.errors import Refusal
from hub.core.registry import View
from schemas.ledger import Acknowledgement
from schemas.notice import Notice, validate, withholdable
from schemas.problems import explain_error

CLOCK_SKEW = 300  # seconds a sender's clock may run ahead of the hub's
MAX_LIFETIME = 400 * 86_400  # seconds between iat and exp: bounds how long the hub must remember a jti

Verify = Callable[[bytes, bytes, bytes], bool]
Remembers = Callable[[str, str], Seen | None]


@dataclass(frozen=True, slots=True)
class Accepted:
    """A good notice and the decision on it. `original` is what it cancels, if the hub has seen that."""

    envelope: Envelope
    notice: Notice
    decision: Decision

    @property
    def digest(self) -> bytes:
        return self.envelope.digest


@dataclass(frozen=True, slots=True)
class Refused:
    """A message that goes nowhere, and why. What could not be believed is None."""

    digest: bytes
    reason: str
    detail: str
    kid: str | None = None
    jti: str | None = None
    type: str | None = None


@dataclass(frozen=True, slots=True)
class Duplicate:
    """The same bytes as a notice already judged."""

    digest: bytes


@dataclass(frozen=True, slots=True)
class Stored:
    """A subscriber's acknowledgement that it stored deliveries durably."""

    digest: bytes
    kid: str
    acknowledgement: Acknowledgement


Outcome = Accepted | Refused | Duplicate | Stored


def process(
    raw: bytes, *, owner: str, at: int, view: View, seen: Remembers, verify: Verify = envelope.verify
) -> Outcome:
    """Judge one message found in, or offered for, the topic of agency `owner` at moment `at` (ms).

    `verify` is Ed25519 over (public key, signature, message); who has verified many at once passes the answers.
    """
    known: dict[str, str] = {}
    try:
        if b"~" not in raw:
            return _acknowledgement(raw, owner, at, view, seen, verify, known)
        return _notice(raw, owner, at, view, seen, verify, known)
    except Refusal as refusal:
        return Refused(digest_of(raw), refusal.code, refusal.detail, **known)


def digest_of(raw: bytes) -> bytes:
    """The digest of a message, readable or not: SHA-256 over the bytes before the first `~`."""
    return hashlib.sha256(raw.partition(b"~")[0]).digest()


def _notice(
    raw: bytes, owner: str, at: int, view: View, seen: Remembers, verify: Verify, known: dict[str, str]
) -> Outcome:
    env = envelope.split(raw)  # 1 size, 2 split, 3 header
    before = _before(env, owner, seen)
    if before is not None and before.digest == env.digest:  # 4 duplicate
        return Duplicate(env.digest)
    _check_signature(env, owner, at, view, verify, known)  # 5 key, 6 signature
    claims, disclosed, missing = envelope.read(env)  # 7 disclosures
    notice = _check_schema(claims, disclosed, missing, owner, known)  # 8 schema
    _check_equivocation(before, notice.jti)  # 9 equivocation
    _check_freshness(notice.iat, notice.exp, at)  # 10 freshness
    original = seen(notice.iss, notice.cancels) if notice.cancels else None
    return Accepted(env, notice, decide(notice, view, at, original))  # 11 decide, 12 outcome


def _before(signed: Envelope | jws.Compact, owner: str, seen: Remembers) -> Seen | None:
    """What is on record under this jti. The jti is not believed yet: it only says where to look for the same digest."""
    jti = signed.payload.get("jti")
    return seen(owner, jti) if isinstance(jti, str) else None


def _check_equivocation(before: Seen | None, jti: str) -> None:
    if before is not None:
        raise Refusal("equivocation", f"another message with jti {jti} was signed before; use a new jti for each")


def _check_signature(
    env: Envelope | jws.Compact, owner: str, at: int, view: View, verify: Verify, known: dict[str, str]
) -> None:
    """The kid is only a hint until its owner is the owner of the topic and the signature verifies under it."""
    key = view.key(env.kid, at)
    if key.agency != owner:
        raise Refusal("wrong-sender", f"key {env.kid} does not belong to {owner}; an agency signs what it posts itself")
    if not verify(key.public, env.signature, env.signing_input):
        raise Refusal("signature", f"the signature does not verify under key {env.kid}")
    known["kid"] = env.kid


def _check_schema(
    claims: dict[str, Any], disclosed: frozenset[str], missing: frozenset[str], owner: str, known: dict[str, str]
) -> Notice:
    try:
        notice = validate(claims)
    except ValidationError as error:
        raise Refusal("schema", explain_error(error)) from None
    if notice.iss != owner:
        raise Refusal("wrong-sender", f"iss is {notice.iss}, the notice was posted by {owner}")
    known.update(jti=notice.jti, type=notice.type)
    if missing:
        raise Refusal("disclosure", f"{len(missing)} signed digests in data._sd have no disclosure; publish them all")
    should = withholdable(notice.type).intersection(notice.data)
    if disclosed != should:
        wrong = ", ".join(sorted(disclosed ^ should))
        raise Refusal("disclosure", f"exactly the withholdable fields of data must be disclosures; look at: {wrong}")
    return notice


def _check_freshness(iat: int, exp: int, at: int) -> None:
    if iat * 1000 > at + CLOCK_SKEW * 1000:
        raise Refusal("not-yet-valid", f"iat {iat} is more than {CLOCK_SKEW} s ahead of the hub's clock; check yours")
    if exp <= iat or exp - iat > MAX_LIFETIME:
        raise Refusal("lifetime", f"exp must be after iat by at most {MAX_LIFETIME} s")
    if at >= exp * 1000:
        raise Refusal("expired", f"the notice expired at {exp}; sign a new one")


def _acknowledgement(
    raw: bytes, owner: str, at: int, view: View, seen: Remembers, verify: Verify, known: dict[str, str]
) -> Outcome:
    """An acknowledgement walks the same checklist; it is not forwarded to anyone, so nothing is decided."""
    ack = jws.read_compact(raw, typ="ack+jwt")
    before = _before(ack, owner, seen)
    if before is not None and before.digest == ack.digest:
        return Duplicate(ack.digest)
    _check_signature(ack, owner, at, view, verify, known)
    try:
        said = Acknowledgement.model_validate(ack.payload)
    except ValidationError as error:
        raise Refusal("schema", explain_error(error)) from None
    if said.iss != owner:
        raise Refusal("wrong-sender", f"iss is {said.iss}, the acknowledgement was posted by {owner}")
    known["jti"] = said.jti
    _check_equivocation(before, said.jti)
    if said.iat * 1000 > at + CLOCK_SKEW * 1000:
        raise Refusal("not-yet-valid", f"iat {said.iat} is ahead of the hub's clock; check yours")
    return Stored(ack.digest, ack.kid, said)
