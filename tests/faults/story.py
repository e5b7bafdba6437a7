"""What is published in a run, and what must become of it: agencies, agreements, and notices of every kind, drawn from a seed.

A `Note` remembers what its author knows of it. The expectations are worked out by the checker, from these and from the
order in which the topics hold them.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hub.core.ids import uuid7
from tests.world import CYBER, World, agreement, clause, key_claim

AGENCIES = ("at-cert", "ch-ncsc", "de-bsi", "fr-anssi", "nl-ncsc")
AT, CH, DE, FR, NL = AGENCIES
NOTICES, DELIVERIES, LEDGER = "comity.notices.", "comity.deliveries.", "comity.ledger"
SEVERITIES = ("low", "medium", "high", "critical")
TLPS = ("TLP:CLEAR", "TLP:GREEN", "TLP:AMBER", "TLP:RED")

AGREEMENTS = [
    agreement("alpine", [AT, CH, DE], [
        clause("severe", [AT, CH], [CH, AT, DE], when=[{"field": "severity", "op": "at_least", "value": "high"}],
               withhold=["source_detail"]),
        clause("green", [AT], [DE], ceiling="TLP:GREEN"),
    ]),
    agreement("rhine", [CH, DE, FR], [
        clause("all", [DE], [CH, FR], ceiling="TLP:AMBER"),
        clause("back", [FR], [DE], withhold=["source_detail"]),
    ]),
    agreement("wide", list(AGENCIES), [clause("open", [NL, FR], list(AGENCIES), ceiling="TLP:GREEN")]),
]  # fmt: skip


@dataclass(frozen=True)
class Note:
    """A message as it was signed.

    kind: good, cancel, again, forged, expired, stranger, twin (another with its jti), keyed (signed with a key that comes
    and goes). sender: the agency in whose topic it is put. kid: of a keyed note.
    """

    kind: str
    sender: str
    raw: bytes
    claims: dict[str, Any]
    kid: str = ""

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.raw.partition(b"~")[0]).digest()


class Author:
    """Notes without end. The same seed makes the same choices; ids and times are new."""

    def __init__(self, seed: int) -> None:
        self._rng = random.Random(seed)
        self._world = World()
        self._past: list[Note] = []
        self.kids: dict[str, list[str]] = {agency: [] for agency in AGENCIES}  # keys that come and go, the newest last
        self._kinds = {
            "good": 70, "again": 10, "cancel": 8, "forged": 3, "expired": 3, "stranger": 3, "twin": 3, "keyed": 15,
        }  # fmt: skip

    def __iter__(self) -> Iterator[Note]:
        while True:
            [kind] = self._rng.choices(list(self._kinds), list(self._kinds.values()))
            yield self.write(kind if self._past else "good")

    def write(self, kind: str) -> Note:
        self._world.at = now()
        sender = self._rng.choice(AGENCIES)
        change: dict[str, Any] = {
            "tlp": self._rng.choice(TLPS),
            "data": dict(CYBER, severity=self._rng.choice(SEVERITIES)),
            "subject": f"s{self._rng.randrange(20)}",
        }
        if self._rng.random() < 0.2:
            change["rel_to"] = self._rng.sample([agency for agency in AGENCIES if agency != sender], 2)
        match kind:
            case "again":
                old = self._old()
                return Note("again", old.sender, old.raw, old.claims)
            case "cancel":
                old = self._old()
                sender = old.sender
                change |= {"cancels": old.claims["jti"]}
            case "twin":
                old = self._old()
                sender = old.sender
                change |= {"jti": old.claims["jti"], "subject": "another"}
            case "keyed":
                kid = self._rng.choice([kid for kids in self.kids.values() for kid in kids[-2:]] or ["at-cert/1"])
                sender = kid.partition("/")[0]
            case "expired":
                change |= {"iat": now() // 1000 - 7200, "exp": now() // 1000 - 3600}
        other = self._rng.choice([agency for agency in AGENCIES if agency != sender])
        signed: dict[str, dict[str, str]] = {
            "forged": {"kid": f"{sender}/1", "key": f"{other}/1"},
            "stranger": {"kid": f"{other}/1"},
        }
        claims = self._world.claims(sender, **change)
        if kind == "keyed" and not kid.endswith("/1"):
            return Note(kind, sender, self._world.notice(kid=kid, **claims), claims, kid)
        note = Note(
            "good" if kind == "keyed" else kind, sender, self._world.notice(**signed.get(kind, {}), **claims), claims
        )
        if note.kind in ("good", "cancel"):
            self._past = [*self._past[-300:], note]
        return note

    def _old(self) -> Note:
        return self._rng.choice(self._past)


def statements() -> Iterator[bytes]:
    """What makes this world, signed; behind `hub.found`."""
    world = World()
    world.at = now()
    for agency in AGENCIES:
        kid = f"{agency}/1"
        about = {"id": agency, "name": agency, "role": "partner"}
        yield world.document({"statement": "agency.enroll", "agency": about, "key": key_claim(kid)}, "operator/1", kid)
    for document in AGREEMENTS:
        signers = [f"{party}/1" for party in document["parties"]]
        yield world.document({"statement": "agreement.publish", "agreement": document}, *signers)


def key_added(agency: str, kid: str) -> bytes:
    world = World()
    world.at = now()
    said = {"statement": "key.add", "agency": agency, "key": key_claim(kid), "id": fresh_id()}
    return world.document(said, f"{agency}/1", kid)


def key_revoked(agency: str, kid: str) -> bytes:
    world = World()
    world.at = now()
    said = {"statement": "key.revoke", "agency": agency, "kid": kid, "reason": "It was its time.", "id": fresh_id()}
    return world.document(said, f"{agency}/1")


def fresh_id() -> str:
    """World numbers its ids from 1: two worlds in one millisecond would make the same."""
    return uuid7(now(), os.urandom(10))


def now() -> int:
    return time.time_ns() // 1_000_000
