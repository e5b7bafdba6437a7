"""The promises, held against what a cluster holds after faults. Shares no code with what decides in the hub.

Every broken promise is a sentence that begins with the number of its invariant:

    1  an acknowledged message stands in its topic, once; an accepted one has one final entry and reaches all who are entitled
    2  nobody else has it, and nobody has a field that is withheld
    3  a delivery if and only if a ledger entry
    4  by sender and recipient: the sender's order, numbers without gap or repeat
    5  a committed position never passes what the ledger explains, and never goes back
    6  tests/faults/tree.py
    7  nothing waits
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.core import oracle
from tests.faults.parsing import REGISTRY, REQUESTS, Entry, Keys, digest_of, disclosures, entries, parts, positions
from tests.faults.reading import Topics
from tests.faults.story import AGREEMENTS, DELIVERIES, LEDGER, NOTICES, Note

WITHHOLDABLE = {"source_detail"}  # of threat.cyber.v1, as the schema's document says
REFUSALS = {"forged": "signature", "expired": "expired", "stranger": "wrong-sender"}
Recipients = dict[str, tuple[str, int, str, tuple[str, ...], str]]  # agreement, version, clause, withheld, reason


@dataclass
class Published:
    """What the publisher knows. An append that was begun and not acknowledged may have happened or not."""

    notes: dict[bytes, Note] = field(default_factory=dict)  # by digest
    begun: Counter[bytes] = field(default_factory=Counter)  # digest -> appends
    acknowledged: dict[tuple[str, int], bytes] = field(default_factory=dict)  # (topic, offset) -> digest
    unknown: int = 0  # appends that ended with an error


@dataclass(frozen=True)
class Expected:
    """What one message must lead to. reason None: accepted; of a keyed note it depends on the moment.

    repeated: a keyed note that stands there once more, and may have its answer already.
    """

    digest: bytes
    reason: str | None
    note: Note
    repeated: bool = False


def recipients(note: Note, at: int, cancelled: Recipients) -> Recipients:
    """Who is entitled, as what. cancelled: who was entitled to what it cancels."""
    granted = oracle.grants(AGREEMENTS, note.claims, at, WITHHOLDABLE)
    found: Recipients = {who: (*place, tuple(withheld), "clause") for who, (*place, withheld) in granted.items()}
    everything = tuple(sorted(WITHHOLDABLE & note.claims["data"].keys()))
    for who, (agreement, version, clause, *_) in cancelled.items():
        found.setdefault(who, (agreement, version, clause, everything, "recall"))
    return found


class Checker:
    """Holds one reading of the topics against what was published.

    Topics cannot be read at one moment; what was read first may lack what the others already have. lacking: nothing, when
    everything is settled; "entries" or "deliveries", of which some are still to come.
    """

    def __init__(self, published: Published, topics: Topics, lacking: str = "nothing") -> None:
        self.published, self.topics, self.lacking = published, topics, lacking
        self.acknowledged = dict(published.acknowledged)
        self.wrong: list[str] = []
        self.entries = list(entries(topics.get(LEDGER, [])))
        self.keys = Keys.of(topics.get(REGISTRY, []))
        self.by_source: dict[tuple[str, int], list[Entry]] = defaultdict(list)
        for entry in self.entries:
            self.by_source[entry.source].append(entry)

    def check(self) -> list[str]:
        """Every broken promise."""
        expected = {name: list(self._expect(name)) for name in self.topics if name.startswith(NOTICES)}
        self._check_acknowledged()
        self._check_entries(expected)
        self._check_deliveries()
        self._check_order()
        self._check_positions(expected)
        self._check_registry()
        return self.wrong

    def _fault(self, invariant: int, text: str) -> None:
        self.wrong.append(f"{invariant}: {text}")

    def _expect(self, topic: str) -> Iterator[tuple[int, Expected | None]]:
        """By offset, what each record of a notices topic must lead to; None: its answer is on record already."""
        accepted: dict[str, bytes] = {}  # jti -> digest
        answered: set[tuple[bytes, str]] = set()  # (digest, kind or reason)
        for seen in self.topics[topic]:
            digest = digest_of(seen.value)
            note = self.published.notes.get(digest)
            if note is None:
                self._fault(1, f"{topic} {seen.offset} holds what nobody published")
                continue
            if note.kind == "keyed":
                yield seen.offset, Expected(digest, None, note, repeated=(digest, "keyed") in answered)
                answered.add((digest, "keyed"))
                continue
            jti, reason = note.claims["jti"], REFUSALS.get(note.kind)
            if reason is None and accepted.setdefault(jti, digest) != digest:
                reason = "equivocation"
            if (digest, reason or "") in answered:
                yield seen.offset, None
            else:
                yield seen.offset, Expected(digest, reason, note)
            answered.add((digest, reason or ""))

    def _check_acknowledged(self) -> None:
        there = {
            (name, seen.offset): digest_of(seen.value)
            for name, found in self.topics.items() if name.startswith(NOTICES) for seen in found
        }  # fmt: skip
        for place, digest in self.acknowledged.items():
            if self.lacking == "nothing" and there.get(place) != digest:
                self._fault(1, f"acknowledged and lost: {place}")
        for digest, count in Counter(there.values()).items():
            if count > self.published.begun[digest]:
                self._fault(1, f"{digest.hex()[:8]} stands {count} times in its topic, and was not put there so often")

    def _check_entries(self, expected: dict[str, list[tuple[int, Expected | None]]]) -> None:
        """1 and 2, per message: one entry, with its outcome, and exactly the entitled."""
        for topic, places in expected.items():
            had: dict[str, Recipients] = {}  # jti -> who was entitled to it
            for offset, wanted in places:
                found = self.by_source.pop((topic, offset), [])
                if wanted is None:
                    if found:
                        self._fault(1, f"{topic} {offset} was answered before, and has an entry of its own")
                    continue
                if len(found) > 1 or (not found and self.lacking == "nothing" and not wanted.repeated):
                    self._fault(1, f"{topic} {offset} ({wanted.note.kind}) has {len(found)} entries")
                for entry in found:
                    self._check_entry(f"{topic} {offset}", entry, wanted, had)
        for source in self.by_source:
            self._fault(3, f"an entry is about {source}, which is not there")

    def _check_entry(self, place: str, entry: Entry, wanted: Expected, had: dict[str, Recipients]) -> None:
        note, reason = wanted.note, wanted.reason
        if note.kind == "keyed":
            reason = self.keys.reason(note.kid, entry.at)
        if (entry.digest, entry.reason) != (wanted.digest, reason):
            self._fault(1, f"{place} ({note.kid or note.kind}): entry {entry.index} says {entry.reason}, not {reason}")
        entitled: Recipients = {}
        if reason is None:
            entitled = recipients(note, entry.at, had.get(note.claims.get("cancels", ""), {}))
            if note.claims["jti"] in had:
                self._fault(1, f"{place} was accepted before")
            had[note.claims["jti"]] = entitled
        given: Recipients = {
            who: (each["agreement"], each["version"], each["clause"], tuple(each["withheld"]), each["reason"])
            for who, each in entry.deliveries.items()
        }
        for who in given.keys() - entitled.keys():
            self._fault(2, f"{place}: {who} is not entitled, and has it")
        for who in entitled.keys() - given.keys():
            self._fault(1, f"{place}: {who} is entitled, and does not have it")
        for who in entitled.keys() & given.keys():
            if entitled[who] != given[who]:
                self._fault(2, f"{place}: {who} has it as {given[who]}, entitled is {entitled[who]}")

    def _check_deliveries(self) -> None:
        """3, both ways, and that what is withheld is not there."""
        explained = {
            (who, entry.digest, each["number"]): each
            for entry in self.entries for who, each in entry.deliveries.items()
        }  # fmt: skip
        if len(explained) != sum(len(entry.deliveries) for entry in self.entries):
            self._fault(3, "two entries explain the same delivery")
        for name, found in self.topics.items():
            if not name.startswith(DELIVERIES):
                continue
            for seen in found:
                digest = digest_of(seen.value)
                key = name.removeprefix(DELIVERIES), digest, int(seen.headers["ce_number"])
                entry = explained.pop(key, None)
                if entry is None:
                    if self.lacking != "entries":
                        self._fault(3, f"{name} {seen.offset}: delivered, and no ledger entry says so")
                    continue
                self._check_fields(f"{name} {seen.offset}", seen.value, self.published.notes.get(digest), entry)
        for who, digest, number in explained if self.lacking != "deliveries" else ():
            self._fault(3, f"the ledger says {who} has {digest.hex()[:8]} as number {number}, and it was not delivered")

    def _check_fields(self, place: str, value: bytes, note: Note | None, entry: dict[str, Any]) -> None:
        if note is None:
            self._fault(2, f"{place}: delivered what nobody published")
            return
        wanted = {name: part for name, part in disclosures(note.raw).items() if name not in entry["withheld"]}
        if disclosures(value) != wanted:
            self._fault(2, f"{place}: discloses {sorted(disclosures(value))}, allowed is {sorted(wanted)}")

    def _check_order(self) -> None:
        last: dict[tuple[str, str], tuple[int, int]] = {}  # (sender, recipient) -> number, source offset
        by_digest = {entry.digest: entry for entry in self.entries if entry.reason is None}
        for name, found in sorted(self.topics.items()):
            if not name.startswith(DELIVERIES):
                continue
            for seen in found:
                entry = by_digest.get(digest_of(seen.value))
                if entry is None:
                    continue
                pair = entry.source[0].removeprefix(NOTICES), name.removeprefix(DELIVERIES)
                number, offset = int(seen.headers["ce_number"]), entry.source[1]
                before, source = last.get(pair, (0, -1))
                if number != before + 1:
                    self._fault(4, f"{pair}: number {number} comes behind {before}")
                if offset <= source:
                    self._fault(4, f"{pair}: the message at {offset} was delivered behind the one at {source}")
                last[pair] = number, offset

    def _check_positions(self, expected: dict[str, list[tuple[int, Expected | None]]]) -> None:
        reached: dict[str, int] = {}
        for topic, offset in positions(self.topics):
            if offset < reached.get(topic, -1):
                self._fault(5, f"the position of {topic} went back from {reached[topic]} to {offset}")
            reached[topic] = max(offset, reached.get(topic, -1))
        told = {entry.source for entry in self.entries}
        for topic, places in expected.items():
            for offset, wanted in places:
                if wanted is None or wanted.repeated or offset > reached.get(topic, -1):
                    continue
                if (topic, offset) not in told:
                    self._fault(5, f"the position of {topic} is {reached[topic]}, and no entry explains {offset}")
        for topic in [*expected, REQUESTS]:
            end = self.topics[topic][-1].offset if self.topics.get(topic) else -1
            if self.lacking == "nothing" and reached.get(topic, -1) != end:
                self._fault(7, f"{topic} ends at {end}, and its position is {reached.get(topic, -1)}")

    def _check_registry(self) -> None:
        """3, for statements: an event if and only if an entry, in one order."""
        events = [json.loads(seen.value)["position"] for seen in self.topics.get(REGISTRY, [])]
        ledger = [parts(seen) for seen in self.topics.get(LEDGER, [])]
        told = [
            sealed["position"] for leaf, sealed in ledger if (leaf["kind"], leaf["outcome"]) == ("registry", "accepted")
        ]
        if events != list(range(len(events))):
            self._fault(3, f"the registry's events are {events}")
        if told != events and (self.lacking == "nothing" or told != events[: len(told)]):
            self._fault(3, f"the registry has {len(events)} events, the ledger tells of {told}")
