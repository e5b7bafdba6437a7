"""Reading a topic from a position that somebody else keeps: by assignment, without a group, only what is committed."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import OffsetOutOfRangeError

from connectors.errors import DeliveriesLost
from connectors.kafka_link import REQUEST_SECONDS, Link, Silent, bounded
from hub.core.address import KafkaAddress

SLICE = 1.0  # seconds of one wait for records; between two of them others have their turn
SILENCE = 8.0  # seconds; brokers answer a fetch within half of one, also when there is nothing
SHORTEST = 0.05  # seconds


class Reader:
    """One topic, partition 0. Several may read with positions of their own; they share one connection, in turn."""

    def __init__(self, address: KafkaAddress, topic: str, client_id: str, patience: float) -> None:
        self._place, self._patience = TopicPartition(topic, 0), patience
        self._turn = asyncio.Lock()
        self._standing: tuple[AIOKafkaConsumer, int] | None = None  # the offset behind which a consumer goes on

        def make(options: dict[str, Any]) -> AIOKafkaConsumer:
            # "none": an offset that is gone is an error to be told, never a silent start somewhere else.
            consumer = AIOKafkaConsumer(
                **options, client_id=client_id, isolation_level="read_committed", auto_offset_reset="none",
                enable_auto_commit=False,
            )  # fmt: skip
            consumer.assign([self._place])
            return consumer

        self._link = Link(address, topic, "read", make)

    async def read(self, after: int, wait: float, limit: int) -> list[Any]:
        """Up to `limit` records behind an offset (-1: from the topic's first), waiting `wait` seconds for a first one.

        Empty when nothing is there now. Raises DeliveriesLost; Refused, AuthenticationFailed, Unreachable.
        """
        until = time.monotonic() + wait
        return await self._link.use(lambda consumer: self._read(consumer, after, until, limit), self._patience)

    async def close(self) -> None:
        await self._link.close()

    async def _read(self, consumer: AIOKafkaConsumer, after: int, until: float, limit: int) -> list[Any]:
        watch = _Watch(consumer, self._place)
        while True:
            patience = min(SLICE, max(SHORTEST, until - time.monotonic()))
            async with self._turn:
                records = await self._take(consumer, after, patience, limit)
                watch.look()
                if records:
                    return records
                if time.monotonic() >= until and await watch.nothing_left():
                    return []

    async def _take(self, consumer: AIOKafkaConsumer, after: int, wait: float, limit: int) -> list[Any]:
        """What has come by now. Whatever interrupts this, the next one begins behind `after` again."""
        standing, self._standing = self._standing, None
        try:
            if standing != (consumer, after):
                consumer.seek(self._place, after + 1 if after >= 0 else await _first(consumer, self._place))
            fetching = consumer.getmany(self._place, timeout_ms=int(wait * 1000), max_records=limit)
            found = (await bounded(fetching, wait + REQUEST_SECONDS, "a fetch")).get(self._place, [])
        except OffsetOutOfRangeError:
            first, end = await _first(consumer, self._place), await _end(consumer, self._place)
            if after < 0 or first <= after + 1 <= end:
                raise Silent("the topic was being changed") from None
            raise DeliveriesLost(self._place.topic, after, first, end) from None
        self._standing = (consumer, found[-1].offset if found else after)
        return list(found)


class _Watch:
    """Whether the brokers still answer one reading, and whether they have told all there is."""

    def __init__(self, consumer: AIOKafkaConsumer, place: TopicPartition) -> None:
        self._consumer, self._place = consumer, place
        self._poll = consumer.last_poll_timestamp(place)
        self._heard = time.monotonic()
        self._position, self._still, self._end = -1, 0, -1

    def look(self) -> None:
        """Silent when it is too long ago that a fetch was answered: aiokafka itself would try again for ever."""
        poll = self._consumer.last_poll_timestamp(self._place)
        self._still += poll != self._poll
        if poll != self._poll:
            self._poll, self._heard = poll, time.monotonic()
        elif time.monotonic() - self._heard > SILENCE:
            raise Silent(f"no fetch was answered for {SILENCE:.0f} s")

    async def nothing_left(self) -> bool:
        """Whether everything committed was given out.

        The position alone does not say: it may stop before the marker that ends a transaction. So a topic whose fetches
        are answered twice while the position stands still has nothing more, either.
        """
        position = await bounded(self._consumer.position(self._place), REQUEST_SECONDS, "a position")
        if position != self._position:
            self._position, self._still = position, 0
        if self._end < 0:
            self._end = await _end(self._consumer, self._place)
        return position >= self._end or self._still >= 2


async def _first(consumer: AIOKafkaConsumer, place: TopicPartition) -> int:
    found: int = (await bounded(consumer.beginning_offsets([place]), REQUEST_SECONDS, "a first offset"))[place]
    return found


async def _end(consumer: AIOKafkaConsumer, place: TopicPartition) -> int:
    """Behind the last record that is committed."""
    found: int = (await bounded(consumer.end_offsets([place]), REQUEST_SECONDS, "a last offset"))[place]
    return found
