"""The product's router, one for each shard that it is given, in a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from bench import world
from bench.process import Handler, Stopwatch, serve
from hub.clock import Clock
from hub.log import Claim, Shard
from hub.log.kafka import KafkaLog
from hub.router import Router

LOOK = 0.005  # seconds between looks whether everything is committed


class Routers:
    def __init__(self, log: KafkaLog) -> None:
        self._log, self._clock = log, Clock()
        self._shards: dict[str, Shard] = {}
        self._routers: dict[str, Router] = {}
        self._claims: dict[str, Claim] = {}
        self._running: list[asyncio.Task[None]] = []

    async def shard(self, name: str, senders: list[str]) -> None:
        self._shards[name] = await world.shard_at_end(self._log, senders)
        self._routers[name] = Router(self._log, self._shards[name], self._clock)

    async def claim(self, names: list[str]) -> None:
        """Ready to run; it has the shards from here on."""
        self._claims = {name: await self._routers[name].open() for name in names}

    async def run(self, until: Mapping[str, int]) -> dict[str, float]:
        """Route until everything up to these offsets is committed: entries, deliveries, positions. Then let go."""
        with Stopwatch.running() as watch:
            await self.start()
            while any(
                claim.positions.get(topic, -1) < until[topic]
                for claim in self._claims.values()
                for topic in claim.shard.topics
            ):
                for each in self._running:
                    if each.done():
                        each.result()
                await asyncio.sleep(LOOK)
        await self.stop()
        return watch.told()

    async def start(self) -> None:
        self._running = [asyncio.create_task(self._routers[name].run()) for name in self._claims]

    async def stop(self) -> None:
        for each in self._running:
            each.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        for claim in self._claims.values():
            await claim.release()  # or its feed would go on fetching while others are measured
        self._claims, self._running = {}, []


async def make(address: str) -> dict[str, Handler]:
    log = await KafkaLog.open(f"kafka://{address}")
    routers = Routers(log)
    return {
        "shard": routers.shard, "claim": routers.claim, "run": routers.run, "start": routers.start,
        "stop": routers.stop, "close": log.close,
    }  # fmt: skip


if __name__ == "__main__":
    serve(make)
