"""Writing: appends through one idempotent producer, and transactions through one producer per claim.

What aiokafka 0.14 does and this module must answer for (each has a test that goes red without it):

- `commit_transaction` succeeds although a send inside the transaction failed: every send is awaited before.
- Sends, commits and `stop` may hang for good on a broker that is frozen or gone: each call is bounded, and a producer that
  did not answer in time is discarded, never used again.
- A connection that breaks under an EndTxn makes the client send it again. The first copy may still arrive, later, and would
  end the *next* transaction of the same producer epoch: after such a commit the producer is discarded too.
- Fencing shows as several kinds of errors.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from typing import Any, TypeVar

import aiokafka.producer.sender
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    IllegalOperation,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
    KafkaError,
    MessageSizeTooLargeError,
    OutOfOrderSequenceNumber,
    ProducerFenced,
    UnknownError,
)
from aiokafka.protocol.transaction import EndTxnRequest

from hub.log import Fenced, TooLarge, Unavailable
from hub.log.kafka.cluster import Cluster
from hub.log.kafka.connecting import bounded, gather, unavailable, within
from hub.log.kafka.records import BATCH_BYTES, Encoded, batches

APPEND_SECONDS = 15.0  # until an append is given up, its outcome unknown
COMMIT_SECONDS = 15.0  # for sending and committing one transaction
TRANSACTION_SECONDS = 20.0  # after which the brokers abort a transaction whose producer is silent
START_SECONDS = 30.0  # the transaction of the holder before may have to time out first
STOP_SECONDS = 3.0
# aiokafka waits this long, in seconds, whenever the markers of the last transaction are still being written. Its 20 ms are
# most of a short transaction; measured in docs/performance.md.
aiokafka.producer.sender.BACKOFF_OVERRIDE = 0.001

_FENCED = (
    ProducerFenced, InvalidProducerEpoch, InvalidProducerIdMapping, InvalidTxnState, IllegalOperation,
    OutOfOrderSequenceNumber,
    UnknownError,  # what Kafka 4.4 answers to an EndTxn that meets another holder's InitProducerId
)  # fmt: skip
T = TypeVar("T")


async def discard(producer: AIOKafkaProducer) -> None:
    """Let go of a producer whose transaction or connection is in doubt, without flushing and without hanging.

    What it had sent may still arrive; a transaction left open is aborted by the next claim, or times out.
    """
    producer._closed = True

    async def dead(*_: Any, **__: Any) -> Any:
        raise KafkaError("this producer was discarded")

    # Its tasks look for brokers for ever: they shall hear that there are none.
    producer.client.send = producer.client.ready = producer.client.coordinator_lookup = dead
    sender = producer._sender.sender_task
    for _ in range(3):  # it waits for its own tasks when it is cancelled: again, until it lets go of them
        if sender is None or sender.done():
            break
        sender.cancel()
        await asyncio.wait({sender}, timeout=0.1)
    unheard = [sender, producer._txn_manager and producer._txn_manager._transaction_waiter]
    accumulator = producer._message_accumulator
    # One that waits to be sent again was taken out of these, and aiokafka takes it out once more when it ends.
    accumulator._pending_batches.update(chain.from_iterable(accumulator._batches.values()))
    for batch in accumulator._pending_batches:
        unheard += [batch.future, batch._drain_waiter, *(future for future, _ in batch._msg_futures)]
    for future in filter(None, unheard):
        future.add_done_callback(_retrieve)
    accumulator.fail_all(KafkaError("this producer was discarded"))  # nobody else would tell who waits
    await bounded(producer.client.close(), STOP_SECONDS)


class Appender:
    """Appends one by one; those that wait at the same time share requests. Replaces its producer when that is in doubt."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._producer: AIOKafkaProducer | None = None
        self._order = asyncio.Lock()  # appends are sent in the order in which they were begun
        self._closing: set[asyncio.Task[None]] = set()

    async def append(self, record: Encoded) -> int:
        """Its offset, once every replica in sync has it. LogError of hub.log."""
        topic = record.topic
        async with self._order:
            await self._cluster.require(topic)
            await check_sizes(self._cluster, [record])
            producer = self._producer or await self._start()
            sent = await self._asked(producer, topic, self._send(producer, record))
        return place(await self._asked(producer, topic, asyncio.shield(sent)))

    async def append_all(self, records: Sequence[Encoded]) -> list[int]:
        """Records of one topic, in order: their offsets. When it fails, some first ones of them are there, or none."""
        topic, offsets = records[0].topic, list[int]()
        async with self._order:
            await self._cluster.require(topic)
            limits = await check_sizes(self._cluster, records)
            producer = self._producer or await self._start()
            for batch in batches(records, limits[topic], transactional=False):
                count = batch.record_count()
                sent = await self._asked(producer, topic, producer.send_batch(batch, topic, partition=0))
                first = place(await self._asked(producer, topic, asyncio.shield(sent)))
                offsets += range(first, first + count)
        return offsets

    async def _send(self, producer: AIOKafkaProducer, record: Encoded) -> Awaitable[Any]:
        answer: Awaitable[Any] = await producer.send(
            record.topic, record.value, record.key, partition=0, headers=record.headers
        )
        return answer

    async def _asked(self, producer: AIOKafkaProducer, topic: str, work: Awaitable[T]) -> T:
        """Its result in bounded time. When there is none the producer is in doubt, and so is what it had been given."""
        try:
            return await within(APPEND_SECONDS, work, f"an append to {topic}")
        except MessageSizeTooLargeError as error:
            self._cluster.forget_limits()
            self._replace(producer)  # it has counted a record that the brokers have not: they would refuse the next
            raise TooLarge(f"a record for {topic} is larger than the topic takes now: {error}") from error
        except Unavailable:
            self._replace(producer)
            raise
        except (KafkaError, OSError, AssertionError) as error:
            self._replace(producer)
            raise unavailable(self._cluster.address, error) from error

    async def close(self) -> None:
        """Finish what was begun, in bounded time."""
        producer, self._producer = self._producer, None
        if producer is not None and not await bounded(producer.stop(), 2 * STOP_SECONDS):
            await discard(producer)
        if self._closing:
            await asyncio.wait(self._closing, timeout=STOP_SECONDS)

    async def _start(self) -> AIOKafkaProducer:
        producer = AIOKafkaProducer(
            **self._cluster.options, client_id="comity-appends", enable_idempotence=True, acks="all",
            request_timeout_ms=10_000, max_batch_size=BATCH_BYTES, max_request_size=2 * BATCH_BYTES,
        )  # fmt: skip
        await start(producer, self._cluster)
        self._producer = producer
        return producer

    def _replace(self, producer: AIOKafkaProducer) -> None:
        """Others that wait on it hear the same, and try again with the next one."""
        if self._producer is producer:
            self._producer = None
            task = asyncio.create_task(discard(producer))
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)


class Transactions:
    """The transactions of one claim. After an error `over` says why there can be no more."""

    def __init__(self, cluster: Cluster, producer: AIOKafkaProducer) -> None:
        self._cluster, self._producer = cluster, producer
        self._ends = 0  # EndTxn requests sent in the transaction under way
        self._topics: set[str] = set()
        self.doubtful = False  # an EndTxn was sent more than once: no further transaction may be begun
        self._count_ends()

    @classmethod
    async def open(cls, cluster: Cluster, transactional_id: str) -> Transactions:
        """From here on the holder before is fenced, and its open transaction aborted. Unavailable."""
        producer = AIOKafkaProducer(
            **cluster.options, client_id=transactional_id, transactional_id=transactional_id, acks="all",
            transaction_timeout_ms=int(TRANSACTION_SECONDS * 1000), request_timeout_ms=10_000,
            max_batch_size=BATCH_BYTES,
        )  # fmt: skip
        await start(producer, cluster)
        return cls(cluster, producer)

    async def commit(
        self, outputs: Mapping[str, Sequence[Encoded]], limits: Mapping[str, int], confirm: Callable[[], None] | None
    ) -> dict[str, list[int]]:
        """Write the records of each topic in order and commit; their offsets by topic.

        confirm: called when all is written and nothing is visible; what it raises ends the transaction unfinished.
        Fenced, Unavailable: the producer must be discarded, and how the transaction ended may be unknown.
        """
        try:
            return await within(COMMIT_SECONDS, self._commit(outputs, limits, confirm), "a transaction")
        except _FENCED as error:
            raise Fenced(f"another holder has claimed the shard ({type(error).__name__}): claim it again") from error
        except MessageSizeTooLargeError as error:
            self._cluster.forget_limits()
            raise Unavailable(
                "a topic takes smaller records than it did a moment ago; claim the shard again, and what is too large is "
                "refused by name"
            ) from error
        except (KafkaError, OSError, AssertionError) as error:
            if isinstance(error.__cause__, _FENCED):
                raise Fenced("another holder has claimed the shard: claim it again") from error
            raise unavailable(self._cluster.address, error) from error

    async def _commit(
        self, outputs: Mapping[str, Sequence[Encoded]], limits: Mapping[str, int], confirm: Callable[[], None] | None
    ) -> dict[str, list[int]]:
        await self._know(outputs)
        await self._producer.begin_transaction()
        self._ends = 0
        written = await gather([self._write(topic, rows, limits[topic]) for topic, rows in outputs.items()])
        if confirm is not None:
            confirm()
        await self._producer.commit_transaction()
        self.doubtful = self._ends > 1
        return dict(zip(outputs, written, strict=True))

    async def _write(self, topic: str, records: Sequence[Encoded], limit: int) -> list[int]:
        """Send a topic's batches and wait until each is written: a commit does not do that for us."""
        sent = []
        for batch in batches(records, limit, transactional=True):
            answer = await self._producer.send_batch(batch, topic, partition=0)
            answer.add_done_callback(_retrieve)  # behind a failure nobody asks for the others
            sent.append((batch.record_count(), answer))
        offsets: list[int] = []
        for count, answer in sent:
            first = place(await answer)
            offsets += range(first, first + count)
        return offsets

    async def _know(self, topics: Mapping[str, Any]) -> None:
        """Have the leaders of all new topics looked up at once, and not one by one."""
        if new := topics.keys() - self._topics:
            self._topics |= new
            await self._producer.client.set_topics(sorted(self._topics))

    def _count_ends(self) -> None:
        client = self._producer.client
        send = client.send

        async def counting(node: int, request: Any, **lane: Any) -> Any:
            self._ends += isinstance(request, EndTxnRequest)
            return await send(node, request, **lane)

        client.send = counting

    async def close(self) -> None:
        """The orderly end: nothing is under way."""
        if not await bounded(self._producer.stop(), STOP_SECONDS):
            await discard(self._producer)

    async def discard(self) -> None:
        await discard(self._producer)


def place(told: Any) -> int:
    """The offset that a broker tells. Unavailable when it tells none: it has the records already, and no longer knows where."""
    if told.offset < 0:
        raise Unavailable(
            f"what was written to {told.topic} stands at an offset that the broker does not tell; read it"
        )
    offset: int = told.offset
    return offset


def _retrieve(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled():
        answer.exception()


async def start(producer: AIOKafkaProducer, cluster: Cluster) -> None:
    try:
        await within(START_SECONDS, producer.start(), "the start of a producer")
    except BaseException as error:
        await discard(producer)
        if isinstance(error, KafkaError | OSError):
            raise unavailable(cluster.address, error) from error
        raise


async def check_sizes(cluster: Cluster, records: Sequence[Encoded], *topics: str) -> Mapping[str, int]:
    """What the records' topics, and others, take. TooLarge, before anything is begun, for a record that is larger."""
    names = {*topics, *(record.topic for record in records)}
    limits = await cluster.limit(*names)
    if any(record.size > limits[record.topic] for record in records):
        cluster.forget_limits()  # somebody may have done what we asked for below
        limits = await cluster.limit(*names)
    for record in records:
        if record.size > limits[record.topic]:
            raise TooLarge(
                f"a record for {record.topic} has {record.size} bytes and the topic takes {limits[record.topic]}: raise "
                "its max.message.bytes (`comity topics apply` does), or send less"
            )
    return limits
