"""The session's broker answers, and is the same for everybody."""

from __future__ import annotations

from aiokafka import AIOKafkaProducer

from tests.kafka import broker


async def test_a_record_is_accepted_by_the_sessions_broker(kafka_bootstrap: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    await producer.start()
    try:
        assert len(producer.client.cluster.brokers()) >= 1
    finally:
        await producer.stop()


def test_everybody_is_told_the_same_broker(kafka_bootstrap: str) -> None:
    broker.bootstrap.cache_clear()
    assert broker.bootstrap() == kafka_bootstrap
