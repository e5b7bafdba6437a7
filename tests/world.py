"""A small world for tests: agencies with deterministic keys, a registry, agreements, signed notices. No clock, no files."""

from __future__ import annotations

import hashlib
from itertools import count
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.core import envelope, jws, statements, strict
from hub.core.ids import uuid7
from hub.core.judging import judge
from hub.core.registry import Registry
from schemas.notice import withholdable
from schemas.statement import RegistryEvent, Statement

T0 = 1_800_000_000_000  # ms; all worlds begin here
FAR = 4_000_000_000_000

CYBER = {
    "kind": "vulnerability",
    "title": "Command injection in an edge gateway",
    "severity": "high",
    "source_detail": "Reported by a partner's sensor at a named utility.",
}


def key_of(name: str) -> Ed25519PrivateKey:
    """The same name, the same key."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def key_claim(kid: str, **change: Any) -> dict[str, Any]:
    public = key_of(kid).public_key().public_bytes_raw()
    return {"kid": kid, "alg": "Ed25519", "x": strict.b64(public), "not_before": 0, "not_after": FAR} | change


def clause(id_: str, from_: list[str], to: list[str], **change: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"areas": ["security"], "types": [], "ceiling": "TLP:RED", "when": [], "withhold": []}
    return {"id": id_, "from": from_, "to": to} | usual | change


def agreement(id_: str, parties: list[str], clauses: list[dict[str, Any]], **change: Any) -> dict[str, Any]:
    window = {"from": "2020-01-01T00:00:00Z", "until": "2090-01-01T00:00:00Z"}
    usual = {"version": 1, "title": f"Agreement {id_}", "in_force": window}
    return {"id": id_, "parties": sorted(parties), "clauses": clauses} | usual | change


class World:
    """Statements are judged and applied at once; `at` is the moment that `view` questions use."""

    def __init__(self, *agencies: str, grace: int = 0) -> None:
        self.registry = Registry()
        self.at = T0
        self.grace = grace
        self._ids = count(1)
        self.events: list[RegistryEvent] = []
        self.record({"statement": "hub.found", "origin": "comity.test/ledger",
                     "hub": key_claim("hub/1"), "operator": key_claim("operator/1")}, "hub/1", "operator/1")  # fmt: skip
        for agency in agencies:
            self.enroll(agency)

    def id(self) -> str:
        return uuid7(self.at, next(self._ids).to_bytes(10, "big"))

    def document(self, payload: dict[str, Any], *kids: str) -> bytes:
        payload = {"id": self.id(), "iat": self.at // 1000} | payload
        signers = [(kid, key_of(kid)) for kid in kids]
        return strict.dumps(jws.sign_general(strict.dumps(payload), signers, statements.TYP))

    def record(self, payload: dict[str, Any], *kids: str) -> Statement:
        """Judge, then apply; raises Refusal like the judge."""
        document = self.document(payload, *kids)
        statement = judge(self.registry, document, self.at)
        event = RegistryEvent(
            position=self.registry.position,
            recorded=self.at,
            effective=self.at + self.grace,
            statement=strict.loads(document, max_bytes=statements.MAX_BYTES),
        )
        self.registry.apply(event)
        self.events.append(event)
        return statement

    def enroll(self, agency: str, role: str = "partner") -> None:
        kid = f"{agency}/1"
        self.record({"statement": "agency.enroll", "agency": {"id": agency, "name": agency.upper(), "role": role},
                     "key": key_claim(kid)}, "operator/1", kid)  # fmt: skip

    def publish(self, document: dict[str, Any], *kids: str) -> None:
        signers = kids or [f"{party}/1" for party in document["parties"]]
        self.record({"statement": "agreement.publish", "agreement": document}, *signers)

    def claims(self, iss: str, **change: Any) -> dict[str, Any]:
        now = self.at // 1000
        usual = {"iss": iss, "jti": self.id(), "iat": now, "exp": now + 86_400, "type": "threat.cyber.v1",
                 "subject": "edge-gateway", "tlp": "TLP:GREEN", "data": dict(CYBER)}  # fmt: skip
        return {name: value for name, value in (usual | change).items() if value is not None}

    def notice(self, iss: str, *, kid: str | None = None, key: str | None = None, **change: Any) -> bytes:
        claims = self.claims(iss, **change)
        kid = kid or f"{iss}/1"
        salts = (hashlib.sha256(f"{claims['jti']}{n}".encode()).digest()[:16] for n in count())
        names = withholdable(claims["type"])
        return envelope.sign(claims, kid=kid, key=key_of(key or kid), withholdable=names, salts=salts)
