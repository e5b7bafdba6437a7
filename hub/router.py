"""The router: takes a shard's messages, judges each by `process`, and writes in one commit the deliveries, the ledger entry
that explains them, and its own progress.

A crash anywhere before the commit leaves nothing behind and the batch is judged again; after it, nothing is judged twice.
Any error discards the claim: whoever takes the shard next starts from what was committed.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from hub.clock import Clock
from hub.core import envelope, record, strict
from hub.core.decision import Received, Seen
from hub.core.errors import ComityError, Refusal
from hub.core.messages import notice_headers
from hub.core.process import Accepted, Duplicate, Outcome, Refused, Stored, process
from hub.core.registry import View
from hub.follow import Follower
from hub.log import Claim, Log, Record, Shard
from hub.log import Stored as Message
from hub.memory import Memory

NOTICES = "comity.notices."
DELIVERIES = "comity.deliveries."
LEDGER = "comity.ledger"
REFUSED_HEADER = "comity-refused"
READ_TYPE = "application/vnd.comity.read+json"
ACK_MEMORY = 8 * 86_400  # seconds an acknowledgement's jti is remembered
AT_ONCE = 16  # messages judged before others in the event loop have their turn: about 3 ms
LOOKED_AT = 4  # remembered entries, for every message: whether they may be forgotten
# Seconds from one batch to the next while few messages wait: a transaction costs a router and the brokers as much as many
# notices, and the first message after a pause does not wait at all.
PACE = 0.008
MEANWHILE = 0.002  # seconds to wait for messages while a commit is under way: after that it is waited for
MAX_OUTPUTS = 16 * 1_048_576  # bytes that one commit writes, about: large notices to many make a batch shorter
MOVED = "moved"  # in the state of a shard that other shards have taken over: nobody may work on it again


class ShardMoved(ComityError):  # noqa: N818
    """The number of shards was changed (hub.layout): this one's work goes on under other names."""


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


class Router:
    """One shard's owner. `step` handles one batch; `run` does so for ever."""

    def __init__(
        self,
        log: Log,
        shard: Shard,
        clock: Clock,
        *,
        gate: AbstractAsyncContextManager[Any] | None = None,
        limit: int = 500,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._log, self._shard, self._clock, self._random, self._limit = log, shard, clock, random, limit
        self._gate: AbstractAsyncContextManager[Any] = gate or nullcontext()
        self._follower = Follower(log, settled=True)
        self._claim: Claim | None = None
        self._memory = Memory({})
        self._commit: asyncio.Task[list[int]] | None = None
        self._committing: list[Message] = []

    async def open(self) -> Claim:
        """Take the shard: fences whoever had it, then restores what they committed. ShardMoved when it is no more."""
        claim = await self._log.claim(self._shard)
        if MOVED in claim.state:
            await claim.release()
            raise ShardMoved(f"{self._shard.name} was moved: the hub now has {claim.state[MOVED].decode()} shards")
        self._claim = claim
        self._memory = Memory(claim.state)
        return claim

    async def step(self, wait: float = 0.0) -> int:
        """Judge and commit one batch; the number of messages handled. After any error the claim is taken anew."""
        try:
            handled = await self._advance(wait)
            await self._settle()
            return handled
        except BaseException:
            self._discard()
            raise

    async def run(self) -> None:
        """For ever, judging one batch while the one before is being committed."""
        try:
            began = 0.0
            while True:
                early = began + PACE - time.monotonic()
                if early > 0 and self._claim is not None and self._claim.lag() < self._limit:
                    await asyncio.sleep(early)
                began = time.monotonic()
                if not await self._advance(wait=MEANWHILE if self._commit else 1.0):
                    await self._settle()
        except BaseException:
            self._discard()
            raise

    async def _advance(self, wait: float) -> int:
        """Judge the next batch and set off its commit, behind the one before."""
        claim = self._claim or await self.open()
        batch = await claim.batch(self._limit, wait, after=self._committing)
        if not batch:
            return 0
        # Time first, then the registry to its end: a decision at or after an event's effective moment has seen the event.
        # Where one process does all, the gate also keeps a registry event from being dated between the two.
        async with self._gate:
            at = max(self._clock(), self._memory.at)
            await self._follower.catch_up()
        plan = await self._judge(batch, at)
        await self._settle()
        self._committing = batch[: plan.judged]  # the rest comes again
        self._commit = asyncio.create_task(claim.commit(self._committing, plan.outputs, self._memory.hand_over()))
        return plan.judged

    async def _settle(self) -> None:
        """Wait for the commit that is under way."""
        if self._commit is not None:
            await self._commit
            self._memory.committed()
            self._commit, self._committing = None, []

    def _discard(self) -> None:
        """How a commit under way ends is unknown from here on; the next claim reads what came of it."""
        if self._commit is not None:
            self._commit.cancel()
        self._claim, self._commit, self._committing = None, None, []

    async def _judge(self, batch: Sequence[Message], at: int) -> Plan:
        """A few at a time, so that the commit before goes on meanwhile, and an API in the same process goes on answering.

        Not in a thread: for every signature it would give Python's lock away, and wait until it has it back.
        """
        plan = Plan(at, self._follower.registry.view(), self._memory, self._random)
        while plan.judged < len(batch) and plan.size < MAX_OUTPUTS:
            before = len(plan.outputs)
            plan.add(batch[plan.judged])
            plan.judged += 1
            plan.size += sum(len(made.value) for _, made in plan.outputs[before:])
            if plan.judged % AT_ONCE == 0:
                await asyncio.sleep(0)
        self._memory.forget(at, LOOKED_AT * plan.judged)
        return plan

    async def close(self) -> None:
        if self._claim is not None:
            await self._settle()
            await self._claim.release()
            self._claim = None
