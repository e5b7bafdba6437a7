"""One connection to a Kafka cluster: what topics there are and how they are set, what they hold, where they end.

Records are read by Fetch requests at an offset, not through a consumer: the answer says for sure whether anything
committed is left (docs/decisions/0011), there is no position to lose, and one client serves any number of readers.

A *lane* is a connection of its own to each broker. A broker answers the requests of a connection one after the other, so a
request that waits for records must not stand before others.

    LogError of hub.log     Unavailable: no broker answers in PATIENCE seconds, or it will not have us
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.client import AIOKafkaClient
from aiokafka.consumer.fetcher import READ_COMMITTED, READ_UNCOMMITTED
from aiokafka.errors import (
    KafkaError,
    OffsetOutOfRangeError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.fetch import FetchRequest
from aiokafka.protocol.offset import OffsetRequest
from aiokafka.structs import TopicPartition

from hub.core.address import KafkaAddress
from hub.log import LogError, Unavailable, UnknownTopic
from hub.log.kafka.connecting import bounded, gather, options, unavailable, within
from hub.log.kafka.records import Fetched, decode
from hub.log.topics import configs

REQUEST_SECONDS = 10.0  # a broker that does not answer by then is taken for frozen
PATIENCE = 12.0  # seconds a call goes on through lost connections and changes of leader: a fail-over takes up to 9
PAUSE = 0.1
EARLIEST, LATEST = -2, -1
FETCH_BYTES = 8 * 1_048_576
T = TypeVar("T")


class OutOfRange(LogError):  # noqa: N818
    """The offset is not in the topic: before its first record, or behind its end."""


class Cluster:
    """Made by `open`. Belongs to one event loop."""

    def __init__(self, address: KafkaAddress, replication: int) -> None:
        self.address = address
        self.options = options(address)
        self._replication = replication
        self._client = AIOKafkaClient(
            **self.options,
            client_id="comity",
            request_timeout_ms=int(REQUEST_SECONDS * 1000),
            metadata_max_age_ms=60_000,
        )
        self._admin: AIOKafkaAdminClient | None = None
        self._admin_lock = asyncio.Lock()
        self._limits: dict[str, int] = {}  # bytes of a batch that a topic takes
        self.closed = False

    @classmethod
    async def open(cls, address: KafkaAddress, replication: int) -> Cluster:
        cluster = cls(address, replication)
        try:
            await cluster._client.bootstrap()
            await cluster._client.force_metadata_update()
        except (KafkaError, OSError) as error:
            await cluster._client.close()
            raise unavailable(address, error) from error
        return cluster

    async def close(self) -> None:
        self.closed = True
        for client in (self._client, self._admin):
            if client is not None:
                await bounded(client.close(), 5.0)

    # Topics

    async def refresh(self) -> None:
        """See the topics and leaders that there are now. Unavailable."""
        deadline = time.monotonic() + PATIENCE
        while (left := deadline - time.monotonic()) > 0 and not self.closed:
            # Bounded: the client's own task that answers this may be gone.
            asked = asyncio.ensure_future(self._client.force_metadata_update())
            await asyncio.wait({asked}, timeout=left)
            if asked.done() and asked.result():
                return
            await asyncio.sleep(PAUSE)
        told = "this log is closed" if self.closed else "no broker answers; see whether they run, then try again"
        raise Unavailable(f"{self.address}: {told}")

    def names(self) -> set[str]:
        """Topics as of the last look."""
        return set(self._client.cluster.topics(exclude_internal_topics=True))

    async def knows(self, topic: str) -> bool:
        """Whether the topic is there, looked up anew if it was not. LogError when it has more than one partition."""
        partitions = self._client.cluster.partitions_for_topic(topic)
        if partitions is None:
            await self.refresh()
            partitions = self._client.cluster.partitions_for_topic(topic)
        if partitions is not None and len(partitions) != 1:
            raise LogError(
                f"topic {topic} has {len(partitions)} partitions; the order of its records needs exactly 1: "
                "delete it if it is empty, and run `comity topics apply`"
            )
        return partitions is not None

    async def require(self, topic: str) -> None:
        """UnknownTopic when it is not there."""
        if not await self.knows(topic):
            raise UnknownTopic(f"there is no topic {topic}: create it first")

    async def create(self, *topics: str) -> None:
        """Make those that are missing, and return when they have a leader."""
        await self.refresh()
        missing = [topic for topic in dict.fromkeys(topics) if topic not in self.names()]
        if not missing:
            return
        admin = await self._administer()
        wanted = [
            NewTopic(
                topic, num_partitions=1, replication_factor=self._replication,
                topic_configs=configs(topic, self._replication),
            )
            for topic in missing
        ]  # fmt: skip
        answer = await self._ask(lambda: admin.create_topics(wanted, timeout_ms=int(REQUEST_SECONDS * 1000)))
        for name, code, *rest in answer.topic_errors:
            if for_code(code) not in (for_code(0), TopicAlreadyExistsError):
                raise Unavailable(
                    f"{self.address}: topic {name} cannot be created: {for_code(code).__name__} "
                    f"{(rest or [''])[0] or ''}; run `comity topics apply` with an account that may"
                )
        deadline = time.monotonic() + PATIENCE
        while any(self._leader(topic) is None for topic in missing):
            if time.monotonic() > deadline:
                raise Unavailable(f"{self.address}: the new topics have no leader yet; try again")
            await asyncio.sleep(0.02)
            await self.refresh()

    async def limit(self, *topics: str) -> Mapping[str, int]:
        """The largest batch in bytes that each topic takes, as the brokers have it; remembered until `forget_limits`."""
        limits = self._limits  # forgetting begins another: who has this one keeps it whole
        unknown = [topic for topic in topics if topic not in limits]
        if unknown:
            admin = await self._administer()
            wanted = [ConfigResource(ConfigResourceType.TOPIC, topic) for topic in unknown]
            for answer in await self._ask(lambda: admin.describe_configs(wanted)):
                for code, message, _, name, entries in answer.resources:
                    if code:
                        raise unavailable(self.address, for_code(code)(f"settings of {name}: {message}"))
                    limits[name] = next(int(entry[1]) for entry in entries if entry[0] == "max.message.bytes")
        return limits

    def forget_limits(self) -> None:
        """They may have been changed."""
        self._limits = {}

    async def delete_before(self, topic: str, offset: int) -> None:
        """Let the brokers drop the records before an offset."""
        if offset < 0:
            raise ValueError(f"{topic}: {offset} is no offset; to Kafka it would mean everything")
        admin = await self._administer()
        await self._ask(lambda: admin.delete_records({TopicPartition(topic, 0): RecordsToDelete(offset)}))

    async def _administer(self) -> AIOKafkaAdminClient:
        async with self._admin_lock:
            if self._admin is None:
                admin = AIOKafkaAdminClient(
                    **self.options, client_id="comity-admin", request_timeout_ms=int(REQUEST_SECONDS * 1000)
                )
                await self._ask(admin.start)
                self._admin = admin
            return self._admin

    async def _ask(self, call: Callable[[], Awaitable[T]]) -> T:
        """An administrative call, again while it fails for reasons that pass."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                return await call()
            except KafkaError as error:
                if not error.retriable or time.monotonic() > deadline:
                    raise unavailable(self.address, error) from error
                await self.refresh()
                await asyncio.sleep(PAUSE)

    # Records

    async def fetch(
        self, wanted: Mapping[str, int], *, lane: str, limit: int = 2**31, wait: float = 0.0, each: int = 1_048_576
    ) -> dict[str, Fetched]:
        """What is committed in topics, each from an offset on; `wait` seconds for a first byte.

        each: bytes of one topic; the first batch of an answer comes whole even if it is larger. Topics that are not there
        are left out. OutOfRange: an offset is not in its topic. Unavailable.
        """
        return await self._on_leaders(
            wanted, lambda node, share: self._fetch_from(node, share, lane=lane, limit=limit, wait=wait, each=each)
        )

    async def _fetch_from(
        self, node: int, wanted: Mapping[str, int], *, lane: str, limit: int, wait: float, each: int
    ) -> dict[str, Fetched]:
        topics = [(topic, [(0, offset, each)]) for topic, offset in wanted.items()]
        request = FetchRequest(int(wait * 1000), 1, FETCH_BYTES, READ_COMMITTED, topics)
        answer = await self._client.send(node, request, group=lane)
        found: dict[str, Fetched] = {}
        for topic, [(_, code, end, stable, *rest)] in answer.topics:
            error = for_code(code)
            if error is OffsetOutOfRangeError:
                raise OutOfRange(f"{topic} has no offset {wanted[topic]}")
            if code:
                raise error(topic)
            aborted = rest[1] if answer.API_VERSION >= 5 else rest[0]
            found[topic] = decode(topic, wanted[topic], stable, end, rest[-1] or b"", aborted, limit)
        return found

    async def bounds(self, topic: str, *, lane: str = "read") -> tuple[int, int]:
        """The first offset that is kept, and the last stable one: what is before it is decided."""
        first, stable = await self._offsets(topic, lane, (EARLIEST, READ_COMMITTED), (LATEST, READ_COMMITTED))
        return first, stable

    async def undecided(self, topic: str, *, lane: str) -> int | None:
        """The offset from which on a transaction of the topic is not ended; None when all are."""
        # In this order: what ends meanwhile is not taken for open.
        end, stable = await self._offsets(topic, lane, (LATEST, READ_UNCOMMITTED), (LATEST, READ_COMMITTED))
        return stable if stable < end else None

    async def _offsets(self, topic: str, lane: str, *moments: tuple[int, int]) -> list[int]:
        """One for each moment and isolation level, asked one after the other; 0 when there is no such topic."""

        async def ask(node: int, share: Mapping[str, int]) -> dict[str, list[int]]:
            offsets = []
            for moment, isolation in moments:
                request = OffsetRequest(-1, isolation, [(topic, [(0, moment)])])
                answer = await self._client.send(node, request, group=lane)
                [(_, [(_, code, _, offset, *_)])] = answer.topics
                if code:
                    raise for_code(code)(topic)
                offsets.append(offset)
            return dict.fromkeys(share, offsets)

        return (await self._on_leaders({topic: 0}, ask)).get(topic, [0] * len(moments))

    async def _on_leaders(
        self, wanted: Mapping[str, int], ask: Callable[[int, Mapping[str, int]], Awaitable[dict[str, T]]]
    ) -> dict[str, T]:
        """Each topic asked of its leader; again after a look at the cluster, while that may help. Unavailable."""
        return await within(PATIENCE, self._ask_leaders(wanted, ask), f"{self.address}: a request")

    async def _ask_leaders(
        self, wanted: Mapping[str, int], ask: Callable[[int, Mapping[str, int]], Awaitable[dict[str, T]]]
    ) -> dict[str, T]:
        while True:
            shares: dict[int, dict[str, int]] = defaultdict(dict)
            leaderless = []
            for topic, offset in wanted.items():
                node = self._leader(topic)
                if node is None:
                    leaderless.append(topic)
                else:
                    shares[node][topic] = offset
            try:
                if leaderless and await self._may_have_leaders(leaderless):
                    raise UnknownTopicOrPartitionError(leaderless[0])
                found: dict[str, T] = {}
                for answer in await gather([ask(node, share) for node, share in shares.items()]):
                    found |= answer
                return found
            except (KafkaError, OSError) as error:
                passing = isinstance(error, OSError) or error.retriable or getattr(error, "invalid_metadata", False)
                if not passing or self.closed:
                    raise unavailable(self.address, error) from error
            await asyncio.sleep(PAUSE)
            await self.refresh()

    async def _may_have_leaders(self, topics: list[str]) -> bool:
        """Whether any of them is a topic that there is: then its leader is only late."""
        await self.refresh()
        return bool(self.names().intersection(topics))

    def _leader(self, topic: str) -> int | None:
        node = self._client.cluster.leader_for_partition(TopicPartition(topic, 0))
        return None if node in (None, -1) else node
