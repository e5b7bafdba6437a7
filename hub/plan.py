"""What one batch leads to: each message judged by `process`, and for it the deliveries, the ledger entry that explains them,
and what is to be remembered. Nothing is written here; the router commits all of it at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from hub.core import envelope, record, strict
from hub.core.decision import Received, Seen
from hub.core.errors import Refusal
from hub.core.messages import notice_headers
from hub.core.process import Accepted, Duplicate, Outcome, Refused, Stored, process
from hub.core.registry import View
from hub.log import Record
from hub.log import Stored as Message
from hub.log.topics import DELIVERIES, NOTICES
from hub.memory import Memory

LEDGER = "comity.ledger"
REFUSED_HEADER = "comity-refused"
READ_TYPE = "application/vnd.comity.read+json"
ACK_MEMORY = 8 * 86_400  # seconds an acknowledgement's jti is remembered


@dataclass
class Plan:
    """What one batch will write: outputs in order; the memory holds the state changes."""

    at: int
    view: View
    memory: Memory
    random: Callable[[int], bytes]
    outputs: list[tuple[str, Record]] = field(default_factory=list)
    judged: int = 0  # messages
    size: int = 0  # bytes of the outputs' values

    def __post_init__(self) -> None:
        self.memory.at = self.at

    def add(self, message: Message) -> None:
        """Judge one message and plan what it leads to."""
        owner = message.topic.removeprefix(NOTICES)
        if message.record.headers.get("content-type") == READ_TYPE and self._is_auditor(owner):
            self._read(message, owner)
            return
        outcome = process(message.record.value, owner=owner, at=self.at, view=self.view, seen=self.memory.seen)
        said = message.record.headers.get(REFUSED_HEADER)
        by = "router"
        if said is not None and not isinstance(outcome, Duplicate):
            outcome, by = _refused_at_the_door(outcome, said), "api"
        match outcome:
            case Accepted():
                self._accept(message, outcome)
            case Refused():
                self._refuse(message, owner, outcome, by)
            case Stored():
                self._store(message, owner, outcome)
            case Duplicate():
                pass  # its answer is on record

    def _accept(self, message: Message, outcome: Accepted) -> None:
        notice, grants = outcome.notice, outcome.decision.grants
        deliveries = [
            record.Delivery(
                recipient=grant.recipient,
                sender=notice.iss,
                agreement=grant.agreement,
                version=grant.version,
                clause=grant.clause,
                withheld=grant.withheld,
                number=self.memory.next_number(notice.iss, grant.recipient),
                reason=grant.reason,
            )
            for grant in grants
        ]
        tree = self._ledger(
            "notice", outcome.digest, "accepted", deliveries,
            {"sender": notice.iss, "jti": notice.jti, "type": notice.type, "kid": outcome.envelope.kid,
             "by": "router", "source": _source(message)},
        )  # fmt: skip
        about = notice_headers(notice, self.at, message.record.headers.get("traceparent"))
        for delivery in deliveries:
            value = (
                envelope.withhold(outcome.envelope, delivery.withheld) if delivery.withheld else outcome.envelope.raw
            )
            headers = about | _delivered(delivery, tree)
            self.outputs.append((DELIVERIES + delivery.recipient, Record(value, notice.subject, headers)))
        received = tuple(Received(d.recipient, d.agreement, d.version, d.clause) for d in deliveries)
        self.memory.remember(notice.iss, notice.jti, Seen(outcome.digest, notice.exp, received))

    def _refuse(self, message: Message, owner: str, outcome: Refused, by: str) -> None:
        if self.memory.refused(owner, outcome.digest) == outcome.reason:
            return  # on record already; writing it again would let anyone grow the ledger at will
        sealed = {
            "sender": owner,
            "reason": outcome.reason,
            "detail": outcome.detail,
            "by": by,
            "source": _source(message),
        }
        sealed |= {
            k: v for k, v in (("jti", outcome.jti), ("type", outcome.type), ("kid", outcome.kid)) if v is not None
        }
        self._ledger("notice", outcome.digest, "refused", [], sealed)
        self.memory.remember_refusal(owner, outcome.digest, outcome.reason, self.at)

    def _store(self, message: Message, owner: str, outcome: Stored) -> None:
        ack = outcome.acknowledgement
        stored = [entry.model_dump() for entry in ack.stored]
        sealed = {"sender": owner, "jti": ack.jti, "kid": outcome.kid, "stored": stored, "source": _source(message)}
        self._ledger("ack", outcome.digest, "accepted", [], sealed)
        self.memory.remember(owner, ack.jti, Seen(outcome.digest, self.at // 1000 + ACK_MEMORY))

    def _is_auditor(self, owner: str) -> bool:
        """A partner that writes to its topic itself could claim to have read the ledger; its word is no record of that."""
        agency = self.view.agency(owner, self.at)
        return agency is not None and agency.role == "auditor"

    def _read(self, message: Message, owner: str) -> None:
        """An auditor's reading, written down by the API that served it."""
        digest = hashlib.sha256(message.record.value).digest()
        try:
            what: Any = strict.loads(message.record.value, max_bytes=4096)
        except Refusal:
            what = None
        sealed = {"sender": owner, "read": what, "source": _source(message)}
        self._ledger("read", digest, "accepted", [], sealed)

    def _ledger(
        self, kind: str, digest: bytes, outcome: str, deliveries: Sequence[record.Delivery], sealed: dict[str, Any]
    ) -> record.DeliveryTree:
        """Plan the ledger entry; its delivery tree says which salt goes with which delivery."""
        seed = self.random(32)
        tree = record.DeliveryTree(seed, digest, deliveries, record.slots(self.view.enrolled()))
        value = record.entry(
            kind=kind, digest=digest, outcome=outcome, registry=self.view.position, at=self.at,
            seed=seed, tree=tree, sealed=sealed,
        )  # fmt: skip
        self.outputs.append((LEDGER, Record(value)))
        return tree


def _delivered(delivery: record.Delivery, tree: record.DeliveryTree) -> dict[str, str]:
    """What a delivery says beside the notice's own headers: extension attributes of CloudEvents."""
    return {
        "ce_number": str(delivery.number),
        "ce_agreement": f"{delivery.agreement}@{delivery.version}/{delivery.clause}",
        "ce_withheld": ",".join(delivery.withheld),
        "ce_reason": delivery.reason,
        "ce_salt": strict.b64(tree.salts[delivery.recipient]),
    }


def _refused_at_the_door(outcome: Outcome, said: str) -> Refused:
    """The API told the publisher no; so nothing may be delivered, even if the same bytes would pass now."""
    if isinstance(outcome, Refused):
        return outcome
    reason = said if said.replace("-", "").isalnum() and said.isascii() and len(said) <= 40 else "refused"
    return Refused(outcome.digest, reason, "refused by the API before it was acknowledged")


def _source(message: Message) -> dict[str, Any]:
    return {"topic": message.topic, "partition": message.partition, "offset": message.offset}
