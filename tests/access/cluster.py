"""A sealed cluster with a registry, for tests of who may do what. The registry is a World's, told to the cluster's log."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import tests.world
from hub.access.changes import Allow, Change, Disallow, Reset
from hub.access.cluster import Cluster
from hub.access.keeping import Pass, Task, keep_once
from hub.access.plan import Acl, Settings
from hub.clock import Clock
from hub.core import strict
from hub.core.address import KafkaAddress
from hub.follow import REGISTRY
from hub.log import Record
from hub.log.kafka import KafkaLog
from tests.kafka.private import Sealed
from tests.world import World

T = TypeVar("T")


def now() -> int:
    return time.time_ns() // 1_000_000


def world_of_today() -> World:
    """One whose events are of the real time, for the product's own clock judges by it."""
    usual, tests.world.T0 = tests.world.T0, now() - 1000
    try:
        return World()
    finally:
        tests.world.T0 = usual


@dataclass
class Access:
    """secrets: where passwords of agencies are. told: how many events of the world the cluster has."""

    sealed: Sealed
    secrets: Path
    world: World = field(default_factory=world_of_today)
    told: int = 0

    @property
    def address(self) -> KafkaAddress:
        return KafkaAddress.parse(self.sealed.address())

    def task(self, **change: Any) -> Task:
        usual: dict[str, Any] = {"secrets": self.secrets, "settings": Settings(keeper="User:admin"), "clock": Clock()}
        address = self.address
        return Task(address, lambda: KafkaLog.open(address), **(usual | change))

    async def apply(self, *, dry_run: bool = False, **change: Any) -> Pass:
        return await keep_once(self.task(**change), dry_run=dry_run)

    async def tell(self) -> float:
        """Append what is new in the world to the registry's topic. The monotonic moment at which it was on record."""
        log = await KafkaLog.open(self.address)
        try:
            for event in self.world.events[self.told :]:
                await log.append(REGISTRY, Record(strict.dumps(event.model_dump())))
                self.told += 1
            return time.monotonic()
        finally:
            await log.close()

    def enroll(self, *agencies: str) -> None:
        for agency in agencies:
            self.world.at = now()
            self.world.enroll(agency)

    def revoke(self, agency: str) -> None:
        self.world.at = now()
        payload = {"statement": "key.revoke", "agency": agency, "kid": f"{agency}/1", "reason": "stolen"}
        self.world.record(payload, "operator/1")

    def by_password(self, agency: str) -> str:
        return self.sealed.address(agency, self.secrets / f"{agency}.password")

    def by_certificate(self, agency: str) -> str:
        return self.sealed.agency_address(agency)


async def until(said: Callable[[], Awaitable[T]], wanted: T, seconds: float = 10.0) -> float:
    """Ask until the answer is as wanted; the monotonic moment of it."""
    deadline = time.monotonic() + seconds
    while (answer := await said()) != wanted:
        assert time.monotonic() < deadline, f"after {seconds} s the answer is still {answer!r}, not {wanted!r}"
        await asyncio.sleep(0.02)
    return time.monotonic()


class Hand:
    """An operator who changes things by hand."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    async def change(self, *changes: Change) -> None:
        made = await self.cluster.apply(changes, lambda user: "")
        assert [why for _, why in made if why] == []

    async def allow(self, *acls: Acl) -> None:
        await self.change(*(Allow((acl,)) for acl in acls))

    async def disallow(self, *acls: Acl) -> None:
        await self.change(*(Disallow((acl,)) for acl in acls))

    async def configure(self, topic: str, configs: dict[str, str]) -> None:
        await self.change(Reset(topic, {}, configs))

    async def create(self, topic: str, partitions: int) -> None:
        wanted = {topic: {"num_partitions": partitions, "replication_factor": 1}}
        await asyncio.to_thread(self.cluster._admin.create_topics, wanted)

    async def delete(self, topic: str) -> int:
        """Kafka's error code; 0 when it is gone."""
        told = await asyncio.to_thread(self.cluster._admin.delete_topics, [topic], raise_errors=False)
        return int(told["topics"][0]["error_code"])


@contextlib.asynccontextmanager
async def by_hand(access: Access, user: str = "admin") -> AsyncIterator[Hand]:
    cluster = await Cluster.open(KafkaAddress.parse(access.sealed.address(user)))
    try:
        yield Hand(cluster)
    finally:
        await cluster.close()
