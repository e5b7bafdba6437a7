"""A claim whose state holds what a router remembers of very many notices: written once, restored by a fresh process."""

from __future__ import annotations

import gc
import os
import time
from typing import Any

from bench.process import Handler, Stopwatch, rss_mb, serve
from hub.bench import partners
from hub.core.decision import Received, Seen
from hub.log import Shard
from hub.log.kafka import KafkaLog
from hub.memory import Memory

SHARD = Shard("bench-memory")
CHUNK = 5_000  # notices in one commit
RECEIVED = tuple(
    Received(recipient, "bench", 1, "narrow" if recipient == partners.RECIPIENTS[-1] else "whole")
    for recipient in partners.RECIPIENTS
)


class Remembered:
    def __init__(self, log: KafkaLog) -> None:
        self._log = log

    async def write(self, count: int) -> None:
        """Remember so many notices, as a router would that has just delivered them."""
        claim = await self._log.claim(SHARD)
        memory = Memory(claim.state)
        for first in range(0, count, CHUNK):
            memory.at, exp = time.time_ns() // 1_000_000, int(time.time()) + 86_400
            for number in range(first, min(first + CHUNK, count)):
                sender = partners.SENDERS[number % len(partners.SENDERS)]
                memory.remember(sender, partners.new_id(), Seen(os.urandom(32), exp, RECEIVED))
            await claim.commit([], [], memory.hand_over())
            memory.committed()
        await claim.release()

    async def restore(self, count: int) -> dict[str, Any]:
        empty = rss_mb()
        with Stopwatch.running() as claiming:
            claim = await self._log.claim(SHARD)
        claimed = rss_mb()
        with Stopwatch.running() as building:
            memory = Memory(claim.state)
        if len(claim.state) < count:
            raise AssertionError(f"{len(claim.state)} entries were restored, not {count}")
        gc.collect()
        found = {
            "empty_mb": empty, "restore_s": claiming.seconds, "rss_mb": claimed,
            "memory_s": building.seconds, "router_rss_mb": rss_mb(),
        }  # fmt: skip
        memory.forget(memory.at)
        await claim.release()
        return found


async def make(address: str) -> dict[str, Handler]:
    log = await KafkaLog.open(f"kafka://{address}")
    remembered = Remembered(log)
    return {"write": remembered.write, "restore": remembered.restore, "close": log.close}


if __name__ == "__main__":
    serve(make)
