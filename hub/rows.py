"""From log records to rows of the index: what each kind of record adds to the tables of `hub.projection`.

Pure. A notices topic and the requests topic hold whatever was sent, so what cannot be read there adds nothing; the
ledger is the hub's own, so what cannot be read there is an error.
"""

from __future__ import annotations

import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeGuard

from hub.core import strict
from hub.core.errors import Refusal, VerificationFailed
from hub.core.merkle import leaf_hash
from hub.core.process import digest_of
from hub.log import Stored
from hub.projection import ACCEPTED, REFUSED, Rows

REFUSED_HEADER = "comity-refused"
MAX_NAME = 64  # characters of an id
_FROM_URL = bytes.maketrans(b"-_", b"+/")


@dataclass(frozen=True, slots=True)
class Entry:
    """A ledger entry: its number (leaf n of the tree), its bytes, what they say. An erased sealed part is None."""

    number: int
    leaf_bytes: bytes
    leaf: dict[str, Any]
    sealed_bytes: bytes | None
    sealed: dict[str, Any] | None

    @classmethod
    def read(cls, number: int, value: bytes) -> Entry:
        """From a record of the ledger, which is the hub's own writing. VerificationFailed if it is not JSON."""
        leaf, newline, sealed = value.partition(b"\n")
        try:
            if newline:
                return cls(number, leaf, json.loads(leaf), sealed, json.loads(sealed))
            return cls(number, leaf, json.loads(leaf), None, None)
        except ValueError:
            raise VerificationFailed(f"ledger entry {number} is no ledger record: run `comity audit verify`") from None


def from_notices(agency: str, batch: Sequence[Stored]) -> Rows:
    """Rows of a notices topic: the notices in it, not yet judged. Acknowledgements wait for their ledger entry."""
    rows = _rows(batch)
    for stored in batch:
        message = stored.record
        jti = _claimed_jti(message.value) if b"~" in message.value else None
        if jti is not None:
            outcome = REFUSED if REFUSED_HEADER in message.headers else None
            accepted_at = _ms(message.headers.get("ce_time"))
            rows.posted.append((agency, jti, digest_of(message.value), stored.offset, accepted_at, outcome))
    return rows


def from_requests(batch: Sequence[Stored]) -> Rows:
    """Rows of the requests topic: statements not yet judged."""
    rows = _rows(batch)
    for stored in batch:
        if (id_ := statement_id(stored.record.value)) is not None:
            rows.requested.append((id_,))
    return rows


def from_ledger(entries: Sequence[Entry], batch: Sequence[Stored]) -> Rows:
    """Rows of the ledger. Raises VerificationFailed for an entry that an honest hub would not have written."""
    rows = _rows(batch)
    for entry, stored in zip(entries, batch, strict=True):
        try:
            _add(rows, entry, stored.offset)
        except (KeyError, TypeError, ValueError, Refusal) as error:
            fault = f"ledger entry {entry.number} lacks what its kind needs ({error!r}): run `comity audit verify`"
            raise VerificationFailed(fault) from None
    return rows


def sources(entries: Sequence[Entry]) -> dict[str, int]:
    """The topics whose messages these entries judge, each with the newest offset."""
    newest: dict[str, int] = {}
    for entry in entries:
        if entry.sealed and (source := entry.sealed.get("source")):
            newest[source["topic"]] = max(source["offset"], newest.get(source["topic"], -1))
    return newest


def _add(rows: Rows, entry: Entry, offset: int) -> None:
    leaf, sealed = entry.leaf, entry.sealed or {}
    outcome, at = ACCEPTED if leaf["outcome"] == "accepted" else REFUSED, leaf["at"]
    rows.entries.append((entry.number, offset, leaf_hash(entry.leaf_bytes), at))
    match leaf["kind"]:
        case "notice" if sealed:
            digest = strict.unb64(leaf["digest"])
            rows.judged.append((sealed["sender"], sealed.get("jti") or "", digest, at, entry.number, outcome))
        case "registry" if sealed:
            document = sealed["statement"] if "statement" in sealed else sealed["raw"]
            id_ = statement_id(document)
            if id_ is not None:
                rows.ruled.append((id_, strict.unb64(leaf["digest"]), entry.number, outcome))
        case "ack" if sealed and outcome == ACCEPTED:
            rows.acks += [(sealed["sender"], ack["sender"], ack["number"], at) for ack in sealed["stored"]]


def statement_id(document: bytes | str | dict[str, Any]) -> str | None:
    """The id that a statement document claims; None when it cannot be read. The same for the document and its text."""
    try:
        said = document if isinstance(document, dict) else json.loads(document)
        id_ = json.loads(_unb64(said["payload"]))["id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return id_ if _is_name(id_) else None


def _claimed_jti(message: bytes) -> str | None:
    """The `jti` in a notice's payload, believed no further than as the name under which its own sender asks for it."""
    try:
        jti = json.loads(_unb64(message.split(b".", 2)[1]))["jti"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return None
    return jti if _is_name(jti) else None


def _is_name(claimed: object) -> TypeGuard[str]:
    """Short and ASCII: what else a message may claim is no id, and some of it no database would take."""
    return isinstance(claimed, str) and 0 < len(claimed) <= MAX_NAME and claimed.isascii()


def _unb64(text: str | bytes) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode("ascii")
    return binascii.a2b_base64(raw.translate(_FROM_URL) + b"==")


def _rows(batch: Sequence[Stored]) -> Rows:
    last = batch[-1]
    return Rows(last.topic, last.offset, hashlib.sha256(last.record.value).digest())


def _ms(text: str | None) -> int | None:
    """RFC 3339 to ms since the epoch; None for anything else."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return round(moment.timestamp() * 1000) if moment.tzinfo else None
