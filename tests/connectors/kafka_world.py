"""What stands around a partner on Kafka: its topics, a writer that acts as the hub, a plain reader, a line that can fail."""

from __future__ import annotations

import asyncio
import json
import struct
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from connectors import PartnerKey, SignedNotice
from connectors import notices as drafts
from connectors.kafka import DELIVERIES, NOTICES, KafkaClient
from hub.core import envelope, strict
from hub.core.messages import notice_headers
from schemas.notice import validate
from tests.world import CYBER


def fresh(country: str = "us") -> PartnerKey:
    """The key of an agency that nobody else has: the broker is shared by all tests."""
    return PartnerKey.generate(f"{country}-t{uuid.uuid4().hex[:12]}", "2026-1")


def signed(sender: PartnerKey, subject: str = "edge-gateway", **change: Any) -> SignedNotice:
    usual: dict[str, Any] = {"type": "threat.cyber.v1", "subject": subject, "tlp": "TLP:GREEN", "data": CYBER}
    return drafts.sign(drafts.claims(sender.agency, **usual | change), sender)


def listed(*keys: PartnerKey) -> dict[str, Any]:
    """What `comity agency list -o json` prints of them."""
    return {
        "agencies": [
            {"id": key.agency, "name": "n", "role": "partner", "keys": [
                {"kid": key.kid, "alg": "Ed25519", "x": strict.b64(key.public), "not_before": 0, "not_after": 2**52,
                 "revoked": None}]}
            for key in keys
        ],
        "registry": 1,
    }  # fmt: skip


@dataclass
class World:
    """One sender, one recipient, their topics, and a file with their keys."""

    bootstrap: str
    folder: Path
    sender: PartnerKey = field(default_factory=fresh)
    recipient: PartnerKey = field(default_factory=lambda: fresh("jp"))
    numbers: int = 0

    @property
    def notices(self) -> str:
        return NOTICES + self.sender.agency

    @property
    def deliveries(self) -> str:
        return DELIVERIES + self.recipient.agency

    @property
    def agencies(self) -> Path:
        return self.folder / "agencies.json"

    def address(self, brokers: str | None = None) -> str:
        return f"kafka://{brokers or self.bootstrap}?agencies={self.agencies}"

    def client(self, key: PartnerKey, brokers: str | None = None, **more: Any) -> KafkaClient:
        return KafkaClient(self.address(brokers), key, **{"patience": 20.0} | more)

    async def set_up(self) -> World:
        self.agencies.write_text(json.dumps(listed(self.sender, self.recipient)))
        topics = (self.notices, self.deliveries, DELIVERIES + self.sender.agency, NOTICES + self.recipient.agency)
        async with admin(self.bootstrap) as client:
            await client.create_topics([NewTopic(topic, 1, 1) for topic in topics])
        return self

    def delivery(self, raw: bytes, number: int | None = None, **change: str) -> dict[str, Any]:
        """A record as the router writes it."""
        self.numbers = number or self.numbers + 1
        whole = envelope.split(raw)
        notice = validate(envelope.read(whole)[0])
        headers = notice_headers(notice, 1_772_366_400_000) | {
            "ce_number": str(self.numbers), "ce_agreement": "alpine@1/c1", "ce_withheld": "source_detail",
            "ce_reason": "clause", "ce_salt": "c2FsdA",
        } | change  # fmt: skip
        return {
            "value": envelope.withhold(whole, ["source_detail"]), "key": notice.subject.encode(),
            "headers": [(name, text.encode()) for name, text in headers.items()],
        }  # fmt: skip

    async def deliver(self, *rows: dict[str, Any], abort: bool = False) -> list[int]:
        """In one transaction, as the hub does; the offsets."""
        async with hub_writer(self.bootstrap) as producer:
            return await write(producer, self.deliveries, rows, abort=abort)

    async def deliver_notices(self, count: int, **change: Any) -> list[int]:
        return await self.deliver(*(self.delivery(signed(self.sender, f"s{n}", **change).raw) for n in range(count)))


@asynccontextmanager
async def admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await client.start()
    try:
        yield client
    finally:
        await client.close()


async def delete_before(bootstrap: str, topic: str, offset: int) -> None:
    """What retention does."""
    async with admin(bootstrap) as client:
        await client.delete_records({TopicPartition(topic, 0): RecordsToDelete(offset)})


@asynccontextmanager
async def hub_writer(bootstrap: str) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, transactional_id=f"test-{uuid.uuid4()}")
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


async def write(
    producer: AIOKafkaProducer, topic: str, rows: Sequence[dict[str, Any]], *, abort: bool = False
) -> list[int]:
    await producer.begin_transaction()
    offsets = [(await producer.send_and_wait(topic, partition=0, **row)).offset for row in rows]
    await (producer.abort_transaction() if abort else producer.commit_transaction())
    return offsets


async def records(bootstrap: str, topic: str) -> list[Any]:
    """Everything committed in a topic, as a consumer reads it that does not know us."""
    place = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(
        bootstrap_servers=bootstrap, isolation_level="read_committed", auto_offset_reset="earliest"
    )
    consumer.assign([place])
    await consumer.start()
    try:
        found: list[Any] = []
        end = (await consumer.end_offsets([place]))[place]
        async with asyncio.timeout(20):
            while await consumer.position(place) < end:
                found += (await consumer.getmany(place, timeout_ms=200)).get(place, [])
        return found
    finally:
        await consumer.stop()


def headers_of(record: Any) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


class Line:
    """A line to one broker that can be frozen (nothing moves, nothing is closed), cut, and refused.

    The broker tells its own address to everybody; on this line it is told as ours, or clients would go around us.
    """

    def __init__(self, broker: str) -> None:
        host, _, port = broker.partition(",")[0].rpartition(":")
        self.host, self.port, self.own = host, int(port), 0
        self.moving = asyncio.Event()
        self.moving.set()
        self.refusing = False
        self.connections: set[asyncio.StreamWriter] = set()
        self.tasks: set[asyncio.Task[Any]] = set()

    @property
    def address(self) -> str:
        return f"{self.host}:{self.own}"

    def freeze(self) -> None:
        self.moving.clear()

    def thaw(self) -> None:
        self.moving.set()

    def cut(self, refuse: bool = False) -> None:
        """Close what is open; with refuse let nobody in any more."""
        self.refusing = refuse
        for writer in self.connections:
            writer.transport.abort()
        self.connections.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(self.host, self.port)
        self.connections |= {writer, back}
        told = self._name(self.port), self._name(self.own)
        for source, target, change in ((reader, back, None), (there, writer, told)):
            task = asyncio.create_task(self.carry(source, target, change))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def carry(
        self, source: asyncio.StreamReader, target: asyncio.StreamWriter, change: tuple[bytes, bytes] | None
    ) -> None:
        """Frame by frame: a size, and so many bytes."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                size = await source.readexactly(4)
                frame = await source.readexactly(struct.unpack(">i", size)[0])
                await self.moving.wait()
                target.write(size + (frame.replace(*change) if change else frame))
                await target.drain()
        target.close()

    def _name(self, port: int) -> bytes:
        host = self.host.encode()
        return struct.pack(">h", len(host)) + host + struct.pack(">i", port)


@asynccontextmanager
async def line(broker: str) -> AsyncIterator[Line]:
    made = Line(broker)
    server = await asyncio.start_server(made.serve, made.host, 0)
    made.own = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        made.thaw()
        made.cut()
        for task in list(made.tasks):
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)
