"""A process of a run, to be killed and stopped: routers for all shards, a notary, a registry, or one that begins a commit and
dies.

All but the last do what a hub's supervisor does: any LogError discards the claim, and after a moment they begin again.
Anything else ends the process, and the run takes that for a fault of ours.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import random
import signal
import sys
import time
from collections.abc import Awaitable, Callable

from hub import notary, registry
from hub.clock import Clock
from hub.core.checkpoint import Signer
from hub.log import LogError, Record, Shard
from hub.log.kafka import KafkaLog, producing
from hub.notary import CHECKPOINTS, Notary
from hub.registry import RegistryProcess
from hub.router import Router
from tests.faults import mutants
from tests.faults.parsing import REGISTRY
from tests.faults.schedule import TRANSACTION_SECONDS
from tests.faults.story import AGENCIES, DELIVERIES, LEDGER, NOTICES
from tests.world import key_of

ORIGIN = "comity.test/ledger"
SHARDS = [Shard(f"router-{n}-of-2", prefix=NOTICES, index=n, count=2) for n in range(2)]
GRACE_MS = 3_000
REST = 0.3  # seconds, at most, before a part that failed begins again


def say(*words: object) -> None:
    print(f"{time.time():.3f}", *words, flush=True)


def die_with_parent() -> None:
    """Also when we are stopped and the test is killed. Linux; elsewhere the run alone ends us."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


async def for_ever(name: str, run: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await run()
        except LogError as error:
            say(name, type(error).__name__, error)
        await asyncio.sleep(random.uniform(0.05, REST))


async def opened(address: str) -> KafkaLog:
    while True:
        try:
            return await KafkaLog.open(address, replication=address.count(",") + 1)
        except LogError as error:
            say("open", type(error).__name__, error)
            await asyncio.sleep(0.3)


async def route(address: str) -> None:
    log = await opened(address)
    routers = {shard.name: Router(log, shard, Clock(), limit=100) for shard in SHARDS}
    say("routing")
    await asyncio.gather(*(for_ever(name, router.run) for name, router in routers.items()))


async def notarise(address: str) -> None:
    log = await opened(address)
    signing = Notary(log, Signer(ORIGIN, key_of("hub/1")), interval_ms=50)
    say("notarising")
    await for_ever("notary", signing.run)


async def keep_registry(address: str) -> None:
    log = await opened(address)
    keeping = RegistryProcess(log, key_of("hub/1"), Clock(), grace_ms=GRACE_MS)
    say("keeping the registry")
    await for_ever("registry", keeping.run)


# Who takes which shard, and what is written by whoever holds it. Nobody else's transaction may stand in these topics: readers
# of committed records would wait for it.
HOLDERS = [(shard, [LEDGER, *(DELIVERIES + who for who in AGENCIES)]) for shard in SHARDS] + [
    (registry.SHARD, [REGISTRY, LEDGER]),
    (notary.SHARD, [CHECKPOINTS]),
]


async def abandon(address: str) -> None:
    """Everything that a commit writes, and a death before its end: none of it may ever be seen."""
    log = await opened(address)
    shard, topics = random.choice(HOLDERS)
    claim = await log.claim(shard)
    batch = await claim.batch(100, wait=2.0)
    rubbish = [(topic, Record(b"rubbish")) for topic in topics]
    await claim.commit(batch, rubbish, {"rubbish": b"rubbish"}, confirm=lambda: os.kill(os.getpid(), signal.SIGKILL))


ROLES = {"router": route, "notary": notarise, "registry": keep_registry, "abandon": abandon}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=ROLES)
    parser.add_argument("address")
    given = parser.parse_args()
    die_with_parent()
    mutants.apply()
    producing.TRANSACTION_SECONDS = TRANSACTION_SECONDS
    producing.COMMIT_SECONDS = TRANSACTION_SECONDS - 1
    asyncio.run(ROLES[given.role](given.address))


if __name__ == "__main__":
    main()
