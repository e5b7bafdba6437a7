"""The message side of an audit: every notice and acknowledgement is judged again, where and when its entry says."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any

from hub.auditor.deliveries import DeliveryAudit
from hub.auditor.memory import Judged
from hub.auditor.reading import Extent, Reader
from hub.auditor.report import Report
from hub.core import record
from hub.core.decision import Received, Seen
from hub.core.process import MAX_LIFETIME, Accepted, Duplicate, Outcome, Refused, Stored, digest_of, process
from hub.core.registry import Registry, View
from hub.core.strict import b64, unb64
from hub.log import Log
from hub.log import Stored as Message
from schemas.notice import Notice

NOTICES = "comity.notices."
REFUSED_HEADER = "comity-refused"
ACK_MEMORY = 8 * 86_400  # seconds an acknowledgement's jti is remembered


@dataclass(slots=True)
class Thread:
    """One agency's topic, read as far as entries explain it; the position and moment of the last entry about it."""

    reader: Reader
    last: int = -1
    when: tuple[int, int] | None = None
    passed: list[Message] = field(default_factory=list)


class MessageAudit:
    """Remembers what the ledger says was judged before, as the router did, so that replays are judged alike."""

    def __init__(self, log: Log, report: Report, extent: Extent, registry: Registry, deliveries: DeliveryAudit) -> None:
        self._log, self._report, self._extent = log, report, extent
        self._registry, self._deliveries = registry, deliveries
        self._judged = Judged()
        self._threads: dict[str, Thread] = {}

    async def entry(self, leaf: dict[str, Any], sealed: dict[str, Any]) -> list[record.Delivery]:
        """One ledger entry about a message; the deliveries it lists."""
        said = [record.Delivery.from_sealed(sealed["sender"], entry) for entry in sealed.get("deliveries", ())]
        await self._check(leaf, sealed, said)
        return said

    async def _check(self, leaf: dict[str, Any], sealed: dict[str, Any], said: list[record.Delivery]) -> None:
        source = sealed["source"]
        owner = source["topic"].removeprefix(NOTICES)
        if sealed["sender"] != owner:
            self._report.find(f"the sender {sealed['sender']} does not own {source['topic']}")
        message = await self._fetch(source["topic"], source["offset"], leaf)
        if message is None:
            self._report.missing(f"what it judged is missing: {source['topic']} offset {source['offset']}")
            self._believe(leaf, sealed, said)
            return
        raw = message.record.value
        if leaf["kind"] == "read":
            if b64(hashlib.sha256(raw).digest()) != leaf["digest"]:
                self._report.find(f"its digest is not that of {source['topic']} offset {source['offset']}")
            reader = self._registry.view(leaf["registry"]).agency(owner, leaf["at"])
            if reader is None or reader.role != "auditor":
                self._report.find(f"it is a reading of the ledger by {owner}, which is no auditor")
            return
        if b64(digest_of(raw)) != leaf["digest"]:
            self._report.find(f"its digest is not that of {source['topic']} offset {source['offset']}")
            return
        outcome = self._judge(raw, owner, leaf["at"], self._registry.view(leaf["registry"]))
        self._compare(leaf, sealed, outcome, said, message)

    def erased(self, digest: bytes) -> None:
        """An entry of which only the leaf is left."""
        self._judged.erased.add(digest)

    async def finish(self) -> None:
        """What comes after the last message that an entry explains may be waiting, if it is not known already."""
        for topic in await self._log.topics(NOTICES):
            thread = self._threads.get(topic) or Thread(Reader(self._log, topic, self._extent))
            at = thread.when[1] if thread.when else 0
            while message := await thread.reader.take():
                if not self._is_known(message, at, self._registry.view()):
                    self._report.pending += 1

    async def _fetch(self, topic: str, offset: int, leaf: dict[str, Any]) -> Message | None:
        """The message of an entry. Those before it that no entry explains must be known already."""
        thread = self._threads.get(topic)
        if thread is None:
            thread = self._threads[topic] = Thread(Reader(self._log, topic, self._extent))
        if offset <= thread.last:
            self._report.find(f"{topic} offset {offset} is explained twice, or after a later one")
            found = await self._log.read(topic, after=offset - 1, limit=1)
            return found[0] if found and found[0].offset == offset else None
        now = (leaf["registry"], leaf["at"])
        while (message := await thread.reader.peek()) and message.offset < offset:
            await thread.reader.take()
            self._pass_over(message, thread.when or now, now)
        thread.last, thread.when = offset, now
        return await thread.reader.take() if message and message.offset == offset else None

    def _pass_over(self, message: Message, before: tuple[int, int], after: tuple[int, int]) -> None:
        """Fine when it was no news at some moment between the two entries around it."""
        for position, at in (after, before):
            if self._is_known(message, at, self._registry.view(position)):
                return
        self._report.find("no ledger entry says what became of it", f"{message.topic} offset {message.offset}")

    def _is_known(self, message: Message, at: int, view: View) -> bool:
        """The same bytes were accepted before, or refused lately for the same reason: written down once."""
        raw, owner = message.record.value, message.topic.removeprefix(NOTICES)
        outcome = self._judge(raw, owner, at, view)
        if outcome.digest in self._judged.erased:
            return True
        on_record = self._judged.refusal(owner, outcome.digest)
        if isinstance(outcome, Refused):
            return outcome.reason == on_record
        said = message.record.headers.get(REFUSED_HEADER)
        return isinstance(outcome, Duplicate) or (said is not None and on_record is not None)

    def _judge(self, raw: bytes, owner: str, at: int, view: View) -> Outcome:
        return process(raw, owner=owner, at=at, view=view, seen=lambda iss, jti: self._judged.seen(iss, jti, at))

    def _compare(
        self,
        leaf: dict[str, Any],
        sealed: dict[str, Any],
        outcome: Outcome,
        said: list[record.Delivery],
        message: Message,
    ) -> None:
        if leaf["outcome"] == "refused":
            self._compare_refusal(leaf, sealed, outcome, message)
        elif leaf["kind"] == "ack" and isinstance(outcome, Stored):
            self._compare_acknowledgement(sealed, outcome)
            self._judged.remember(
                sealed["sender"], sealed["jti"], Seen(outcome.digest, leaf["at"] // 1000 + ACK_MEMORY), leaf["at"]
            )
        elif leaf["kind"] == "notice" and isinstance(outcome, Accepted):
            self._compare_decision(leaf, sealed, outcome, said)
        elif isinstance(outcome, Duplicate):
            self._report.find("the same bytes are in the ledger before; a duplicate is written once")
        else:
            told = f"{outcome.reason}: {outcome.detail}" if isinstance(outcome, Refused) else type(outcome).__name__
            self._report.find(f"the ledger says accepted; judged again: {told}")

    def _compare_refusal(
        self, leaf: dict[str, Any], sealed: dict[str, Any], outcome: Outcome, message: Message
    ) -> None:
        if sealed.get("deliveries"):
            self._report.find("a refused message has deliveries")
        reason, by_api = sealed.get("reason"), sealed.get("by") == "api"
        if by_api != (REFUSED_HEADER in message.record.headers):
            self._report.find("who refused it, API or router, is not what the message says")
        if isinstance(outcome, Refused):
            if outcome.reason != reason:
                self._report.find(f"the ledger says refused for {reason}; judged again: {outcome.reason}")
            known = (sealed.get("jti"), sealed.get("type"), sealed.get("kid"))
            if known != (outcome.jti, outcome.type, outcome.kid):
                self._report.find("the claims it cites are not those of the message")
        elif reason == "equivocation" and self._judged.erased:
            self._report.missing("what it equivocates on is missing")
        elif by_api:
            self._report.note(f"refused by the API for {reason}, and good by the time it was recorded")
        else:
            self._report.find(f"the ledger says refused for {reason}; judged again it is good")
        self._judged.remember_refusal(sealed["sender"], unb64(leaf["digest"]), reason or "", leaf["at"])

    def _compare_acknowledgement(self, sealed: dict[str, Any], outcome: Stored) -> None:
        said = outcome.acknowledgement
        if (sealed["jti"], sealed["kid"], sealed["stored"]) != (
            said.jti, outcome.kid, [entry.model_dump() for entry in said.stored],
        ):  # fmt: skip
            self._report.find("it is not what the acknowledgement says")
        for entry in said.stored:
            if not self._deliveries.ledgered(said.iss, entry.sender, entry.number, entry.digest):
                self._report.note(
                    f"{said.iss} acknowledges delivery {entry.number} of {entry.sender}, which it never got"
                )

    def _compare_decision(
        self, leaf: dict[str, Any], sealed: dict[str, Any], outcome: Accepted, said: list[record.Delivery]
    ) -> None:
        notice = outcome.notice
        claims = (notice.iss, notice.jti, notice.type, outcome.envelope.kid, "router")
        if claims != tuple(sealed.get(name) for name in ("sender", "jti", "type", "kid", "by")):
            self._report.find("the claims it cites are not those of the notice")
        decided = [
            (g.recipient, g.agreement, g.version, g.clause, g.withheld, g.reason) for g in outcome.decision.grants
        ]
        if self._recalls_what_was_erased(notice, said):
            self._report.missing("what it cancels is missing, and with it who must hear of that")
        elif decided != [(d.recipient, d.agreement, d.version, d.clause, d.withheld, d.reason) for d in said]:
            self._report.find(_difference(decided, said))
        self._deliveries.expect(outcome, said, unb64(sealed["seed"]), leaf["at"])
        received = tuple(Received(d.recipient, d.agreement, d.version, d.clause) for d in said)
        self._judged.remember(notice.iss, notice.jti, Seen(outcome.digest, notice.exp, received), leaf["at"])

    def _recalls_what_was_erased(self, notice: Notice, said: list[record.Delivery]) -> bool:
        recalls = any(delivery.reason == "recall" for delivery in said)
        return recalls and bool(self._judged.erased) and not self._judged.knows(notice.iss, notice.cancels)

    def _believe(self, leaf: dict[str, Any], sealed: dict[str, Any], said: list[record.Delivery]) -> None:
        """The payload is gone: what the entry says of it is all there is for those that refer to it."""
        digest, at = unb64(leaf["digest"]), leaf["at"]
        self._judged.erased.add(digest)
        if leaf["kind"] == "notice" and leaf["outcome"] == "accepted":
            self._deliveries.expect_erased(said, digest)
            received = tuple(Received(d.recipient, d.agreement, d.version, d.clause) for d in said)
            self._judged.remember(
                sealed["sender"], sealed["jti"], Seen(digest, at // 1000 + MAX_LIFETIME, received), at
            )


def _difference(decided: list[tuple[Any, ...]], said: list[record.Delivery]) -> str:
    """The first recipient of whom ledger and rule say different things."""
    ledger = {d.recipient: (d.recipient, d.agreement, d.version, d.clause, d.withheld, d.reason) for d in said}
    rule = {grant[0]: grant for grant in decided}
    for recipient in sorted(ledger.keys() | rule.keys()):
        if ledger.get(recipient) != rule.get(recipient):
            return f"decided again, {recipient} gets {_told(rule.get(recipient))}; the ledger says {_told(ledger.get(recipient))}"
    return "the deliveries are listed out of order"


def _told(grant: tuple[Any, ...] | None) -> str:
    if grant is None:
        return "nothing"
    _, agreement, version, clause, withheld, reason = grant
    return f"it under {agreement}@{version}/{clause} without {', '.join(withheld) or 'nothing'} ({reason})"
