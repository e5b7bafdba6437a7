"""A log that is counted: claims, fencings, commits and how long they took. The parts know nothing of it.

Labels name shards and nothing else: how much an agency sends or receives is its own affair.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from hub.log import Claim, Fenced, Log, Record, Shard, Stored
from hub.telemetry import Metrics

CHECKPOINTS = "comity.checkpoints"


class MeteredLog:
    """The same log, with what is claimed through it on the metrics."""

    def __init__(self, log: Log, metrics: Metrics) -> None:
        self._log, self._metrics = log, metrics
        self._held: dict[str, MeteredClaim] = {}
        self.create, self.topics, self.append = log.create, log.topics, log.append
        self.read, self.end, self.close = log.read, log.end, log.close

    async def claim(self, shard: Shard) -> MeteredClaim:
        claim = MeteredClaim(await self._log.claim(shard), self._metrics, self._held)
        self._metrics.claims.labels(shard.name).inc()
        self._held[shard.name] = claim
        return claim

    def look(self) -> None:
        """Set what is true at this moment: which shards are held, and how much waits in them."""
        for name, claim in self._held.items():
            self._metrics.held.labels(name).set(claim.held)
            self._metrics.lag.labels(name).set(claim.lag() if claim.held else 0)


class MeteredClaim:
    def __init__(self, claim: Claim, metrics: Metrics, held: dict[str, MeteredClaim]) -> None:
        self.shard, self.epoch, self.held = claim.shard, claim.epoch, True
        self._claim, self._metrics = claim, metrics
        self.lag = claim.lag

    @property
    def state(self) -> Mapping[str, bytes]:
        return self._claim.state

    @property
    def positions(self) -> Mapping[str, int]:
        return self._claim.positions

    async def batch(self, limit: int = 500, wait: float = 0.0, after: Sequence[Stored] = ()) -> list[Stored]:
        try:
            return await self._claim.batch(limit, wait, after)
        except BaseException as error:
            self._ended(error)
            raise

    async def commit(
        self,
        batch: Sequence[Stored],
        outputs: Sequence[tuple[str, Record]],
        state: Mapping[str, bytes | None],
        confirm: Callable[[], None] | None = None,
    ) -> list[int]:
        began = time.perf_counter()
        try:
            offsets = await self._claim.commit(batch, outputs, state, confirm)
        except BaseException as error:
            self._ended(error)
            raise
        self._metrics.commit_time.labels(self.shard.name).observe(time.perf_counter() - began)
        self._metrics.routed.labels(self.shard.name).inc(len(batch))
        if any(topic == CHECKPOINTS for topic, _ in outputs):
            self._metrics.checkpoint_time.set_to_current_time()
        return offsets

    async def release(self) -> None:
        self.held = False
        await self._claim.release()

    def _ended(self, error: BaseException) -> None:
        """Any error may have ended the claim; its next use tells."""
        if isinstance(error, Fenced) and self.held:
            self._metrics.fencings.labels(self.shard.name).inc()
        self.held = False
