"""The ledger record: a small public leaf, a sealed part for those concerned, and the tree of deliveries between them.

    <leaf JSON>\\n<sealed JSON>         an erased sealed part leaves just the leaf line; every proof still holds

The leaf's exact bytes are hashed into the ledger's tree. It commits to the sealed part by digest and to the deliveries
by root, and tells nothing of either. A recipient gets its own delivery leaf with a path; the tree around it looks the
same whoever else received (see DeliveryTree).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from json.encoder import encode_basestring as _quote
from struct import Struct
from typing import Any

from hub.core import merkle, strict
from hub.core.errors import Refusal, VerificationFailed
from hub.core.strict import b64, unb64

VERSION = 1
KINDS = ("notice", "registry", "ack", "read")
OUTCOMES = ("accepted", "refused")
MIN_SLOTS = 16
SEED_BYTES = 32
MAX_LEAF = 1_024
MAX_SEALED = 1_048_576  # a refused statement of 64 KiB is kept as text, which JSON may write six times as long
_SEALED_DEPTH = 24
_INNER = bytes(byte ^ 0x36 for byte in range(256))  # RFC 2104 §2: ipad, opad
_OUTER = bytes(byte ^ 0x5C for byte in range(256))
_PLACE = Struct(">BQ")  # level, index
_LEAF = frozenset({"v", "kind", "digest", "outcome", "registry", "at", "sealed", "deliveries"})
_DELIVERY = frozenset({"recipient", "agreement", "version", "clause", "withheld", "number", "reason", "slot"})


@dataclass(frozen=True, slots=True)
class Delivery:
    """That a recipient got a sender's notice, under which clause, with which fields withheld.

    number: counts the deliveries from this sender to this recipient, without gaps. reason: "clause" or "recall".
    """

    recipient: str
    sender: str
    agreement: str
    version: int
    clause: str
    withheld: tuple[str, ...]
    number: int
    reason: str

    @classmethod
    def from_sealed(cls, sender: str, entry: Mapping[str, Any]) -> Delivery:
        """From one entry of `deliveries` in a sealed part. Raises Refusal "malformed"."""
        texts = (entry.get(name) for name in ("recipient", "agreement", "clause", "reason"))
        numbers = (entry.get(name) for name in ("version", "number", "slot"))
        withheld = entry.get("withheld")
        if (
            entry.keys() != _DELIVERY
            or not all(isinstance(text, str) for text in texts)
            or not all(type(number) is int for number in numbers)
            or not isinstance(withheld, list)
            or not all(isinstance(name, str) for name in withheld)
        ):
            raise Refusal("malformed", f"a sealed delivery has exactly the members {', '.join(sorted(_DELIVERY))}")
        return cls(
            recipient=entry["recipient"],
            sender=sender,
            agreement=entry["agreement"],
            version=entry["version"],
            clause=entry["clause"],
            withheld=tuple(withheld),
            number=entry["number"],
            reason=entry["reason"],
        )


@dataclass(frozen=True, slots=True)
class DeliveryProof:
    """What a recipient is given: its leaf (canonical JSON), the slot of `slots` it is in, and the path to the root."""

    leaf: bytes
    slot: int
    slots: int
    path: tuple[bytes, ...]


def slots(agencies: int) -> int:
    """Leaves of a delivery tree when so many agencies are enrolled: max(16, next power of two ≥ 2 × agencies)."""
    return max(MIN_SLOTS, 1 << (2 * agencies - 1).bit_length()) if agencies > 0 else MIN_SLOTS


class _Mac:
    """HMAC-SHA-256 (RFC 2104) under one key: the key is hashed once, which makes the third of a one-shot call."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != SEED_BYTES:
            raise ValueError(f"a seed has {SEED_BYTES} bytes, not {len(seed)}")
        block = seed.ljust(64, b"\0")
        self._inner, self._outer = sha256(block.translate(_INNER)), sha256(block.translate(_OUTER))

    def __call__(self, message: bytes) -> bytes:
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(message)
        outer.update(inner.digest())
        return outer.digest()


class DeliveryTree:
    """The RFC 6962 tree over the deliveries of one notice, which hides who else received.

    Its shape depends on `slots` alone. A delivery sits in a slot drawn by HMAC(seed, "slot" ‖ recipient); a taken slot
    moves it to the next, in recipient order. An empty subtree is one pseudo-random hash,
    SHA-256(seed ‖ "empty" ‖ level (1 byte) ‖ index (8 bytes, big-endian)), level 0 being the leaves; without the seed
    it cannot be told from a real one. The seed is 32 fresh random bytes and lives in the sealed part.
    """

    __slots__ = ("_empty", "_leaves", "_levels", "_slots", "deliveries", "salts", "slots")

    def __init__(self, seed: bytes, digest: bytes, deliveries: Iterable[Delivery], slots: int) -> None:
        self.deliveries = tuple(sorted(deliveries, key=lambda delivery: delivery.recipient))
        self.slots = slots
        self._empty = sha256(seed + b"empty")
        mac = _Mac(seed)
        self._slots = _draw_slots(mac, [delivery.recipient for delivery in self.deliveries], slots)
        self.salts = {delivery.recipient: mac(b"salt" + delivery.recipient.encode()) for delivery in self.deliveries}
        encoded = b64(digest)
        self._leaves = {
            delivery.recipient: _delivery_leaf(self.salts[delivery.recipient], encoded, delivery)
            for delivery in self.deliveries
        }
        nodes = {self._slots[recipient]: merkle.leaf_hash(leaf) for recipient, leaf in self._leaves.items()}
        self._levels = [nodes]  # per level: the nodes above at least one delivery, by index
        for level in range(slots.bit_length() - 1):
            nodes = self._above(level, nodes)
            self._levels.append(nodes)

    @property
    def root(self) -> bytes:
        return self._node(len(self._levels) - 1, 0)

    def proof(self, recipient: str) -> DeliveryProof:
        """KeyError when the recipient got nothing."""
        slot = self._slots[recipient]
        path = tuple(self._node(level, (slot >> level) ^ 1) for level in range(len(self._levels) - 1))
        return DeliveryProof(self._leaves[recipient], slot, self.slots, path)

    def sealed(self) -> list[dict[str, Any]]:
        """The deliveries as the sealed part lists them, sorted by recipient."""
        return [
            {
                "recipient": delivery.recipient,
                "agreement": delivery.agreement,
                "version": delivery.version,
                "clause": delivery.clause,
                "withheld": list(delivery.withheld),
                "number": delivery.number,
                "reason": delivery.reason,
                "slot": self._slots[delivery.recipient],
            }
            for delivery in self.deliveries
        ]

    def _above(self, level: int, nodes: Mapping[int, bytes]) -> dict[int, bytes]:
        """The parents of a level's nodes. A router does this for every notice, so the hash is spelled out."""
        parents: dict[int, bytes] = {}
        for index, node in nodes.items():
            if index >> 1 in parents:
                continue
            beside = nodes.get(index ^ 1) or self._blank(level, index ^ 1)
            pair = beside + node if index & 1 else node + beside
            parents[index >> 1] = sha256(b"\x01" + pair).digest()  # merkle.node_hash
        return parents

    def _node(self, level: int, index: int) -> bytes:
        return self._levels[level].get(index) or self._blank(level, index)

    def _blank(self, level: int, index: int) -> bytes:
        blank = self._empty.copy()
        blank.update(_PLACE.pack(level, index))
        return blank.digest()


def salt(seed: bytes, recipient: str) -> bytes:
    """The salt of a recipient's delivery leaf: HMAC(seed, "salt" ‖ recipient). The recipient alone is told it."""
    return _Mac(seed)(b"salt" + recipient.encode())


def verify_delivery(leaf: bytes, slot: int, slots: int, path: Iterable[bytes], root: bytes) -> None:
    """That a delivery leaf is in `slot` under the `deliveries` root of a ledger leaf. Raises VerificationFailed."""
    if slots < MIN_SLOTS or slots & (slots - 1):
        raise VerificationFailed(f"a delivery tree has a power of two of slots, at least {MIN_SLOTS}, not {slots}")
    merkle.verify_inclusion(merkle.leaf_hash(leaf), slot, slots, tuple(path), root)


def build_leaf(
    *, kind: str, digest: bytes, outcome: str, registry: int, at: int, sealed: bytes, deliveries: bytes
) -> bytes:
    """The leaf line. digest: of the notice or document; sealed: the sealed line itself; deliveries: root of the tree.

    registry: how many registry events the decision had seen. at: ms. Canonical JSON, as strict.dumps would write it.
    """
    return (
        f'{{"at":{at},"deliveries":"{b64(deliveries)}","digest":"{b64(digest)}","kind":{_quote(kind)},'
        f'"outcome":{_quote(outcome)},"registry":{registry},"sealed":"{b64(sha256(sealed).digest())}","v":{VERSION}}}'
    ).encode()


def entry(
    *,
    kind: str,
    digest: bytes,
    outcome: str,
    registry: int,
    at: int,
    seed: bytes,
    tree: DeliveryTree,
    sealed: Mapping[str, Any],
) -> bytes:
    """A whole record: the sealed part with its seed (and, of a notice, the deliveries of `tree`), under its leaf."""
    deliveries = {"deliveries": tree.sealed()} if kind == "notice" else {}
    line = strict.dumps({**sealed, "seed": b64(seed), **deliveries})
    leaf = build_leaf(
        kind=kind, digest=digest, outcome=outcome, registry=registry, at=at, sealed=line, deliveries=tree.root
    )
    return encode(leaf, line)


def encode(leaf: bytes, sealed: bytes | None) -> bytes:
    """The value of a record in the topic comity.ledger."""
    return leaf if sealed is None else leaf + b"\n" + sealed


def decode(value: bytes) -> tuple[bytes, dict[str, Any], bytes | None, dict[str, Any] | None]:
    """Leaf bytes, leaf, sealed bytes, sealed part (None when erased). Raises Refusal "malformed" or "too-large".

    Checks form only: that the digest of the sealed bytes is leaf["sealed"] is for the auditor to say.
    """
    leaf_bytes, newline, sealed_bytes = value.partition(b"\n")
    leaf = strict.loads(leaf_bytes, max_bytes=MAX_LEAF, max_depth=1)
    if not _is_leaf(leaf):
        raise Refusal("malformed", f"a ledger leaf has exactly the members {', '.join(sorted(_LEAF))}, of their types")
    if not newline:
        return leaf_bytes, leaf, None, None
    sealed = strict.loads(sealed_bytes, max_bytes=MAX_SEALED, max_depth=_SEALED_DEPTH)
    if not isinstance(sealed, dict) or b"\n" in sealed_bytes:
        raise Refusal("malformed", "the sealed part is not one line with a JSON object")
    return leaf_bytes, leaf, sealed_bytes, sealed


def _is_leaf(leaf: Any) -> bool:
    return (
        isinstance(leaf, dict)
        and leaf.keys() == _LEAF
        and type(leaf["v"]) is int
        and leaf["v"] == VERSION
        and leaf["kind"] in KINDS
        and leaf["outcome"] in OUTCOMES
        and all(type(leaf[name]) is int and leaf[name] >= 0 for name in ("registry", "at"))
        and all(len(unb64(leaf[name])) == 32 for name in ("digest", "sealed", "deliveries"))
    )


def _draw_slots(mac: _Mac, recipients: list[str], slots: int) -> dict[str, int]:
    """A slot per recipient. They come sorted, so the probing is reproducible. ValueError when it cannot be done."""
    if slots < 1 or slots & (slots - 1):
        raise ValueError(f"the slots of a delivery tree are a power of two, not {slots}")
    if len(recipients) > slots or len(set(recipients)) != len(recipients):
        raise ValueError(f"a delivery tree takes at most {slots} recipients, each once")
    drawn: dict[str, int] = {}
    taken: set[int] = set()
    for recipient in recipients:
        slot = int.from_bytes(mac(b"slot" + recipient.encode())[:8], "big") % slots
        while slot in taken:
            slot = (slot + 1) % slots
        taken.add(slot)
        drawn[recipient] = slot
    return drawn


def _delivery_leaf(salt_: bytes, digest: str, delivery: Delivery) -> bytes:
    """Canonical JSON, as strict.dumps would write it; spelled out, because a router makes several per notice."""
    withheld = ",".join([_quote(name) for name in delivery.withheld])
    return (
        f'{{"agreement":{_quote(delivery.agreement)},"clause":{_quote(delivery.clause)},"digest":"{digest}",'
        f'"number":{delivery.number},"reason":{_quote(delivery.reason)},"recipient":{_quote(delivery.recipient)},'
        f'"salt":"{b64(salt_)}","sender":{_quote(delivery.sender)},'
        f'"version":{delivery.version},"withheld":[{withheld}]}}'
    ).encode()
