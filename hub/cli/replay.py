"""Deciding one notice again, at the registry position and moment that its ledger entry cites."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from typing import Any

from hub.cli.output import InputError
from hub.core import envelope, record
from hub.core.decision import Received, Seen, explain
from hub.core.errors import Refusal
from hub.core.judging import follow
from hub.core.process import Accepted, Duplicate, Outcome, Refused, process
from hub.core.registry import Registry
from hub.core.strict import unb64
from hub.follow import REGISTRY, parse_event
from hub.index import LEDGER
from hub.log import Log

PAGE = 500


@dataclass(frozen=True, slots=True)
class Replay:
    """What the ledger says of a notice, and what the rule says again: outcome, reason, deliveries. denied: why not, by agency."""

    index: int
    sender: str
    jti: str | None
    type: str | None
    at: int
    registry: int
    ledger: dict[str, Any]
    again: dict[str, Any]
    denied: dict[str, str]

    @property
    def same(self) -> bool:
        return self.ledger == self.again

    def told(self) -> dict[str, Any]:
        return asdict(self) | {"same": self.same}


@dataclass(frozen=True, slots=True)
class _Entry:
    index: int
    leaf: dict[str, Any]
    sealed: dict[str, Any]


async def replay_entry(log: Log, wanted: str) -> Replay:
    """`wanted`: the number of a ledger entry, or the jti of a notice. InputError when there is nothing to replay."""
    entry = await _find(log, wanted)
    raw = await _message(log, entry)
    if raw is None:
        raise InputError(f"ledger entry {entry.index}: the notice is past its retention, it cannot be decided again")
    owner, at = entry.sealed["sender"], entry.leaf["at"]
    view = (await _registry(log, entry.leaf["registry"])).view(entry.leaf["registry"])
    memory = await _memory(log, entry, raw)
    outcome = process(
        raw, owner=owner, at=at, view=view, seen=lambda iss, jti: memory.get(jti) if iss == owner else None
    )
    denied = {}
    if isinstance(outcome, Accepted):
        got = {grant.recipient for grant in outcome.decision.grants} | {owner}
        original = memory.get(outcome.notice.cancels or "")
        for agency in view.agencies(at):
            if agency.id not in got:
                why = explain(outcome.notice, view, at, agency.id, original)
                denied[agency.id] = ", ".join(dict.fromkeys(reason.code for reason in why.reasons))
    return Replay(
        entry.index, owner, entry.sealed.get("jti"), entry.sealed.get("type"), at, entry.leaf["registry"],
        _ledger(entry), _again(outcome), denied,
    )  # fmt: skip


async def _entries(log: Log) -> AsyncIterator[_Entry]:
    """The ledger, entry by entry; an erased sealed part is empty."""
    index, after = -1, -1
    while page := await log.read(LEDGER, after=after, limit=PAGE):
        for stored in page:
            after, index = stored.offset, index + 1
            _, leaf, _, sealed = record.decode(stored.record.value)
            yield _Entry(index, leaf, sealed or {})


async def _find(log: Log, wanted: str) -> _Entry:
    count = 0
    async for entry in _entries(log):
        count += 1
        if wanted in (str(entry.index), entry.sealed.get("jti")):
            if entry.leaf["kind"] != "notice" or not entry.sealed:
                what = entry.leaf["kind"] if entry.sealed else "erased"
                raise InputError(f"ledger entry {entry.index} is {what}: only a notice can be decided again")
            return entry
    raise InputError(f"no notice {wanted[:80]} in the ledger, which has {count} entries")


async def _memory(log: Log, entry: _Entry, raw: bytes) -> dict[str, Seen]:
    """By jti: what the hub remembered of the two notices that this one could depend on, its own name and what it cancels."""
    try:
        said = envelope.split(raw).payload
    except Refusal:
        return {}
    names = {said.get("jti"), said.get("cancels")}
    memory: dict[str, Seen] = {}
    async for earlier in _entries(log):
        if earlier.index >= entry.index:
            break
        sealed = earlier.sealed
        mine = earlier.leaf["kind"] == "notice" and sealed.get("sender") == entry.sealed["sender"]
        if mine and earlier.leaf["outcome"] == "accepted" and sealed["jti"] in names:
            memory[sealed["jti"]] = await _seen(log, earlier)
    return memory


async def _message(log: Log, entry: _Entry) -> bytes | None:
    source = entry.sealed["source"]
    found = await log.read(source["topic"], after=source["offset"] - 1, limit=1)
    return found[0].record.value if found and found[0].offset == source["offset"] else None


async def _registry(log: Log, events: int) -> Registry:
    registry, after = Registry(), -1
    while registry.position < events and (page := await log.read(REGISTRY, after=after, limit=PAGE)):
        for stored in page:
            after = stored.offset
            follow(registry, parse_event(stored.record.value))
    return registry


async def _seen(log: Log, entry: _Entry) -> Seen:
    raw = await _message(log, entry)
    exp = 0 if raw is None else envelope.split(raw).payload["exp"]
    received = [Received(d["recipient"], d["agreement"], d["version"], d["clause"]) for d in entry.sealed["deliveries"]]
    return Seen(unb64(entry.leaf["digest"]), exp, tuple(received))


def _ledger(entry: _Entry) -> dict[str, Any]:
    return {
        "outcome": entry.leaf["outcome"], "reason": entry.sealed.get("reason"),
        "deliveries": [_delivery(d, d["reason"]) for d in entry.sealed["deliveries"]],
    }  # fmt: skip


def _again(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case Accepted(decision=decision):
            return {
                "outcome": "accepted",
                "reason": None,
                "deliveries": [_delivery(asdict(g), g.reason) for g in decision.grants],
            }
        case Refused(reason=reason):
            return {"outcome": "refused", "reason": reason, "deliveries": []}
        case Duplicate():
            return {"outcome": "duplicate", "reason": None, "deliveries": []}
        case _:
            return {"outcome": "acknowledgement", "reason": None, "deliveries": []}


def _delivery(grant: dict[str, Any], reason: str) -> dict[str, Any]:
    clause = f"{grant['agreement']}@{grant['version']}/{grant['clause']}"
    return {"recipient": grant["recipient"], "clause": clause, "withheld": list(grant["withheld"]), "reason": reason}
