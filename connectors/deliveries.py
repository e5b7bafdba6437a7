"""A delivery and the checks that make it believable.

Only signed bytes are believed. The hub's headers say which fields it withheld and how it numbered the delivery; they
are held against the bytes: the sender's registered key signed them, every disclosure belongs, exactly the fields named
are missing, and what is left is a valid notice.
"""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic import ValidationError

from connectors.errors import InvalidDelivery, UnexpectedAnswer
from hub.core import envelope
from hub.core.errors import Refusal
from hub.core.strict import b64, unb64
from schemas.notice import Notice, validate, withholdable
from schemas.problems import explain_error

_GRANT = re.compile(r"([^@]{1,64})@([1-9][0-9]{0,8})/([^/]{1,64})")
_NUMBER = re.compile(r"[1-9][0-9]{0,14}")


@dataclass(frozen=True, slots=True)
class SenderKey:
    """A registered key as the hub lists it: owner, 32 bytes, and when it was revoked (ms), if it was."""

    agency: str
    public: bytes
    revoked: int | None


@dataclass(frozen=True, slots=True)
class Delivery:
    """A verified delivery.

    offset: resume after it. notice: the claims, with `data` as far as it was disclosed. raw: the SD-JWT as received.
    digest: base64url, the same for every redaction. number: counts this sender's deliveries to us from 1. agreement,
    version, clause: what granted it, as the hub says; `Client.proof` proves it. withheld: names of fields taken out.
    reason: "clause" or "recall". gap: (expected, got) when the numbering jumps or repeats. key_revoked: ms, when the
    signing key has been revoked since: judge the content with care. salt: of our delivery leaf in the ledger.
    """

    offset: int
    notice: Notice
    raw: bytes
    digest: str
    kid: str
    number: int
    agreement: str
    version: int
    clause: str
    withheld: tuple[str, ...]
    reason: str
    salt: str
    headers: Mapping[str, str]
    key_revoked: int | None = None
    gap: tuple[int, int] | None = None

    @property
    def sender(self) -> str:
        iss: str = self.notice.iss
        return iss


class Received(NamedTuple):
    """What came, before anything is believed of it. raw: the notice. headers: the hub's hints."""

    offset: int
    raw: bytes
    headers: dict[str, str]


class KeyRing:
    """The registered keys by kid, fetched when a kid is not known, and now and then because a key may be revoked.

    fetch: gives the answer of GET /v1/agencies, from the hub or out of a file.
    """

    def __init__(self, fetch: Callable[[], Awaitable[dict[str, Any]]], *, fresh_seconds: float = 60.0) -> None:
        self._fetch, self._fresh_seconds = fetch, fresh_seconds
        self._keys: dict[str, SenderKey] = {}
        self._fetched = 0.0

    async def find(self, kid: str) -> SenderKey | None:
        """None when the registry knows no such key, now."""
        if kid not in self._keys or time.monotonic() - self._fetched > self._fresh_seconds:
            await self.refresh()
        return self._keys.get(kid)

    async def refresh(self) -> None:
        """Learn new keys and revocations."""
        answer = await self._fetch()
        self._fetched = time.monotonic()
        try:
            self._keys = {
                key["kid"]: SenderKey(agency["id"], unb64(key["x"]), key["revoked"])
                for agency in answer["agencies"]
                for key in agency["keys"]
            }
        except (KeyError, TypeError, Refusal):
            raise UnexpectedAnswer(
                "not a list of agencies and keys, as GET /v1/agencies and `comity agency list -o json` give it"
            ) from None


class Numbering:
    """The last number per sender. With `complete` an unknown sender must begin at 1, else wherever it is found."""

    def __init__(self, last: Mapping[str, int] | None = None, *, complete: bool) -> None:
        self._last = dict(last or {})
        self._complete = complete

    def take(self, sender: str, number: int) -> tuple[int, int] | None:
        """Note a number; (expected, got) when it is not the next."""
        last = self._last.get(sender, 0 if self._complete else number - 1)
        self._last[sender] = max(last, number)
        return None if number == last + 1 else (last + 1, number)

    def copy(self) -> Numbering:
        return Numbering(self._last, complete=self._complete)

    def become(self, other: Numbering) -> None:
        """Count on from where the other one is."""
        self._last = dict(other._last)


def read_item(item: Any) -> Received:
    """One object of GET /v1/deliveries; UnexpectedAnswer when it is none."""
    match item:
        case {"offset": int(offset), "notice": str(text), "headers": dict(headers)} if all(
            isinstance(value, str) for value in headers.values()
        ):
            return Received(offset, text.encode(), headers)
        case _:
            raise UnexpectedAnswer("GET /v1/deliveries: not offset, notice and headers; is this a Comity hub?")


async def verify(received: Received, me: str, keys: KeyRing, numbering: Numbering) -> Delivery | InvalidDelivery:
    """What came to the agency `me`: a delivery, or why it is none."""
    offset, raw, headers = received
    try:
        env = envelope.split(raw)
        key = await keys.find(env.kid)
        checked = _check(env, key, headers, me)
    except Refusal as refusal:
        return InvalidDelivery(offset, refusal.code, refusal.detail, raw, headers)
    notice, hints = checked
    return Delivery(
        offset=offset, notice=notice, raw=raw, digest=b64(env.digest), kid=env.kid, headers=headers,
        key_revoked=key.revoked if key else None, gap=numbering.take(notice.iss, hints["number"]), **hints,
    )  # fmt: skip


def _check(
    env: envelope.Envelope, key: SenderKey | None, headers: Mapping[str, str], me: str
) -> tuple[Notice, dict[str, Any]]:
    """The notice and the hub's hints, once each agrees with the other; Refusal if not."""
    if key is None:
        raise Refusal("unknown-key", f"the registry knows no key {env.kid[:80]}")
    if not envelope.verify(key.public, env.signature, env.signing_input):
        raise Refusal("signature", f"the signature does not verify under {env.kid}")
    claims, disclosed, absent = envelope.read(env)
    try:
        notice = validate(claims)
    except ValidationError as error:
        raise Refusal("schema", explain_error(error)) from None
    if notice.iss != key.agency:
        raise Refusal("wrong-sender", f"{notice.iss} is said to speak, with a key of {key.agency}")
    hints = _read_headers(headers)
    _check_redaction(notice, disclosed, len(absent), hints["withheld"])
    if hints["reason"] == "clause" and notice.rel_to is not None and me not in notice.rel_to:
        raise Refusal("not-for-us", f"{notice.iss} released it to others only (rel_to)")
    return notice, hints


def _check_redaction(notice: Notice, disclosed: frozenset[str], absent: int, withheld: tuple[str, ...]) -> None:
    may = withholdable(notice.type)
    if not may.issuperset(withheld):
        wrong = ", ".join(sorted(set(withheld) - may))
        raise Refusal("withheld", f"the hub says it withheld what no clause can withhold: {wrong}")
    if absent != len(withheld) or disclosed.intersection(withheld):
        said = ", ".join(withheld) or "none"
        raise Refusal("withheld", f"{absent} fields are missing; the hub says it withheld: {said}")
    if disclosed != may.intersection(notice.data):
        raise Refusal("disclosure", "exactly the withholdable fields must be disclosures")


def _read_headers(headers: Mapping[str, str]) -> dict[str, Any]:
    """What the hub says of the delivery; Refusal when it cannot be read."""
    grant = _GRANT.fullmatch(headers.get("ce_agreement", ""))
    number = headers.get("ce_number", "")
    withheld = tuple(name for name in headers.get("ce_withheld", "").split(",") if name)
    reason = headers.get("ce_reason")
    readable = grant is not None and _NUMBER.fullmatch(number) and reason in ("clause", "recall")
    if grant is None or not readable or len(set(withheld)) != len(withheld):
        raise Refusal("headers", "ce_number, ce_agreement, ce_withheld or ce_reason cannot be read")
    return {
        "number": int(number), "agreement": grant[1], "version": int(grant[2]), "clause": grant[3],
        "withheld": withheld, "reason": reason, "salt": headers.get("ce_salt", ""),
    }  # fmt: skip
