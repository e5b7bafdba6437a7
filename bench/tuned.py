"""The same relay on the product's transport: a claim's batches and commits. It checks nothing."""

from __future__ import annotations

from bench import world
from bench.process import Handler, Stopwatch, serve
from hub.log import Record, Shard
from hub.log.kafka import KafkaLog


class Relay:
    def __init__(self, log: KafkaLog) -> None:
        self._log = log
        self._shards: dict[str, Shard] = {}

    async def open(self, name: str, senders: list[str]) -> None:
        self._shards[name] = await world.shard_at_end(self._log, senders)

    async def run(self, name: str, until: dict[str, int]) -> dict[str, float]:
        deliveries, ledger = world.relayed("tuned")
        entry = Record(bytes(world.LEDGER_BYTES))
        claim = await self._log.claim(self._shards[name])
        with Stopwatch.running() as watch:
            while any(claim.positions.get(topic, -1) < offset for topic, offset in until.items()):
                batch = await claim.batch(world.BATCH, wait=1.0)
                outputs = [(topic, stored.record) for stored in batch for topic in deliveries]
                outputs += [(ledger, entry)] * len(batch)
                await claim.commit(batch, outputs, {})
        await claim.release()
        return watch.told()


async def make(address: str) -> dict[str, Handler]:
    log = await KafkaLog.open(f"kafka://{address}")
    relay = Relay(log)
    return {"shard": relay.open, "run": relay.run, "close": log.close}


if __name__ == "__main__":
    serve(make)
