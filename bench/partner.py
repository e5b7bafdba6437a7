"""Who is outside of the hub: publishes through the log as the API does, receives with Kafka's own consumer, and counts."""

from __future__ import annotations

import asyncio
import time
from statistics import quantiles
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from bench import world
from bench.process import Handler, serve
from hub.bench import partners
from hub.core.envelope import read, split
from hub.core.messages import notice_headers
from hub.log import Record
from hub.log.kafka import KafkaLog
from hub.log.topics import NOTICES
from hub.plan import LEDGER
from schemas.notice import validate

AT_ONCE = 1_000  # appends under way
WARM_UP = 1.0  # seconds at the beginning of a paced load that do not count
PATIENCE = 60.0  # seconds for the last delivery to come


class Partner:
    def __init__(self, address: str, log: KafkaLog) -> None:
        self._address, self._log = address, log

    async def prepare(self) -> None:
        await world.prepare(self._log)

    async def post(self, count: int, senders: list[str]) -> dict[str, dict[str, int]]:
        """Append so many notices; the last offsets before and after, by topic."""
        after = {topic: await self._log.end(topic) for topic in world.inputs(senders)}
        until = dict(after)
        posts = _posts(count, senders)
        for first in range(0, count, AT_ONCE):
            chosen = posts[first : first + AT_ONCE]
            offsets = await asyncio.gather(*(self._log.append(topic, record) for _, topic, record in chosen))
            until |= {topic: offset for (_, topic, _), offset in zip(chosen, offsets, strict=True)}
        return {"after": after, "until": until}

    async def pace(self, rate: float, seconds: float, senders: list[str]) -> dict[str, float]:
        """Publish at a steady rate; ms from each acknowledgement until each delivery is in a recipient's hands."""
        posts = _posts(int(rate * (WARM_UP + seconds)), senders)
        consumer = await self._consumer(world.delivered())
        await consumer.seek_to_end()
        arrived: dict[str, list[float]] = {}
        receiving = asyncio.create_task(_receive(consumer, len(posts) * len(world.delivered()), arrived))
        acknowledged = await self._publish(posts, rate)
        try:
            async with asyncio.timeout(PATIENCE):
                await receiving
        finally:
            await consumer.stop()
        counted = [jti for jti, _, _ in posts[int(rate * WARM_UP) :]]
        spent = [max(0.0, at - acknowledged[jti]) * 1000 for jti in counted for at in arrived[jti]]
        cuts = quantiles(spent, n=100)
        return {"p50": cuts[49], "p99": cuts[98], "rate": rate}

    async def _publish(self, posts: list[tuple[str, str, Record]], rate: float) -> dict[str, float]:
        """When each was acknowledged. Nobody waits for an acknowledgement before the next is due."""
        acknowledged: dict[str, float] = {}

        async def publish(jti: str, topic: str, record: Record) -> None:
            await self._log.append(topic, record)
            acknowledged[jti] = time.perf_counter()

        began = time.perf_counter()
        async with asyncio.TaskGroup() as appends:
            for number, post in enumerate(posts):
                early = began + number / rate - time.perf_counter()
                if early > 0:
                    await asyncio.sleep(early)
                appends.create_task(publish(*post))
        return acknowledged

    async def count(self) -> dict[str, int]:
        """Committed records of the ledger and of every recipient's topic, as Kafka's own consumer sees them."""
        topics = [LEDGER, *world.delivered()]
        consumer = await self._consumer(topics)
        try:
            await consumer.seek_to_beginning()
            left = await consumer.end_offsets([TopicPartition(topic, 0) for topic in topics])
            counted = dict.fromkeys(topics, 0)
            while left := {part: end for part, end in left.items() if await consumer.position(part) < end}:
                for part, records in (await consumer.getmany(timeout_ms=500)).items():
                    counted[part.topic] += len(records)
            return counted
        finally:
            await consumer.stop()

    async def _consumer(self, topics: list[str]) -> AIOKafkaConsumer:
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self._address, isolation_level="read_committed", enable_auto_commit=False
        )
        await consumer.start()
        consumer.assign([TopicPartition(topic, 0) for topic in topics])
        return consumer


async def _receive(consumer: AIOKafkaConsumer, count: int, arrived: dict[str, list[float]]) -> None:
    while count > 0:
        found = await consumer.getmany(timeout_ms=1000)
        now = time.perf_counter()
        for records in found.values():
            count -= len(records)
            for record in records:
                arrived.setdefault(dict(record.headers)["ce_id"].decode(), []).append(now)


def _posts(count: int, senders: list[str]) -> list[tuple[str, str, Record]]:
    """(jti, topic, record) of notices signed just now, with the headers that the API writes."""
    [(_, _, first)] = partners.notices(1, senders)
    notice, now = validate(read(split(first))[0]), int(time.time() * 1000)
    made = []
    for number, (sender, jti, raw) in enumerate(partners.notices(count, senders)):
        about: dict[str, Any] = {"iss": sender, "jti": jti, "subject": f"edge-gateway-{number % 1000}"}
        headers = notice_headers(notice.model_copy(update=about), now)
        made.append((jti, NOTICES + sender, Record(raw, about["subject"], headers)))
    return made


async def make(address: str) -> dict[str, Handler]:
    log = await KafkaLog.open(f"kafka://{address}")
    partner = Partner(address, log)
    return {
        "prepare": partner.prepare, "post": partner.post, "pace": partner.pace, "count": partner.count,
        "close": log.close,
    }  # fmt: skip


if __name__ == "__main__":
    serve(make)
