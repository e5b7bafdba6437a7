"""A relay as aiokafka's documentation writes it: consume, transform, produce, in transactions. It checks nothing.

One `send` per record; three deliveries and a ledger record for each notice. Nothing of the product is imported, for that
would change aiokafka's settings.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition

from bench.process import Handler, Stopwatch, serve

GROUP = "bench-plain"


class Relay:
    def __init__(self, address: str, producer: AIOKafkaProducer) -> None:
        self._address, self._producer = address, producer

    async def run(
        self, after: dict[str, int], until: dict[str, int], deliveries: list[str], ledger: str, batch: int, entry: int
    ) -> dict[str, float]:
        """Relay the records of topics behind offsets and up to others."""
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._address, group_id=GROUP, enable_auto_commit=False,
            isolation_level="read_committed", auto_offset_reset="none",
        )  # fmt: skip
        await consumer.start()
        try:
            with Stopwatch.running() as watch:
                consumer.assign([TopicPartition(topic, 0) for topic in until])
                for topic, offset in after.items():
                    consumer.seek(TopicPartition(topic, 0), offset + 1)
                left = dict(until)
                while left:
                    found = await consumer.getmany(timeout_ms=1000, max_records=batch)
                    await self._relay(found, deliveries, ledger, bytes(entry))
                    for partition, records in found.items():
                        if records[-1].offset >= until[partition.topic]:
                            left.pop(partition.topic, None)
            return watch.told()
        finally:
            await consumer.stop()

    async def _relay(self, found: dict[TopicPartition, list[Any]], deliveries: list[str], ledger: str, entry: bytes):
        async with self._producer.transaction():
            sent = []
            for records in found.values():
                for record in records:
                    for topic in deliveries:
                        sent.append(
                            await self._producer.send(topic, record.value, record.key, headers=list(record.headers))
                        )
                    sent.append(await self._producer.send(ledger, entry))
            await asyncio.gather(*sent)
            ends = {partition: records[-1].offset + 1 for partition, records in found.items()}
            await self._producer.send_offsets_to_transaction(ends, GROUP)


async def make(address: str) -> dict[str, Handler]:
    producer = AIOKafkaProducer(bootstrap_servers=address, transactional_id="bench-plain")
    await producer.start()
    return {"run": Relay(address, producer).run, "close": producer.stop}


if __name__ == "__main__":
    serve(make)
