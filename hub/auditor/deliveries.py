"""The delivery side of an audit: what was delivered is what the ledger says, byte for byte, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from hub.core import envelope, record
from hub.core.process import digest_of
from hub.core.strict import b64
from hub.log import Log, Stored

if TYPE_CHECKING:
    from hub.auditor import Report

DELIVERIES = "comity.deliveries."
PAGE = 200


class Find(Protocol):
    def __call__(self, what: str, where: str | None = None) -> None: ...


@dataclass(frozen=True, slots=True)
class Expected:
    """What one delivery must look like. Kept until the topic has been read that far, so memory stays small."""

    index: int
    value: bytes
    source: str
    number: str
    agreement: str
    withheld: str
    reason: str
    salt: str


class DeliveryAudit:
    """Collects what entries promise, and holds it against the delivery topics when all entries are read."""

    def __init__(self, log: Log, report: Report, find: Find) -> None:
        self._log, self._report, self._find = log, report, find
        self._numbers: dict[tuple[str, str], list[bytes]] = {}  # (sender, recipient) -> digest by number - 1
        self._expected: dict[str, dict[bytes, Expected]] = {}  # recipient -> digest -> what is still to be found
        self._offsets: dict[str, int] = {}
        self._order: dict[tuple[str, str], int] = {}  # (sender, recipient) -> number last found in the topic
        self._early: dict[str, dict[bytes, Stored]] = {}  # read before the entry that explains it was

    def ledgered(self, recipient: str, sender: str, number: int, digest: str) -> bool:
        """Whether an entry so far says that `recipient` got this digest as this number."""
        digests = self._numbers.get((sender, recipient), [])
        return 0 < number <= len(digests) and b64(digests[number - 1]) == digest

    def expect(self, env: envelope.Envelope, deliveries: Sequence[record.Delivery], seed: bytes) -> None:
        """What an accepted entry promises: numbers follow on, and these bytes are to be found."""
        for delivery in deliveries:
            self._report.deliveries += 1
            digests = self._numbers.setdefault((delivery.sender, delivery.recipient), [])
            if delivery.number != len(digests) + 1:
                self._find(f"delivery number {delivery.number} to {delivery.recipient} where {len(digests) + 1} comes next")
            digests.append(env.digest)
            promised = Expected(
                index=self._report.entries - 1,
                value=envelope.withhold(env, delivery.withheld),
                source=f"/agencies/{delivery.sender}",
                number=str(delivery.number),
                agreement=f"{delivery.agreement}@{delivery.version}/{delivery.clause}",
                withheld=",".join(delivery.withheld),
                reason=delivery.reason,
                salt=b64(record.salt(seed, delivery.recipient)),
            )
            early = self._early.get(delivery.recipient, {}).pop(env.digest, None)
            if early:
                self._compare(early, promised)
            else:
                self._expected.setdefault(delivery.recipient, {})[env.digest] = promised

    async def settle(self) -> None:
        """Read the topics as far as promises are open, so that these do not pile up."""
        for topic in await self._log.topics(DELIVERIES):
            while self._expected.get(topic.removeprefix(DELIVERIES)) and await self._read(topic):
                pass

    async def finish(self) -> None:
        """Everything promised was found, and nothing stands in a topic that was not promised."""
        for topic in await self._log.topics(DELIVERIES):
            while await self._read(topic):
                pass
        for recipient, missing in sorted(self._expected.items()):
            for promised in missing.values():
                self._find(f"the delivery that ledger entry {promised.index} promises is missing", DELIVERIES + recipient)
        for unexplained in self._early.values():
            for stored in unexplained.values():
                self._find("no ledger entry explains this delivery", f"{stored.topic} offset {stored.offset}")

    async def _read(self, topic: str) -> bool:
        page = await self._log.read(topic, after=self._offsets.get(topic, -1), limit=PAGE)
        recipient = topic.removeprefix(DELIVERIES)
        for stored in page:
            self._offsets[topic] = stored.offset
            self._check_order(recipient, stored)
            digest = digest_of(stored.record.value)
            promised = self._expected.get(recipient, {}).pop(digest, None)
            if promised:
                self._compare(stored, promised)
            elif digest in self._early.setdefault(recipient, {}):
                self._find("the same notice is delivered twice", f"{topic} offset {stored.offset}")
            else:
                self._early[recipient][digest] = stored
        return bool(page)

    def _check_order(self, recipient: str, stored: Stored) -> None:
        """By the headers, which `_compare` holds against the ledger."""
        sender, number = stored.record.headers.get("ce_source", ""), stored.record.headers.get("ce_number", "")
        last = self._order.get((sender, recipient), 0)
        if number != str(last + 1):
            self._find(f"number {number[:20]} of {sender[:60]} where {last + 1} comes next", f"{stored.topic} offset {stored.offset}")
        self._order[sender, recipient] = int(number) if number.isascii() and number.isdigit() else last + 1

    def _compare(self, stored: Stored, promised: Expected) -> None:
        where = f"{stored.topic} offset {stored.offset}"
        headers = stored.record.headers
        names = ("source", "number", "agreement", "withheld", "reason", "salt")
        if stored.record.value != promised.value:
            self._find(f"the bytes are not what ledger entry {promised.index} says was delivered", where)
        elif any(headers.get(f"ce_{name}") != getattr(promised, name) for name in names):
            self._find(f"the headers are not what ledger entry {promised.index} says", where)
