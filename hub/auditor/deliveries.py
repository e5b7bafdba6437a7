"""The delivery side of an audit: what was delivered is what the ledger says, byte for byte, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hub.auditor.reading import Extent
from hub.auditor.report import Report
from hub.core import envelope, record
from hub.core.process import Accepted, digest_of
from hub.core.strict import b64
from hub.log import Log, Stored

DELIVERIES = "comity.deliveries."
PAGE = 200
DIGEST = 32  # bytes


@dataclass(frozen=True, slots=True)
class Promised:
    """What one delivery must look like; value None when the notice is gone. Kept until the topic was read that far."""

    index: int
    value: bytes | None
    headers: dict[str, str]


class DeliveryAudit:
    """Collects what entries promise, and holds it against the delivery topics as it goes."""

    def __init__(self, log: Log, report: Report, extent: Extent) -> None:
        self._log, self._report, self._extent = log, report, extent
        self._numbers: dict[tuple[str, str], bytearray] = {}  # (sender, recipient) -> digests, in the order of numbers
        self._promised: dict[str, dict[bytes, Promised]] = {}  # recipient -> digest -> what is still to be found
        self._early: dict[str, dict[bytes, Stored]] = {}  # read before the entry that explains it was
        self._offsets: dict[str, int] = {}
        self._order: dict[tuple[str, str], int] = {}  # (topic, source) -> number last found in the topic
        self._erased: set[bytes] = set()

    def ledgered(self, recipient: str, sender: str, number: int, digest: str) -> bool:
        """Whether an entry so far says that `recipient` got this digest as this number."""
        digests = self._numbers.get((sender, recipient), b"")
        return b64(bytes(digests[(number - 1) * DIGEST : number * DIGEST])) == digest

    def expect(self, outcome: Accepted, deliveries: Sequence[record.Delivery], seed: bytes, at: int) -> None:
        """What the present entry promises: numbers follow on, and these bytes are to be found."""
        notice, env = outcome.notice, outcome.envelope
        time = datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        common = {
            "ce_specversion": "1.0",
            "ce_id": notice.jti,
            "ce_type": f"comity.notice.{notice.type}",
            "ce_time": time,
            "ce_subject": notice.subject,
            "content-type": "application/sd-jwt",
        }
        for delivery in deliveries:
            headers = common | _headers(delivery) | {"ce_salt": b64(record.salt(seed, delivery.recipient))}
            self._expect(delivery, env.digest, envelope.withhold(env, delivery.withheld), headers)

    def expect_erased(self, deliveries: Sequence[record.Delivery], digest: bytes) -> None:
        """What an entry promises whose notice is gone."""
        for delivery in deliveries:
            self._expect(delivery, digest, None, _headers(delivery))

    def erased(self, digest: bytes) -> None:
        """An entry whose sealed part is gone: deliveries of this digest cannot be explained."""
        self._erased.add(digest)

    async def settle(self) -> None:
        """Read the topics as far as promises are open, so that these do not pile up."""
        for recipient, promised in self._promised.items():
            while promised and await self._read(recipient):
                pass

    async def finish(self) -> None:
        """Everything promised was found, and nothing stands in a topic that was not promised."""
        for topic in await self._log.topics(DELIVERIES):
            while await self._read(topic.removeprefix(DELIVERIES)):
                pass
        for recipient, missing in sorted(self._promised.items()):
            for promised in missing.values():
                if promised.value is not None or not self._report.allow_erased:
                    what = f"the delivery that ledger entry {promised.index} promises is missing"
                    self._report.find(what, DELIVERIES + recipient)
        for unexplained in self._early.values():
            doubtful = [stored for digest, stored in unexplained.items() if digest not in self._erased]
            for stored in await self._extent.trim(doubtful):
                self._report.find("no ledger entry explains this delivery", f"{stored.topic} offset {stored.offset}")

    def _expect(self, delivery: record.Delivery, digest: bytes, value: bytes | None, headers: dict[str, str]) -> None:
        self._report.deliveries += 1
        digests = self._numbers.setdefault((delivery.sender, delivery.recipient), bytearray())
        following = len(digests) // DIGEST + 1
        skipped = delivery.number - following
        if 0 < skipped <= len(self._erased):  # entries that were erased may have told of these
            digests += bytes(skipped * DIGEST)
        elif skipped:
            self._report.find(f"delivery number {delivery.number} to {delivery.recipient} where {following} comes next")
        digests += digest
        promised = Promised(self._report.index, value, headers)
        early = self._early.get(delivery.recipient, {}).pop(digest, None)
        if early:
            self._compare(early, promised)
        else:
            self._promised.setdefault(delivery.recipient, {})[digest] = promised

    async def _read(self, recipient: str) -> bool:
        topic = DELIVERIES + recipient
        page = await self._log.read(topic, after=self._offsets.get(topic, -1), limit=PAGE)
        for stored in page:
            self._offsets[topic] = stored.offset
            self._check_order(stored)
            digest = digest_of(stored.record.value)
            promised = self._promised.get(recipient, {}).pop(digest, None)
            if promised:
                self._compare(stored, promised)
            elif digest in self._early.setdefault(recipient, {}):
                self._report.find("the same notice is delivered twice", f"{topic} offset {stored.offset}")
            else:
                self._early[recipient][digest] = stored
        return bool(page)

    def _check_order(self, stored: Stored) -> None:
        """By the headers, which `_compare` holds against the ledger."""
        source, said = (stored.record.headers.get(name, "") for name in ("ce_source", "ce_number"))
        number = int(said) if said.isascii() and said.isdigit() and len(said) < 16 else 0
        following = self._order.get((stored.topic, source), 0) + 1
        if number != following and not (self._report.allow_erased and number > following):
            where = f"{stored.topic} offset {stored.offset}"
            self._report.find(f"number {said[:20]!a} of {source[:60]!a} where {following} comes next", where)
        self._order[stored.topic, source] = number

    def _compare(self, stored: Stored, promised: Promised) -> None:
        where = f"{stored.topic} offset {stored.offset}"
        if promised.value is not None and stored.record.value != promised.value:
            self._report.find(f"the bytes are not what ledger entry {promised.index} says was delivered", where)
        for name, value in promised.headers.items():
            found = stored.record.headers.get(name)
            if found != value:
                told = f"the header {name} is {(found or 'missing')[:60]!a}, by ledger entry {promised.index} {value[:60]!a}"
                self._report.find(told, where)


def _headers(delivery: record.Delivery) -> dict[str, str]:
    return {
        "ce_source": f"/agencies/{delivery.sender}",
        "ce_number": str(delivery.number),
        "ce_agreement": f"{delivery.agreement}@{delivery.version}/{delivery.clause}",
        "ce_withheld": ",".join(delivery.withheld),
        "ce_reason": delivery.reason,
    }
