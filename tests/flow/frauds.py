"""A log with every kind of entry in it, and every fraud that we could think of, planted into the stored file.

A fraud changes the SQLite file under an auditor's nose and returns where the auditor must point to.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hub.core import jws, record, strict
from hub.core.checkpoint import Checkpoint, Signer, sign_checkpoint
from hub.core.merkle import Tree, leaf_hash
from hub.core.process import digest_of
from hub.log import Record
from hub.log.embedded import EmbeddedLog
from hub.notary import Notary
from tests.flow.test_router import A, B, C, D, Hub
from tests.world import T0, agreement, clause, key_claim, key_of

SIGNER = Signer("comity.test/ledger", key_of("hub/1"))
Fraud = Callable[[sqlite3.Connection], str]
Change = Callable[[dict[str, Any], dict[str, Any]], Any]


async def busy_log(path: Path) -> Hub:
    """A log with every kind of entry in it, and the hub that wrote it; close `hub.log`."""
    log = EmbeddedLog.open(path)
    await log.create("comity.requests", "comity.registry", "comity.ledger", "comity.checkpoints")
    hub = Hub(log)
    await hub.registry.found("comity.test/ledger", key_of("operator/1"))
    await hub.enroll(A)
    await hub.enroll(B, role="auditor")
    await hub.enroll(C)
    await hub.publish(
        agreement("a-1", [A, B, C], [clause("c1", [A], [B], withhold=["source_detail"]), clause("c2", [A], [B, C])])
    )
    first = hub.world.id()
    raw, narrowed, red = (
        hub.world.notice(A, jti=first),
        hub.world.notice(A, rel_to=[B]),
        hub.world.notice(A, tlp="TLP:RED"),
    )
    await hub.post(A, raw, narrowed, raw, red)  # a duplicate is in the topic and not in the ledger
    await hub.router.step()
    await Notary(log, SIGNER, interval_ms=0).step()
    hub.now += 1_000
    forged = hub.world.notice(A, key=f"{B}/1")
    await hub.post(A, forged, forged, hub.world.notice(A, jti=first, subject="other"))  # so is a refusal told before
    await hub.post(A, hub.world.notice(A, kid=f"{A}/3"), **{"comity-refused": "unknown-key"})
    await hub.request({"statement": "agreement.terminate", "agreement": "a-1", "party": C, "reason": "over"}, f"{C}/1")
    await hub.request({"statement": "key.add", "agency": A, "key": key_claim(f"{A}/2")}, f"{B}/1", f"{A}/2")
    await hub.publish(agreement("a-2", [A, B], [clause("c1", [A], [B], withhold=["source_detail"])]))
    await hub.router.step()
    await hub.post(A, hub.world.notice(A, cancels=first), hub.world.notice(A))
    delivered = (await hub.deliveries(B))[0].record.value
    stored = {"sender": A, "number": 1, "digest": strict.b64(digest_of(delivered))}
    payload = {"iss": B, "jti": hub.world.id(), "iat": T0 // 1000, "stored": [stored]}
    await hub.post(B, jws.sign_compact(payload, typ="ack+jwt", kid=f"{B}/1", key=key_of(f"{B}/1")))
    await hub.router.step()
    reading = strict.dumps({"reader": "operator", "from": 0, "to": 3, "at": hub.now})
    await log.append(f"comity.notices.{B}", Record(reading, None, {"content-type": "application/vnd.comity.read+json"}))
    await hub.router.step()
    await Notary(log, SIGNER, interval_ms=0).step()
    return hub


def place(db: sqlite3.Connection, topic: str, offset: int = 0) -> int:
    """Where the embedded log keeps a record: topic << 40 | offset."""
    return db.execute("SELECT id FROM topics WHERE name = ?", (topic,)).fetchone()[0] << 40 | offset


def offset_of(db: sqlite3.Connection, entry: int) -> str:
    """Where the message stands that a ledger entry is about."""
    source = entries(db)[entry][2]["source"]
    return f"{source['topic']} offset {source['offset']}"


def rows(db: sqlite3.Connection, topic: str) -> list[tuple[int, bytes, str]]:
    first = place(db, topic)
    found = db.execute(
        "SELECT id, value, headers FROM records WHERE id BETWEEN ? AND ? ORDER BY id", (first, first + (1 << 40) - 1)
    )
    return [(id_ - first, value, headers) for id_, value, headers in found]


def put(db: sqlite3.Connection, topic: str, offset: int, value: bytes, headers: str | None = None) -> None:
    db.execute(
        "UPDATE records SET value = ?, headers = ifnull(?, headers) WHERE id = ?",
        (value, headers, place(db, topic, offset)),
    )


def drop(db: sqlite3.Connection, topic: str, offset: int) -> None:
    db.execute("DELETE FROM records WHERE id = ?", (place(db, topic, offset),))


def insert(db: sqlite3.Connection, topic: str, value: bytes, headers: str = "", offset: int | None = None) -> None:
    end = len(rows(db, topic)) if offset is None else offset
    db.execute("INSERT INTO records (id, headers, value) VALUES (?, ?, ?)", (place(db, topic, end), headers, value))


def entries(db: sqlite3.Connection) -> list[tuple[int, dict[str, Any], dict[str, Any]]]:
    decoded = [(offset, record.decode(value)) for offset, value, _ in rows(db, "comity.ledger")]
    return [(offset, leaf, sealed or {}) for offset, (_, leaf, _, sealed) in decoded]


def rewrite(
    db: sqlite3.Connection, offset: int, leaf: dict[str, Any], sealed: dict[str, Any], *, fix: bool = True
) -> None:
    """Write an entry back; with `fix`, the leaf commits to the changed sealed part as a clever fraud would make it."""
    line = strict.dumps(sealed)
    if fix:
        leaf = leaf | {"sealed": strict.b64(hashlib.sha256(line).digest())}
    put(db, "comity.ledger", offset, strict.dumps(leaf) + b"\n" + line)


def resign(db: sqlite3.Connection) -> None:
    """What the holder of the hub's key can do: sign the rewritten ledger anew, and forget the old checkpoints."""
    tree = Tree(leaf_hash(value.partition(b"\n")[0]) for _, value, _ in rows(db, "comity.ledger"))
    for offset, _, _ in rows(db, "comity.checkpoints"):
        drop(db, "comity.checkpoints", offset)
    insert(db, "comity.checkpoints", sign_checkpoint(Checkpoint("comity.test/ledger", tree.size, tree.root()), SIGNER))


def notices(db: sqlite3.Connection, outcome: str = "accepted") -> list[tuple[int, dict[str, Any], dict[str, Any]]]:
    return [entry for entry in entries(db) if entry[1]["kind"] == "notice" and entry[1]["outcome"] == outcome]


def change_first(change: Change, *, fix: bool = True, outcome: str = "accepted", at: int = 0):
    def plant(db: sqlite3.Connection) -> str:
        offset, leaf, sealed = notices(db, outcome)[at]
        change(leaf, sealed)
        rewrite(db, offset, leaf, sealed, fix=fix)
        return f"ledger entry {offset}"

    return plant


def swap(db: sqlite3.Connection) -> str:
    (one, a, _), (two, b, _) = rows(db, "comity.ledger")[6:8]
    put(db, "comity.ledger", one, b)
    put(db, "comity.ledger", two, a)
    return ""


def drop_entry(which: int) -> Fraud:
    def plant(db: sqlite3.Connection) -> str:
        drop(db, "comity.ledger", entries(db)[which][0])
        return ""

    return plant


def insert_delivery(db: sqlite3.Connection) -> str:
    value = rows(db, f"comity.notices.{A}")[1][1]
    insert(db, f"comity.deliveries.{C}", value, rows(db, f"comity.deliveries.{C}")[0][2])
    return f"comity.deliveries.{C}"


def unredact(db: sqlite3.Connection) -> str:
    [raw] = [value for _, value, _ in rows(db, f"comity.notices.{A}") if b"~" in value][:1]
    put(db, f"comity.deliveries.{B}", 0, raw.split(b"~")[0] + b"~")
    return f"comity.deliveries.{B} offset 0"


def drop_delivery(db: sqlite3.Connection) -> str:
    drop(db, f"comity.deliveries.{B}", 1)
    return f"comity.deliveries.{B}"


def header(name: str, value: str) -> Fraud:
    def plant(db: sqlite3.Connection) -> str:
        offset, raw, headers = rows(db, f"comity.deliveries.{B}")[0]
        put(db, f"comity.deliveries.{B}", offset, raw, json.dumps(json.loads(headers) | {name: value}))
        return f"comity.deliveries.{B} offset 0"

    return plant


def twice(db: sqlite3.Connection) -> str:
    _, value, headers = rows(db, f"comity.deliveries.{B}")[-1]
    insert(db, f"comity.deliveries.{B}", value, headers)
    return f"comity.deliveries.{B}"


def alter_notice(db: sqlite3.Connection) -> str:
    offset, value, headers = rows(db, f"comity.notices.{A}")[0]
    put(db, f"comity.notices.{A}", offset, value.replace(b"~", b"A~", 1), headers)
    return "ledger entry 5"


def drop_notice(db: sqlite3.Connection) -> str:
    drop(db, f"comity.notices.{A}", 0)
    return "ledger entry 5"


def slip_in_notice(db: sqlite3.Connection) -> str:
    """Acknowledged, then made to vanish from the ledger before another one."""
    for at, value, headers in reversed(rows(db, f"comity.notices.{B}")):
        drop(db, f"comity.notices.{B}", at)
        insert(db, f"comity.notices.{B}", value, headers, at + 100)
    insert(db, f"comity.notices.{B}", b"other" + value, headers, 0)
    return "ledger entry 14"


def event(change: Callable[[dict], None]) -> Fraud:
    def plant(db: sqlite3.Connection) -> str:
        offset, value, _ = rows(db, "comity.registry")[4]
        said = strict.loads(value, max_bytes=1_000_000)
        change(said)
        put(db, "comity.registry", offset, strict.dumps(said))
        return ""

    return plant


def wider_ceiling(said: dict) -> None:
    payload = strict.loads(strict.unb64(said["statement"]["payload"]))
    payload["agreement"]["clauses"][0]["to"].append(C)
    said["statement"]["payload"] = strict.b64(strict.dumps(payload))


def unsigned_event(db: sqlite3.Connection) -> str:
    _, value, _ = rows(db, "comity.registry")[-1]
    said = strict.loads(value, max_bytes=1_000_000)
    insert(db, "comity.registry", strict.dumps(said | {"position": said["position"] + 1}))
    return "comity.registry"


def checkpoint(change: Callable[[bytes], bytes]) -> Fraud:
    def plant(db: sqlite3.Connection) -> str:
        offset, value, _ = rows(db, "comity.checkpoints")[0]
        put(db, "comity.checkpoints", offset, change(value))
        return "comity.checkpoints offset 0"

    return plant


def second_root(db: sqlite3.Connection) -> str:
    insert(db, "comity.checkpoints", sign_checkpoint(Checkpoint("comity.test/ledger", 7, b"r" * 32), SIGNER))
    return "comity.checkpoints offset 2"


def other_key(db: sqlite3.Connection) -> str:
    insert(
        db,
        "comity.checkpoints",
        sign_checkpoint(Checkpoint("comity.test/ledger", 7, b"r" * 32), Signer("comity.test/ledger", key_of("x"))),
    )
    return "comity.checkpoints offset 2"


def registry_entry(change: Change) -> Fraud:
    def plant(db: sqlite3.Connection) -> str:
        offset, leaf, sealed = entries(db)[4]
        change(leaf, sealed)
        rewrite(db, offset, leaf, sealed)
        return "ledger entry 4"

    return plant


def ack_entry(db: sqlite3.Connection) -> str:
    offset, leaf, sealed = next(entry for entry in entries(db) if entry[1]["kind"] == "ack")
    sealed["stored"][0]["number"] = 2
    rewrite(db, offset, leaf, sealed)
    return f"ledger entry {offset}"


def erase(db: sqlite3.Connection) -> str:
    offset, value, _ = rows(db, "comity.ledger")[5]
    put(db, "comity.ledger", offset, value.partition(b"\n")[0])
    return "ledger entry 5"


def grant(name: str, value: Any) -> Change:
    return lambda leaf, sealed: sealed["deliveries"][0].update({name: value})


def pass_over(entry: int) -> Fraud:
    """A message vanishes from the ledger; those after it do not."""

    def plant(db: sqlite3.Connection) -> str:
        where = offset_of(db, entry)
        drop(db, "comity.ledger", entries(db)[entry][0])
        return where

    return plant


def request_passed_over(db: sqlite3.Connection) -> str:
    for at, value, headers in reversed(rows(db, "comity.requests")):
        drop(db, "comity.requests", at)
        insert(db, "comity.requests", value, headers, at + 1)
    insert(db, "comity.requests", b'{"never":"judged"}', headers, 0)
    return "comity.requests offset 0"


def request_invented(db: sqlite3.Connection) -> str:
    drop(db, "comity.requests", 0)
    return "ledger entry 1"


def other_entry(kind: str, change: Change) -> Fraud:
    def plant(db: sqlite3.Connection) -> str:
        offset, leaf, sealed = next(entry for entry in entries(db) if entry[1]["kind"] == kind)
        change(leaf, sealed)
        rewrite(db, offset, leaf, sealed)
        return f"ledger entry {offset}"

    return plant


FRAUDS: dict[str, Fraud] = {
    "an accepted notice called refused": change_first(lambda leaf, sealed: leaf.update(outcome="refused")),
    "a refused notice called accepted": change_first(lambda leaf, sealed: leaf.update(outcome="accepted"), outcome="refused"),
    "another reason for a refusal": change_first(lambda leaf, sealed: sealed.update(reason="expired"), outcome="refused"),
    "a changed sealed part": change_first(lambda leaf, sealed: sealed.update(type="trade.measure.v1"), fix=False),
    "another type": change_first(lambda leaf, sealed: sealed.update(type="trade.measure.v1")),
    "another sender": change_first(lambda leaf, sealed: sealed.update(sender=B)),
    "another clause": change_first(grant("clause", "c1")),
    "another agreement": change_first(grant("agreement", "a-2")),
    "another version": change_first(grant("version", 2)),
    "another recipient": change_first(grant("recipient", D)),
    "a withheld field called delivered": change_first(grant("withheld", []), at=-1),
    "another number": change_first(grant("number", 2)),
    "a delivery called a recall": change_first(grant("reason", "recall")),
    "another slot": change_first(lambda leaf, sealed: sealed["deliveries"][0].update(slot=(sealed["deliveries"][0]["slot"] + 1) % 16)),
    "a delivery left out": change_first(lambda leaf, sealed: sealed["deliveries"].pop()),
    "another seed": change_first(lambda leaf, sealed: sealed.update(seed=strict.b64(b"s" * 32))),
    "another digest": change_first(lambda leaf, sealed: leaf.update(digest=strict.b64(b"d" * 32))),
    "another delivery root": change_first(lambda leaf, sealed: leaf.update(deliveries=strict.b64(b"d" * 32))),
    "a decision dated before its sender's last": change_first(lambda leaf, sealed: leaf.update(at=T0 - 1), at=1),
    "a decision on an old registry": change_first(lambda leaf, sealed: leaf.update(registry=4)),
    "a decision on a registry to come": change_first(lambda leaf, sealed: leaf.update(registry=7)),
    "a decision about other bytes": change_first(lambda leaf, sealed: sealed["source"].update(offset=1)),
    "a sealed part with more in it": change_first(lambda leaf, sealed: sealed.update(extra=1)),
    "a sealed part without a seed": change_first(lambda leaf, sealed: sealed.pop("seed")),
    "a refusal blamed on the API": change_first(lambda leaf, sealed: sealed.update(by="api"), outcome="refused"),
    "a refusal by the API called the router's": change_first(lambda leaf, sealed: sealed.update(by="router"), outcome="refused", at=-1),
    "an acceptance put down to the API": change_first(lambda leaf, sealed: sealed.update(by="api")),
    "a refused notice that nobody recorded": pass_over(11),
    "an accepted notice that nobody recorded": pass_over(7),
    "a request that nobody judged": request_passed_over,
    "a statement that nobody requested": request_invented,
    "an acknowledgement called refused": other_entry("ack", lambda leaf, sealed: leaf.update(outcome="refused")),
    "a reading of something else": other_entry("read", lambda leaf, sealed: leaf.update(digest=strict.b64(b"d" * 32))),
    "a reading by another": other_entry("read", lambda leaf, sealed: sealed.update(sender=A)),
    "a delivery under another subject": header("ce_subject", "something harmless"),
    "a delivery dated back": header("ce_time", "2020-01-01T00:00:00.000Z"),
    "an erased sealed part": erase,
    "two entries swapped": swap,
    "the last entry removed": drop_entry(-1),
    "a middle entry removed": drop_entry(6),
    "the first entry removed": drop_entry(0),
    "a delivery nobody granted": insert_delivery,
    "a delivery made twice": twice,
    "delivered bytes changed": unredact,
    "a delivery removed": drop_delivery,
    "a delivery renumbered": header("ce_number", "7"),
    "a delivery under another clause": header("ce_agreement", "a-9@1/c1"),
    "a delivery from another": header("ce_source", f"/agencies/{C}"),
    "a notice changed": alter_notice,
    "a notice removed": drop_notice,
    "a notice without an entry": slip_in_notice,
    "an agreement widened after it was signed": event(wider_ceiling),
    "an event made effective later": event(lambda said: said.update(effective=said["effective"] + 60_000)),
    "an event recorded earlier": event(lambda said: said.update(recorded=said["recorded"] - 60_000)),
    "an event nobody judged": unsigned_event,
    "a statement called refused": registry_entry(lambda leaf, sealed: leaf.update(outcome="refused")),
    "a statement at another place": registry_entry(lambda leaf, sealed: leaf.update(registry=3)),
    "an acknowledgement of something else": ack_entry,
    "a checkpoint with a changed size": checkpoint(lambda note: note.replace(b"\n8\n", b"\n9\n")),
    "a checkpoint that is none": checkpoint(lambda note: b"nonsense"),
    "a second root for a size": second_root,
    "a checkpoint by another key": other_key,
}  # fmt: skip
