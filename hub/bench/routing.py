"""One router on a real embedded log: a backlog of notices, each for three recipients, to its end."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from pathlib import Path

from hub.bench import partners
from hub.clock import Clock
from hub.index import CHECKPOINTS, LEDGER, REQUESTS
from hub.log import Log, Record, Shard
from hub.log.embedded import EmbeddedLog
from hub.log.topics import NOTICES
from hub.registry import HUB_KID, OPERATOR_KID, RegistryProcess
from hub.router import Router

SHARD = Shard("router-0", prefix=NOTICES)
WARM_UP = 200  # notices


@dataclass(frozen=True, slots=True)
class Routed:
    """`bytes_per_notice`: what the log grew by on disk, the notice itself, its deliveries and its entry included."""

    per_s: float
    bytes_per_notice: float


async def measure(path: Path, count: int) -> Routed:
    """Route `count` notices in a new log at `path`, after some that do not count."""
    log = EmbeddedLog.open(path)
    clock = Clock()
    try:
        await _register(log, clock)
        await _post(log, WARM_UP)
        await _route(log, Router(log, SHARD, clock), WARM_UP)  # every code path once, before it counts
    finally:
        await log.close()
    before = _size(path)
    log = EmbeddedLog.open(path)
    try:
        await _post(log, count)
        seconds = await _route(log, Router(log, SHARD, clock), count)
        for recipient in partners.RECIPIENTS:
            if (end := await log.end(f"comity.deliveries.{recipient}")) != WARM_UP + count - 1:
                raise AssertionError(f"{recipient} has {end + 1} deliveries, not {WARM_UP + count}")
    finally:
        await log.close()  # folds the write-ahead log into the file
    return Routed(count / seconds, (_size(path) - before) / count)


async def _register(log: Log, clock: Clock) -> None:
    await log.create(REQUESTS, LEDGER, CHECKPOINTS, "comity.registry")
    process = RegistryProcess(log, partners.key_of(HUB_KID), clock, grace_ms=0)
    await process.found("bench/ledger", partners.key_of(OPERATOR_KID))
    for document in partners.registration():
        await log.append(REQUESTS, Record(document))
    while await process.step():
        pass
    await process.close()


async def _post(log: Log, count: int) -> None:
    """As the API does: with its headers, many at once."""
    posts = []
    for sender, jti, raw in partners.notices(count):
        headers = {
            "ce_specversion": "1.0", "ce_id": jti, "ce_source": f"/agencies/{sender}",
            "ce_type": f"comity.notice.{partners.TYPE}", "ce_time": "2026-01-01T00:00:00.000Z",
            "ce_subject": "edge-gateway", "content-type": "application/sd-jwt",
        }  # fmt: skip
        posts.append(log.append(NOTICES + sender, Record(raw, "edge-gateway", headers)))
        if len(posts) == 1_000:
            await asyncio.gather(*posts)
            posts = []
    await asyncio.gather(*posts)


async def _route(log: Log, router: Router, count: int) -> float:
    """Seconds until every notice posted has its ledger entry and its deliveries, durable."""
    last = await log.end(LEDGER) + count
    await router.open()
    began = time.perf_counter()
    running = asyncio.create_task(router.run())
    try:
        while await log.end(LEDGER) < last:
            if running.done():
                running.result()
            await asyncio.sleep(0.005)
        return time.perf_counter() - began
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def _size(path: Path) -> int:
    return path.stat().st_size
