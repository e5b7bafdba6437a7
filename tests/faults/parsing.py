"""The hub's formats, read by code of our own: ledger entries, registry events, SD-JWT, the state of a shard."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.reading import STATE, Seen, Topics

REGISTRY, REQUESTS = "comity.registry", "comity.requests"


def unb64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def digest_of(raw: bytes) -> bytes:
    return hashlib.sha256(raw.partition(b"~")[0]).digest()


@dataclass(frozen=True)
class Entry:
    """A ledger entry of kind notice. reason None: accepted."""

    index: int
    digest: bytes
    reason: str | None
    at: int
    source: tuple[str, int]
    deliveries: Mapping[str, dict[str, Any]]


def entries(ledger: list[Seen]) -> Iterator[Entry]:
    for index, seen in enumerate(ledger):
        leaf, sealed = parts(seen)
        if leaf["kind"] == "notice":
            source = sealed["source"]["topic"], sealed["source"]["offset"]
            deliveries = {each["recipient"]: each for each in sealed["deliveries"]}
            yield Entry(index, unb64(leaf["digest"]), sealed.get("reason"), leaf["at"], source, deliveries)


def parts(seen: Seen) -> tuple[dict[str, Any], dict[str, Any]]:
    """Leaf and sealed part of a ledger record."""
    leaf, _, sealed = seen.value.partition(b"\n")
    return json.loads(leaf), json.loads(sealed)


@dataclass
class Keys:
    """From when on keys count and no longer count (ms), as the registry's events say."""

    begins: dict[str, int] = field(default_factory=dict)
    ends: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, registry: list[Seen]) -> Keys:
        keys = cls()
        for seen in registry:
            event = json.loads(seen.value)
            said = json.loads(unb64(event["statement"]["payload"]))
            if said["statement"] == "key.add":
                keys.begins[said["key"]["kid"]] = event["effective"]
            elif said["statement"] == "key.revoke":
                keys.ends[said["kid"]] = event["effective"]
        return keys

    def reason(self, kid: str, at: int) -> str | None:
        """Why a message signed with the key is refused at that moment."""
        if self.begins.get(kid, at + 1) > at:
            return "unknown-key"
        return "key-revoked" if self.ends.get(kid, at + 1) <= at else None


def disclosures(raw: bytes) -> dict[str, bytes]:
    """By the name of the field, the disclosures of an SD-JWT."""
    parts = [part for part in raw.split(b"~")[1:] if part]
    return {json.loads(unb64(part.decode()))[1]: part for part in parts}


def positions(topics: Topics) -> Iterator[tuple[str, int]]:
    """What the state topics said of their shards' positions, in their order."""
    for name, found in topics.items():
        if name.startswith(STATE):
            for seen in found:
                for key, value in settings(seen.value):
                    if key.startswith("\x00position/") and value is not None:
                        yield key.removeprefix("\x00position/"), int(value)


def settings(value: bytes) -> Iterator[tuple[str, bytes | None]]:
    """The entries of a state record: key length, value length (-1: deleted), key, value; 4 bytes each, big endian."""
    at = 0
    while at < len(value):
        name, size = struct.unpack_from(">Ii", value, at)
        at += 8
        key, at = value[at : at + name].decode(), at + name
        yield key, None if size < 0 else value[at : at + size]
        at += max(0, size)
