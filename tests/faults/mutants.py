"""What the hub would be without one of its protections. Named by an environment variable, which the worker of these runs
alone reads; the checker must see each."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import Any

from aiokafka.errors import KafkaError

from hub.follow import Follower
from hub.log import Fenced, Record, Shard
from hub.log.kafka import KafkaClaim
from hub.log.kafka import claim as claims
from hub.log.kafka.producing import Transactions
from hub.log.kafka.records import batches, encode
from hub.log.kafka.state import State
from hub.memory import Memory

VARIABLE = "COMITY_FAULTS_MUTANT"


def ids_per_process() -> None:
    """A transactional id of each process, and not of each shard: nobody fences anybody."""
    opened = Transactions.open.__func__

    async def own(cls: Any, cluster: Any, transactional_id: str) -> Any:
        return await opened(cls, cluster, f"{transactional_id}-{os.getpid()}")

    Transactions.open = classmethod(own)


def sends_unawaited() -> None:
    """A commit does not look at what became of its sends."""

    async def careless(self: Any, topic: str, rows: Any, limit: int) -> list[int]:
        offsets: list[int] = []
        for batch in batches(rows, limit, transactional=True):
            answer = await self._producer.send_batch(batch, topic, partition=0)
            try:
                first = (await answer).offset
            except KafkaError:
                first = 0
            offsets += range(first, first + batch.record_count())
        return offsets

    Transactions._write = careless


def dedupe_off() -> None:
    """The router does not know what it has judged before."""
    Memory.seen = lambda self, sender, jti: None


def restored_before_fencing() -> None:
    """State and positions are read, and only then is the holder before fenced."""

    async def take(cls: Any, cluster: Any, shard: Shard, written: dict[str, int]) -> Any:
        topic = claims.state_topic(shard)
        await cluster.create(topic)
        _, end = await cluster.bounds(topic, lane=topic)
        state, positions, held = await claims.restore(cluster, topic, end - 1) if end else (State(), {}, 0)
        await asyncio.sleep(0.2)  # long enough for the holder before to commit
        transactions = await Transactions.open(cluster, f"comity-{shard.name}")
        barrier = encode(topic, Record(b"", claims.BARRIER))
        [epoch] = (await transactions.commit({topic: [barrier]}, await cluster.limit(topic), None))[topic]
        return cls(cluster, shard, transactions, epoch, state, positions, held, written)

    KafkaClaim.take = classmethod(take)


def fencing_ignored() -> None:
    """Who is fenced makes a new producer and goes on with what it knew."""
    commit = Transactions.commit

    async def stubborn(self: Any, outputs: Any, limits: Any, confirm: Any) -> Any:
        try:
            return await commit(self, outputs, limits, confirm)
        except Fenced:
            again = await Transactions.open(self._cluster, self._producer._txn_manager.transactional_id)
            self._producer, self._topics = again._producer, set()
            return await commit(self, outputs, limits, confirm)

    Transactions.commit = stubborn


def registry_seldom_read() -> None:
    """A router decides by what it knew of the registry ten seconds ago."""
    catch_up, read = Follower.catch_up, [0.0]

    async def seldom(self: Follower) -> int:
        if time.monotonic() - read[0] < 10 and self.registry.position:
            return 0
        read[0] = time.monotonic()
        return await catch_up(self)

    Follower.catch_up = seldom


# Each with the faults of a run that aims at it; two routers always want the same shards.
MUTANTS: dict[str, tuple[Callable[[], None], tuple[str, ...]]] = {
    "ids-per-process": (ids_per_process, ("kill router",)),
    "sends-unawaited": (sends_unawaited, ("shrink",)),
    "dedupe-off": (dedupe_off, ("kill router",)),
    "restored-before-fencing": (restored_before_fencing, ("kill router",)),
    "fencing-ignored": (fencing_ignored, ("stop router",)),
    "registry-seldom-read": (registry_seldom_read, ("rotate key",)),
}


def apply() -> None:
    name = os.environ.get(VARIABLE)
    if name:
        MUTANTS[name][0]()
