"""The registry process: judges statements in one order, and records each in registry and ledger in one commit.

A statement that is refused goes to the ledger alone, with its reason. An accepted one takes effect `grace` after it was
recorded, so that every router has read it before it decides at or after that moment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.clock import Clock
from hub.core import jws, record, statements, strict
from hub.core.agreement import Version
from hub.core.errors import Refusal
from hub.core.ids import uuid7
from hub.core.judging import judge
from hub.core.process import digest_of
from hub.core.registry import Registry
from hub.follow import REGISTRY, Follower
from hub.log import Claim, Fenced, Log, Record, Shard, Stored
from schemas.statement import AgencyEnroll, HubFound, RegistryEvent

REQUESTS = "comity.requests"
LEDGER = "comity.ledger"
HUB_KID = f"{statements.HUB}/1"
OPERATOR_KID = f"{statements.OPERATOR}/1"
SHARD = Shard("registry", topics=(REQUESTS,))
KEPT_REFUSED = 150_000  # bytes of a refused document that go into the ledger
IN_TIME = 0.5  # share of the grace within which an event must be written; the rest is for clocks that differ
FAR = 253_402_300_799_000  # 9999-12-31: the hub's own keys end by replacement, not by a date


class RegistryProcess:
    """One at a time, by claim. `step` judges one batch of requests; `run` does so for ever."""

    def __init__(
        self,
        log: Log,
        hub_key: Ed25519PrivateKey,
        clock: Clock,
        *,
        grace_ms: int = 5_000,
        gate: AbstractAsyncContextManager[Any] | None = None,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._log, self._hub_key, self._clock, self._grace, self._random = log, hub_key, clock, grace_ms, random
        self._gate: AbstractAsyncContextManager[Any] = gate or nullcontext()
        self._claim: Claim | None = None
        self._follower = Follower(log)

    @property
    def registry(self) -> Registry:
        return self._follower.registry

    async def open(self) -> Claim:
        """Take the claim, and only then read the registry to its end: nobody else can add to it any more."""
        claim = await self._log.claim(SHARD)
        await self._forget()
        await self._log.create(*(topic for agency in self.registry.agencies for topic in _topics(agency)))
        self._claim = claim
        return claim

    async def found(self, origin: str, operator_key: Ed25519PrivateKey) -> bool:
        """Record `hub.found` as event 0 of an empty registry; False when it is there already.

        A crash before the commit leaves the registry empty, and the next start founds it.
        """
        claim = self._claim or await self.open()
        if self.registry.position:
            return False
        now = self._clock()
        keys = {HUB_KID: self._hub_key, OPERATOR_KID: operator_key}
        claims: list[dict[str, Any]] = [
            {
                "kid": kid,
                "alg": "Ed25519",
                "x": strict.b64(key.public_key().public_bytes_raw()),
                "not_before": 0,
                "not_after": FAR,
            }
            for kid, key in keys.items()
        ]
        payload = {
            "statement": "hub.found", "id": uuid7(now, self._random(10)), "iat": now // 1000,
            "origin": origin, "hub": claims[0], "operator": claims[1],
        }  # fmt: skip
        document = jws.sign_general(strict.dumps(payload), list(keys.items()), statements.TYP)
        await self._record(claim, [], [strict.dumps(document)])
        return True

    async def step(self, wait: float = 0.0) -> int:
        """Judge and commit one batch of requests, and record agreements that have lapsed; how many statements."""
        try:
            claim = self._claim or await self.open()
            batch = await claim.batch(100, wait)
            lapses = list(self._lapses())
            if batch or lapses:
                await self._record(claim, batch, [*(stored.record.value for stored in batch), *lapses])
            return len(batch) + len(lapses)
        except BaseException:
            self._claim = None
            raise

    async def run(self) -> None:
        while True:
            await self.step(wait=1.0)

    async def close(self) -> None:
        if self._claim is not None:
            await self._claim.release()
            self._claim = None

    async def _record(self, claim: Claim, batch: Sequence[Stored], documents: Sequence[bytes]) -> None:
        """One transaction for the batch: registry events and ledger entries, dated inside the gate."""
        async with self._gate:
            # Later than any decision already dated: one at this very moment has not seen what is recorded now.
            recorded = max(self._clock(), self.registry.recorded) + 1
            in_time = InTime(self._grace)
            outputs = await self._judge_all(documents, recorded)
            if in_time.late():
                # Making the topics of new agencies took long; they are there now, so the second time it does not.
                await self._forget()
                recorded = max(self._clock(), self.registry.recorded) + 1
                in_time = InTime(self._grace)
                outputs = await self._judge_all(documents, recorded)
            self._clock.raise_floor(recorded)
            await claim.commit(batch, outputs, {}, in_time.confirm if self._grace else None)

    async def _judge_all(self, documents: Sequence[bytes], recorded: int) -> list[tuple[str, Record]]:
        outputs: list[tuple[str, Record]] = []
        for document in documents:
            outputs += await self._judge(document, recorded)
        return outputs

    async def _forget(self) -> None:
        """Back to what is committed; `settled`, so that what the holder before us was committing is not overlooked."""
        self._follower = Follower(self._log, settled=True)
        await self._follower.catch_up()

    async def _judge(self, document: bytes, recorded: int) -> list[tuple[str, Record]]:
        """The records that one statement leads to. Later statements of the batch are judged with it in place."""
        seen = self.registry.position
        try:
            statement = judge(self.registry, document, recorded)
        except Refusal as refusal:
            sealed: dict[str, Any] = {"reason": refusal.code, "detail": refusal.detail}
            # A text of control characters grows sixfold in JSON. What cannot be kept whole is kept by its digest.
            if len(document) <= KEPT_REFUSED:
                sealed["raw"] = document.decode("utf-8", errors="replace")
            return [(LEDGER, self._entry(_digest(document), "refused", seen, recorded, sealed))]
        effective = recorded if isinstance(statement, HubFound) else recorded + self._grace
        signed = strict.loads(document, max_bytes=statements.MAX_BYTES)
        event = RegistryEvent(position=seen, recorded=recorded, effective=effective, statement=signed)
        self.registry.apply(event)
        if isinstance(statement, AgencyEnroll):
            await self._log.create(*_topics(statement.agency.id))
        sealed = {"statement": signed, "position": seen, "effective": effective}
        return [
            (REGISTRY, Record(strict.dumps(event.model_dump()))),
            (LEDGER, self._entry(_digest(document), "accepted", seen, recorded, sealed)),
        ]

    def _entry(self, digest: bytes, outcome: str, seen: int, at: int, sealed: dict[str, Any]) -> Record:
        slots = record.slots(self.registry.view(seen).enrolled())
        seed = self._random(32)
        tree = record.DeliveryTree(seed, digest, [], slots)
        value = record.entry(
            kind="registry", digest=digest, outcome=outcome, registry=seen, at=at, seed=seed, tree=tree, sealed=sealed
        )
        return Record(value)

    def _lapses(self) -> Iterator[bytes]:
        now = self._clock()
        for version in self.registry.lapsing(now):
            yield self._lapse(version, now)

    def _lapse(self, version: Version, now: int) -> bytes:
        payload = {
            "statement": "agreement.lapse", "id": uuid7(now, self._random(10)), "iat": now // 1000,
            "agreement": version.agreement.id, "version": version.agreement.version,
        }  # fmt: skip
        document = jws.sign_general(strict.dumps(payload), [(HUB_KID, self._hub_key)], statements.TYP)
        return strict.dumps(document)


class InTime:
    """Whether registry events are written early enough for what they say of themselves.

    A router waits for events that are written and not yet committed (`settled`), so it has seen them before it decides at or
    after their effective moment, if they were written before that moment by any clock. Made when they are dated; asked when
    they are written. Where one process does all (`grace` 0) the gate keeps this order.
    """

    def __init__(self, grace: int) -> None:
        self._limit = grace * IN_TIME / 1000
        self._dated = time.monotonic(), time.time()

    def late(self) -> bool:
        """By the clock that went further: one stands still while a machine sleeps, the other can be set."""
        return self._limit > 0 and max(time.monotonic() - self._dated[0], time.time() - self._dated[1]) > self._limit

    def confirm(self) -> None:
        if self.late():
            raise Fenced(f"registry events were written over {self._limit:.1f} s after they were dated: date them anew")


def _digest(document: bytes) -> bytes:
    """The digest of a statement is over its payload bytes; of something unreadable, over all of it."""
    try:
        return jws.read_general(document, statements.TYP, max_bytes=statements.MAX_BYTES).digest
    except Refusal:
        return digest_of(document)


def _topics(agency: str) -> tuple[str, str]:
    return f"comity.notices.{agency}", f"comity.deliveries.{agency}"
