"""What tests of the log on Kafka share: places with names of their own, a proxy, and an ear for what asyncio complains of."""

from __future__ import annotations

import asyncio
import gc
import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import ExitStack
from typing import Any

import pytest
from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient, NewTopic

from hub.log import Record, Shard, Stored
from hub.log.kafka import KafkaLog
from tests.kafka.proxy import Proxy


class Place:
    """A broker. Each `open` is another client, as another process would be; all are closed with the test."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._space = uuid.uuid4().hex[:8]
        self._logs: list[KafkaLog] = []
        self._proxies = ExitStack()

    def name(self, text: str) -> str:
        return f"test.{self._space}.{text}"

    async def open(self, through: Proxy | None = None) -> KafkaLog:
        log = await KafkaLog.open(f"kafka://{through.address if through else self.bootstrap}")
        self._logs.append(log)
        return log

    def proxy(self) -> Proxy:
        """One before the broker, as long as the place is."""
        if "," in self.bootstrap:
            pytest.skip("a proxy stands before one broker, and COMITY_TEST_KAFKA names several")
        return self._proxies.enter_context(Proxy(self.bootstrap))

    async def shard(self, log: KafkaLog, *outputs: str) -> tuple[Shard, str, str]:
        """A shard over the topic `in`, that topic, and `out`; both are made."""
        source, out = self.name("in"), self.name("out")
        await log.create(source, out, *outputs)
        return Shard(self.name("s"), topics=(source,)), source, out

    async def close(self) -> None:
        for log in self._logs:
            await log.close()
        self._proxies.close()

    # What operators do, by another library than the log's.

    async def limit(self, topic: str, size: int) -> None:
        """Set max.message.bytes. The brokers keep to it before this returns."""

        def change(admin: KafkaAdminClient) -> None:
            wanted = {"max.message.bytes": str(size)}
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, wanted)], incremental=True)

        await self.administer(change)

    async def make(self, topic: str, partitions: int) -> None:
        await self.administer(
            lambda admin: admin.create_topics([NewTopic(topic, num_partitions=partitions, replication_factor=1)])
        )

    async def remove(self, topic: str) -> None:
        await self.administer(lambda admin: admin.delete_topics([topic]))

    async def delete_before(self, topic: str, offset: int) -> None:
        await self.administer(lambda admin: admin.delete_records({TopicPartition(topic, 0): offset}))

    async def topics(self) -> set[str]:
        found: set[str] = set()
        await self.administer(lambda admin: found.update(admin.list_topics()))
        return found

    async def administer(self, work: Any) -> None:
        def run() -> None:
            admin = KafkaAdminClient(bootstrap_servers=self.bootstrap)
            try:
                work(admin)
            finally:
                admin.close()

        await asyncio.to_thread(run)


class Ear(logging.Handler):
    """Hears what asyncio is told of and nobody retrieves."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@pytest.fixture
async def quiet() -> AsyncIterator[Ear]:
    """Fails a test that leaves tasks behind, or exceptions that nobody retrieved. What is used inside closes before it."""
    ear, logger = Ear(), logging.getLogger("asyncio")
    logger.addHandler(ear)
    before = asyncio.all_tasks()
    try:
        yield ear
        await asyncio.sleep(0.05)
        left = {task for task in asyncio.all_tasks() - before - {asyncio.current_task()} if not task.done()}
        gc.collect()
        await asyncio.sleep(0)
    finally:
        logger.removeHandler(ear)
    assert not left, f"tasks are left behind: {left}"
    assert not ear.heard, f"asyncio complains: {ear.heard}"


@pytest.fixture
async def place(kafka_bootstrap: str, quiet: Ear) -> AsyncIterator[Place]:
    place = Place(kafka_bootstrap)
    try:
        yield place
    finally:
        await place.close()


@pytest.fixture
def proxy(place: Place) -> Proxy:
    return place.proxy()


def values(found: list[Stored]) -> list[bytes]:
    return [stored.record.value for stored in found]


def records(topic: str, *texts: bytes) -> list[tuple[str, Record]]:
    return [(topic, Record(text)) for text in texts]


async def fill(log: KafkaLog, topic: str, *texts: bytes) -> list[int]:
    return [await log.append(topic, Record(text)) for text in texts]
