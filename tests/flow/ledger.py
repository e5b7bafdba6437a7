"""Ledger entries, messages and logs for the tests of notary and index, without router and registry."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from hub.core import record, strict
from hub.log import Log, Record
from hub.log.embedded import EmbeddedLog

LEDGER = "comity.ledger"
CHECKPOINTS = "comity.checkpoints"
REQUESTS = "comity.requests"
REGISTRY = "comity.registry"
AT = 1_800_000_000_000  # ms


async def open_log(path: Path, **options: Any) -> EmbeddedLog:
    """A log with the hub's own topics."""
    log = EmbeddedLog.open(path / "comity.db", **options)
    await log.create(LEDGER, CHECKPOINTS, REQUESTS, REGISTRY)
    return log


def delivery(sender: str, recipient: str, number: int = 1) -> record.Delivery:
    return record.Delivery(recipient, sender, "alpine-security", 1, "c1", (), number, "clause")


def entry(
    n: int,
    kind: str = "notice",
    outcome: str = "accepted",
    *,
    digest: bytes | None = None,
    deliveries: Any = (),
    **sealed: Any,
) -> bytes:
    """Entry number n, at AT + n ms; `sealed` is what its kind asks for."""
    seed = hashlib.sha256(b"seed %d" % n).digest()
    digest = digest or hashlib.sha256(b"digest %d" % n).digest()
    tree = record.DeliveryTree(seed, digest, deliveries, 16)
    if kind == "notice":
        sealed = {"sender": "at-cert", "jti": f"jti-{n}", "type": "threat.cyber.v1", "by": "router", **sealed}
    return record.entry(
        kind=kind, digest=digest, outcome=outcome, registry=1, at=AT + n, seed=seed, tree=tree, sealed=sealed
    )


async def append(log: Log, *values: bytes, topic: str = LEDGER) -> None:
    for value in values:
        await log.append(topic, Record(value))


def message(iss: str, jti: str, text: str = "") -> bytes:
    """Shaped like a notice: what the index reads of one before it is judged."""
    payload = strict.b64(json.dumps({"iss": iss, "jti": jti, "text": text}).encode())
    return f"{strict.b64(b'{}')}.{payload}.{strict.b64(b'signature')}~".encode()


def digest_of(raw: bytes) -> bytes:
    return hashlib.sha256(raw.partition(b"~")[0]).digest()


def source(iss: str, offset: int) -> dict[str, Any]:
    return {"topic": f"comity.notices.{iss}", "partition": 0, "offset": offset}


def checkpoint_sizes(notes: list[bytes]) -> list[int]:
    return [int(note.split(b"\n")[1]) for note in notes]
