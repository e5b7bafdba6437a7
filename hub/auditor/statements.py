"""The registry side of an audit: requests, ledger entries and registry events tell one story, and its rules were kept."""

from __future__ import annotations

import bisect
from typing import Any

from hub.auditor.reading import Extent, Reader
from hub.auditor.report import Report
from hub.core import jws, statements, strict
from hub.core.errors import Refusal, VerificationFailed
from hub.core.judging import follow, judge
from hub.core.process import digest_of
from hub.core.registry import Registry
from hub.core.strict import b64
from hub.follow import REGISTRY, parse_event
from hub.log import Log, Stored
from schemas.statement import RegistryEvent

REQUESTS = "comity.requests"
OWN = ("hub.found", "agreement.lapse")  # statements that the hub makes itself, without a request
LOOKAHEAD = 1_000  # requests passed over at most in search of the one that an entry answers


class StatementAudit:
    """`registry` is the fold of the events whose ledger entries were read so far."""

    def __init__(self, log: Log, report: Report, extent: Extent) -> None:
        self.registry = Registry()
        self._due = 0  # events that must have their entry
        self._log, self._report, self._extent = log, report, extent
        self._events: list[RegistryEvent] = []
        self._effective: list[int] = []
        self._requests = Reader(log, REQUESTS, extent)

    async def open(self) -> None:
        """Read all events: a decision must have seen those that were effective at its time, recorded before it or not."""
        offset = -1
        while page := await self._log.read(REGISTRY, after=offset):
            offset = page[-1].offset
            for stored in page:
                self._add(stored)
            self._due += len(await self._extent.trim(page))
        self._effective = [event.effective for event in self._events]
        if self._effective != sorted(self._effective):
            self._report.find("events take effect out of order", REGISTRY)

    def _add(self, stored: Stored) -> None:
        try:
            self._events.append(parse_event(stored.record.value))
        except VerificationFailed as fault:
            self._report.find(str(fault), f"{REGISTRY} offset {stored.offset}")

    def in_effect(self, at: int) -> int:
        """How many events a decision at `at` (ms) must have seen."""
        return bisect.bisect_right(self._effective, at)

    async def entry(self, leaf: dict[str, Any], sealed: dict[str, Any]) -> None:
        """One ledger entry about a statement."""
        self._report.statements += 1
        document = await self._request(leaf, sealed)
        if document is not None and b64(_digest(document)) != leaf["digest"]:
            self._report.find("the digest is not that of the statement")
        if leaf["registry"] != self.registry.position:
            position = self.registry.position
            self._report.find(f"it cites {leaf['registry']} registry events; {position} are recorded before it")
        if leaf["outcome"] == "refused":
            self._report.refused += 1
            self._check_refusal(leaf, sealed, document)
        else:
            self._check_event(leaf, sealed)

    async def erased(self, leaf: dict[str, Any]) -> None:
        """An entry whose sealed part is gone: the event, if it was one, still stands in its topic."""
        self._report.statements += 1
        self._report.refused += leaf["outcome"] == "refused"
        upcoming = await self._requests.peek()
        if upcoming and b64(_digest(upcoming.record.value)) == leaf["digest"]:
            await self._requests.take()
        if leaf["outcome"] == "accepted" and (event := self._event()):
            if (b64(_digest(strict.dumps(event.statement))), event.recorded) != (leaf["digest"], leaf["at"]):
                self._report.find(f"it differs from event {event.position} in {REGISTRY}")
            self._follow(event)

    def finish(self) -> None:
        """Every event of the topic has its ledger entry."""
        position = self.registry.position
        if self._due > position:
            self._report.find("no ledger entry records it", f"{REGISTRY} event {position}")

    async def unanswered(self) -> None:
        """Requests after the last that has an entry: they may be waiting."""
        while await self._requests.take():
            self._report.pending += 1

    async def _request(self, leaf: dict[str, Any], sealed: dict[str, Any]) -> bytes | None:
        """The bytes that were judged: the request with this digest, which must be the next one; else what the entry holds."""
        search = 1 if _kind(sealed) in OWN else LOOKAHEAD
        for ahead in range(search):
            stored = await self._requests.peek(ahead)
            if stored is None:
                break
            if b64(_digest(stored.record.value)) == leaf["digest"]:
                for _ in range(ahead):
                    passed = await self._requests.take()
                    assert passed is not None  # noqa: S101  peeked at above
                    self._report.find("no ledger entry says what became of it", f"{REQUESTS} offset {passed.offset}")
                await self._requests.take()
                if "raw" in sealed and stored.record.value.decode("utf-8", errors="replace") != sealed["raw"]:
                    self._report.find(f"its text is not that of {REQUESTS} offset {stored.offset}")
                return stored.record.value
        if _kind(sealed) not in OWN or leaf["outcome"] == "refused":
            self._report.missing(f"what it judged is missing from {REQUESTS}")
        # Of a refused one the entry has no more than its text, which may have lost bytes on the way to JSON.
        return strict.dumps(sealed["statement"]) if "statement" in sealed else None

    def _check_refusal(self, leaf: dict[str, Any], sealed: dict[str, Any], document: bytes | None) -> None:
        if document is None:
            return
        try:
            judge(self.registry, document, leaf["at"])
        except Refusal as refusal:
            if refusal.code != sealed.get("reason"):
                self._report.find(f"refused for {sealed.get('reason')}; judged again: {refusal.code}")
        else:
            self._report.find(f"refused for {sealed.get('reason')}; judged again it is good")

    def _check_event(self, leaf: dict[str, Any], sealed: dict[str, Any]) -> None:
        event = self._event()
        if event is None:
            return
        said = (sealed["statement"], sealed["position"], sealed["effective"], leaf["at"])
        if said != (event.statement, event.position, event.effective, event.recorded):
            self._report.find(f"it differs from event {event.position} in {REGISTRY}")
        self._follow(event)

    def _event(self) -> RegistryEvent | None:
        """The event that the present entry must record."""
        position = self.registry.position
        if position < len(self._events):
            return self._events[position]
        self._report.find(f"it records event {position}; {REGISTRY} has {len(self._events)} events")
        return None

    def _follow(self, event: RegistryEvent) -> None:
        try:
            follow(self.registry, event)
        except VerificationFailed as fault:
            self._report.find(str(fault))


def _kind(sealed: dict[str, Any]) -> str | None:
    """Which statement an entry holds, when it holds one that can be read."""
    try:
        return statements.read(sealed["statement"])[1].statement
    except (KeyError, Refusal):
        return None


def _digest(document: bytes) -> bytes:
    """Of a statement: over its payload bytes. Of something unreadable: over all of it."""
    try:
        return jws.read_general(document, statements.TYP, max_bytes=statements.MAX_BYTES).digest
    except Refusal:
        return digest_of(document)
