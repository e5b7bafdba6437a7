"""The partners of the benchmark: eight agencies that send, three that receive, one agreement between them.

Their keys follow from their names: whoever enrols them in a real hub gives it away.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.core import envelope, jws, statements, strict
from hub.core.ids import uuid7
from hub.registry import FAR, OPERATOR_KID
from schemas.notice import withholdable

SENDERS = tuple(f"be-sender-{number}" for number in range(1, 9))
RECIPIENTS = tuple(f"be-receiver-{number}" for number in range(1, 4))
TYPE = "threat.cyber.v1"
WITHHOLDABLE = withholdable(TYPE)

# About 1.6 KB when signed, like an entry of a catalogue of exploited vulnerabilities.
DATA: dict[str, Any] = {
    "kind": "exploitation",
    "title": "Command injection in an edge gateway, exploited since its patch was published",
    "summary": "An unauthenticated attacker who reaches the management interface runs commands as root. Two operators "
    "of ports saw a web shell written within hours of the vendor's advisory. Sessions survive the update: reset them, "
    "and look for processes that outlived it.",
    "severity": "high",
    "cvss": 9.3,
    "sectors": ["ports", "energy"],
    "countries": ["BE", "NL"],
    "products": [{"vendor": "Example", "product": "Edge Gateway", "versions": ["before 4.2.17"]}],
    "cves": ["CVE-2026-10001"],
    "exploited": True,
    "actions": ["Update to 4.2.17 or later.", "End all sessions and rotate the gateway's credentials."],
    "references": ["https://vendor.example/advisories/2026-10001"],
    "source_detail": "Two partners' sensors at port operators; the second is not to be named to anyone else.",
}


def key_of(name: str) -> Ed25519PrivateKey:
    """The same name, the same key."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"comity bench " + name.encode()).digest())


def kid_of(agency: str) -> str:
    return f"{agency}/1"


def new_id() -> str:
    return uuid7(time.time_ns() // 1_000_000, os.urandom(10))


def notices(count: int, senders: Sequence[str] = SENDERS) -> Iterator[tuple[str, str, bytes]]:
    """Signed notices, fresh now, their senders in turn: (sender, jti, bytes)."""
    keys = {sender: key_of(kid_of(sender)) for sender in senders}
    for number in range(count):
        sender, jti, now = senders[number % len(senders)], new_id(), int(time.time())
        claims = {
            "iss": sender, "jti": jti, "iat": now, "exp": now + 86_400, "type": TYPE,
            "subject": f"edge-gateway-{number % 1000}", "tlp": "TLP:GREEN", "data": DATA,
        }  # fmt: skip
        yield (
            sender,
            jti,
            envelope.sign(
                claims, kid=kid_of(sender), key=keys[sender], withholdable=WITHHOLDABLE, salts=lambda: os.urandom(16)
            ),
        )


def agreement(id_: str, senders: Sequence[str], recipients: Sequence[str]) -> dict[str, Any]:
    """In force; grants what concerns security to all recipients, to the last of them without the source."""
    first, last = list(recipients[:-1]), list(recipients[-1:])
    usual = {"from": list(senders), "areas": ["security"], "types": [], "ceiling": "TLP:AMBER", "withhold": []}
    severe = [{"field": "severity", "op": "at_least", "value": "medium"}]
    clauses = [
        usual | {"id": "whole", "to": first, "when": severe},
        usual | {"id": "narrow", "to": last, "when": severe, "withhold": sorted(WITHHOLDABLE)},
    ]
    return {
        "id": id_, "version": 1, "title": f"Benchmark {id_}", "parties": sorted({*senders, *recipients}),
        "in_force": {"from": "2020-01-01T00:00:00Z", "until": "2090-01-01T00:00:00Z"},
        "clauses": [clause for clause in clauses if clause["to"]],
    }  # fmt: skip


def statement(payload: dict[str, Any], *kids: str) -> bytes:
    """A registry statement signed by these keys."""
    whole = {"id": new_id(), "iat": int(time.time())} | payload
    signers = [(kid, key_of(kid)) for kid in kids]
    return strict.dumps(jws.sign_general(strict.dumps(whole), signers, statements.TYP))


def enrolment(agency: str) -> bytes:
    kid = kid_of(agency)
    about = {"id": agency, "name": agency, "role": "partner"}
    claims = {"statement": "agency.enroll", "agency": about, "key": key_claim(kid)}
    return statement(claims, OPERATOR_KID, kid)


def publication(document: dict[str, Any]) -> bytes:
    claims = {"statement": "agreement.publish", "agreement": document}
    return statement(claims, *(kid_of(party) for party in document["parties"]))


def registration() -> list[bytes]:
    """The statements that make the partners known to a hub whose operator key is `key_of(OPERATOR_KID)`."""
    enrolments = [enrolment(agency) for agency in (*SENDERS, *RECIPIENTS)]
    return [*enrolments, publication(agreement("bench", SENDERS, RECIPIENTS))]


def key_claim(kid: str) -> dict[str, Any]:
    public = strict.b64(key_of(kid).public_key().public_bytes_raw())
    return {"kid": kid, "alg": "Ed25519", "x": public, "not_before": 0, "not_after": FAR}
