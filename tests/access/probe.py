"""An agency that asks brokers directly, as one would who does not stop at what a well-behaved client refuses to send.

Each method answers with the name of Kafka's error, without "Error", or "ok".
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Any

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.protocol.commit import OffsetCommitRequest, OffsetFetchRequest
from aiokafka.protocol.coordination import FindCoordinatorRequest
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.protocol.produce import ProduceRequest
from aiokafka.protocol.transaction import InitProducerIdRequest

from hub.core.address import KafkaAddress
from hub.log.kafka.connecting import options

SECONDS = 10.0
GROUP, TRANSACTION = 0, 1


class Probe:
    """An open connection. Raises aiokafka's KafkaConnectionError when it is not let in."""

    def __init__(self, address: str) -> None:
        self._client = AIOKafkaClient(**options(KafkaAddress.parse(address)), request_timeout_ms=int(SECONDS * 1000))

    async def __aenter__(self) -> Probe:
        try:
            await self._client.bootstrap()
        except BaseException:
            await self._client.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.wait_for(self._client.close(), SECONDS)

    async def _send(self, request: Any) -> Any:
        # The address that was given, on the connection that bootstrapped: no metadata of a topic is needed for it.
        [node, *_] = [broker.nodeId for broker in self._client.cluster.brokers()]
        return await asyncio.wait_for(self._client.send(node, request), SECONDS)

    async def read(self, topic: str, offset: int = 0, wait_ms: int = 0) -> str:
        answer = await self._send(FetchRequest(wait_ms, 1, 1_000_000, 0, [(topic, [(0, offset, 1_000_000)])]))
        [(_, [(_, code, *_)])] = answer.topics
        return _name(code)

    async def ends(self, topic: str) -> str:
        answer = await self._send(OffsetRequest(-1, 0, [(topic, [(0, -1)])]))
        [(_, [(_, code, *_)])] = answer.topics
        return _name(code)

    async def write(self, topic: str, value: bytes = b"x", transaction: str | None = None) -> str:
        builder = BatchBuilder(100_000, 0, is_transactional=transaction is not None)
        builder.append(timestamp=None, key=None, value=value, headers=[])
        builder.close()
        records = bytes(builder._build())  # as a producer's sender does
        answer = await self._send(ProduceRequest(transaction, -1, 5_000, [(topic, [(0, records)])]))
        [(_, [(_, code, *_)])] = answer.topics
        return _name(code)

    async def begin(self, transaction: str | None) -> str:
        return _name((await self._send(InitProducerIdRequest(transaction, 10_000))).error_code)

    async def coordinator(self, name: str, kind: int = GROUP) -> str:
        return _name((await self._send(FindCoordinatorRequest(name, kind))).error_code)

    async def commit(self, group: str, topic: str) -> str:
        await self.coordinator(group)
        for _ in range(50):  # while the coordinator of a first group is made
            answer = await self._send(OffsetCommitRequest(group, -1, "", -1, [(topic, [(0, 1, "")])]))
            [(_, [(_, code)])] = answer.topics
            if not for_code(code).retriable:
                break
            await asyncio.sleep(0.1)
        return _name(code)

    async def offsets(self, group: str, topic: str) -> str:
        answer = await self._send(OffsetFetchRequest(group, [(topic, [0])]))
        return _name(answer.error_code)

    async def topics(self) -> set[str]:
        """Every topic that it is shown."""
        answer = await self._send(MetadataRequest(None, False))
        return {topic[1] for topic in answer.topics}

    async def topic(self, name: str) -> str:
        """What it is told of a topic that it names."""
        answer = await self._send(MetadataRequest([name], False))
        return _name(answer.topics[0][0])


def _name(code: int) -> str:
    return "ok" if code == 0 else for_code(code).__name__.removesuffix("Error").removesuffix("Exception")
