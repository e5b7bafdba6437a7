"""Judging statements: which signatures each kind needs, and which rules it must keep.

`judge` is called once when a statement is proposed, again by every reader that folds the registry (`follow`), and again by the
auditor. Signers are judged by the newest facts: a revoked key signs nothing more, even before the revocation takes effect
for notices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from hub.core import envelope, jws, statements
from hub.core.agreement import Version
from hub.core.errors import Refusal, VerificationFailed
from hub.core.registry import Registry
from hub.core.statements import HUB, OPERATOR
from hub.core.strict import unb64
from schemas.statement import (
    AgencyEnroll,
    AgreementPublish,
    AgreementTerminate,
    HubFound,
    KeyAdd,
    KeyClaim,
    KeyRevoke,
    RegistryEvent,
    Statement,
)

CLOCK_SKEW = 300  # seconds


@dataclass(frozen=True, slots=True)
class Signer:
    """One signature that is needed: whose, and the keys (kid → 32 bytes) any of which will do."""

    who: str
    keys: dict[str, bytes]


def judge(registry: Registry, document: bytes | dict[str, Any], at: int) -> Statement:
    """The statement of `document` if the registry may record it at `at` (ms); Refusal with the reason if not."""
    signed, statement = statements.read(document)
    if statement.id in registry.statements:
        raise Refusal("duplicate-statement", f"statement {statement.id} is on record already; nothing to do")
    if statement.iat * 1000 > at + CLOCK_SKEW * 1000:
        raise Refusal("not-yet-valid", f"iat is more than {CLOCK_SKEW} s ahead of the hub's clock; check yours")
    if (registry.position == 0) != isinstance(statement, HubFound):
        raise Refusal("hub-found", "hub.found is the first statement of a registry, and only the first")
    needed = list(_rules(registry, statement, at))
    _check_signatures(signed, needed)
    return statement


def follow(registry: Registry, event: RegistryEvent) -> Statement:
    """Add an event read from a log that is not believed: its signatures and rules are judged again first.

    Raises VerificationFailed when the event is not what an honest registry would have recorded.
    """
    where = f"registry event {event.position}"
    if event.position != registry.position:
        raise VerificationFailed(f"{where} stands where event {registry.position} must be")
    if event.recorded < registry.recorded or event.effective < event.recorded:
        raise VerificationFailed(f"{where} goes back in time")
    try:
        judge(registry, event.statement, event.recorded)
    except Refusal as refusal:
        raise VerificationFailed(f"{where} is not a valid statement: {refusal.code}: {refusal.detail}") from None
    return registry.apply(event)


def _rules(registry: Registry, statement: Statement, at: int) -> Iterator[Signer]:
    """Check what the kind of statement demands, and say who must have signed."""
    match statement:
        case HubFound():
            yield from (_proof(HUB, statement.hub, at), _proof(OPERATOR, statement.operator, at))
        case AgencyEnroll(agency=agency):
            if agency.id in registry.agencies:
                raise Refusal("agency-exists", f"{agency.id} is enrolled already; add a key with key.add")
            yield _holder(registry, OPERATOR, at)
            yield _proof(agency.id, _fresh(registry, statement.key), at)
        case KeyAdd():
            _agency(registry, statement.agency)
            if statement.replaces and statement.replaces.kid not in registry.keys_of.get(statement.agency, ()):
                raise Refusal("unknown-key", f"{statement.agency} has no key {statement.replaces.kid} to replace")
            yield _holder(registry, statement.agency, at)
            yield _proof(statement.agency, _fresh(registry, statement.key), at)
        case KeyRevoke():
            yield _revoker(registry, statement, at)
        case AgreementPublish():
            yield from _publishers(registry, statement, at)
        case AgreementTerminate():
            newest = _agreement(registry, statement.agreement)
            if statement.party not in newest.agreement.parties:
                raise Refusal("not-a-party", f"{statement.party} is not a party to {statement.agreement}")
            if any(code == "terminated" for _, _, code in newest.ends):
                raise Refusal("already-ended", f"agreement {statement.agreement} was terminated already")
            yield _holder(registry, statement.party, at)
        case _:  # AgreementLapse, the last of the union
            newest = _agreement(registry, statement.agreement)
            if newest.agreement.version != statement.version or newest.until > at or newest.lapsed or newest.ends:
                raise Refusal(
                    "not-lapsed", f"agreement {statement.agreement} version {statement.version} has not lapsed"
                )
            yield _holder(registry, HUB, at)


def _publishers(registry: Registry, statement: AgreementPublish, at: int) -> Iterator[Signer]:
    """Every party signs; a new version also needs every party of the one it replaces, so that nobody is dropped unasked."""
    agreement = statement.agreement
    before = registry.agreements.get(agreement.id, [])
    if agreement.version != len(before) + 1:
        raise Refusal("version", f"the next version of {agreement.id} is {len(before) + 1}, not {agreement.version}")
    parties = set(agreement.parties)
    if before and not any(code == "terminated" for _, _, code in before[-1].ends) and before[-1].until > at:
        parties |= set(before[-1].agreement.parties)
    for party in sorted(parties):
        _agency(registry, party)
        yield _holder(registry, party, at)


def _revoker(registry: Registry, statement: KeyRevoke, at: int) -> Signer:
    """The agency itself with any good key (also the one it revokes), or the operator in an emergency."""
    _agency(registry, statement.agency)
    if statement.kid not in registry.keys_of[statement.agency]:
        raise Refusal("unknown-key", f"{statement.agency} has no key {statement.kid}")
    if any(end.revoked for end in registry.keys[statement.kid].ends):
        raise Refusal("already-ended", f"key {statement.kid} was revoked already")
    if statement.compromised_from is not None and statement.compromised_from > at:
        raise Refusal("schema", "compromised_from: must not lie in the future")
    own, operator = _good_keys(registry, statement.agency, at), _good_keys(registry, OPERATOR, at)
    return Signer(f"{statement.agency} or the operator", own | operator)


def _agency(registry: Registry, agency: str) -> None:
    if agency not in registry.agencies:
        raise Refusal("unknown-agency", f"{agency} is not enrolled; the operator enrols it with agency.enroll")


def _agreement(registry: Registry, agreement: str) -> Version:
    if agreement not in registry.agreements:
        raise Refusal("unknown-agreement", f"no agreement {agreement} was ever published")
    return registry.agreements[agreement][-1]


def _fresh(registry: Registry, key: KeyClaim) -> KeyClaim:
    if key.kid in registry.keys:
        raise Refusal("key-exists", f"key id {key.kid} was used before; choose another name")
    public = unb64(key.x)
    if public in registry.public_keys:
        raise Refusal("key-exists", "this public key is registered under another key id; make a new key")
    return key


def _proof(who: str, key: KeyClaim, at: int) -> Signer:
    """A new key proves that its holder has the private part, by signing its own registration."""
    if not key.kid.startswith(f"{who}/"):
        raise Refusal("schema", f"key.kid: must start with {who}/")
    if key.not_after <= max(key.not_before, at):
        raise Refusal("schema", "key.not_after: must be after not_before and in the future")
    return Signer(f"{who} with the new key {key.kid}", {key.kid: unb64(key.x)})


def _holder(registry: Registry, who: str, at: int) -> Signer:
    return Signer(who, _good_keys(registry, who, at))


def _good_keys(registry: Registry, who: str, at: int) -> dict[str, bytes]:
    """Keys good by the newest facts, whether or not these already take effect for notices."""
    keys = (registry.keys[kid] for kid in registry.keys_of.get(who, ()))
    good = (
        key
        for key in keys
        if key.not_before <= at < key.not_after and not any(end.revoked or end.moment <= at for end in key.ends)
    )
    return {key.kid: key.public for key in good}


def _check_signatures(signed: jws.General, needed: Iterable[Signer]) -> None:
    """Every signature is by a needed signer and verifies; every needed signer is there."""
    needed = list(needed)
    candidates = {kid: public for signer in needed for kid, public in signer.keys.items()}
    present: set[str] = set()
    for kid, signing_input, signature in signed.signatures:
        public = candidates.get(kid)
        if public is None:
            raise Refusal("unknown-key", f"{kid[:80]} is not a good key of anyone who has to sign this")
        if not envelope.verify(public, signature, signing_input):
            raise Refusal("signature", f"the signature of {kid} does not verify")
        present.add(kid)
    missing = [signer.who for signer in needed if not present.intersection(signer.keys)]
    if missing:
        raise Refusal("missing-signature", f"not signed by: {', '.join(missing)}")
