"""The partners of the demo: each with its key file, its journal and its inbox, as it would be at home."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from connectors import Client, Inbox, PartnerKey
from connectors.inbox import StoredNotice
from hub.core.errors import ComityError

if TYPE_CHECKING:
    from connectors.kafka import KafkaClient

PATIENCE = 20.0  # seconds that anything in the demo may take before it counts as failed
LOOK = 0.01  # seconds
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Place:
    """Where the hub is: its address, its verifier key, and its cluster when partners use Kafka natively."""

    url: str
    vkey: str
    kafka: str | None = None


@dataclass(slots=True)
class Partner:
    """An agency at work. `received`: what its inbox holds, by (sender, number); `old`: its key before a rotation.

    `client` asks the hub, `carrier` publishes and subscribes: the same one, or natively over Kafka. `careless` posts without
    a journal: what is bad on purpose, which a journal would not send twice, or at all.
    """

    hub: Place
    directory: Path
    key: PartnerKey
    client: Client
    carrier: Client | KafkaClient
    careless: Client
    inbox: Inbox
    old: PartnerKey | None = None
    received: dict[tuple[str, int], StoredNotice] = field(default_factory=dict)
    _seen: int = -1
    _task: asyncio.Task[None] | None = None

    @classmethod
    def open(cls, hub: Place, key: PartnerKey, directory: Path) -> Partner:
        """With its journal and its inbox in the demo's directory."""
        return cls(
            hub, directory, key, *_clients(hub, key, directory), Inbox.open(directory / "inboxes" / f"{key.agency}.db")
        )

    @property
    def agency(self) -> str:
        return self.key.agency

    async def look(self) -> None:
        """Read what the inbox has stored since the last look."""
        for stored in await self.inbox.notices(after=self._seen):
            self.received[stored.notice.iss, stored.number] = stored
            self._seen = stored.offset

    async def stored(self, sender: str, number: int) -> StoredNotice:
        """The delivery of this number, once the inbox has verified and stored it."""

        async def there() -> StoredNotice | None:
            await self.look()
            return self.received.get((sender, number))

        return await until(there, f"{self.agency} stores delivery {number} of {sender}", self._task)

    def subscribe(self) -> None:
        self._task = asyncio.create_task(self.inbox.run(self.carrier), name=f"inbox of {self.agency}")

    async def unsubscribe(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None

    async def take_up(self, key: PartnerKey) -> None:
        """Go on with another key."""
        await self._leave()
        self.old, self.key = self.key, key
        self.client, self.carrier, self.careless = _clients(self.hub, key, self.directory)
        self.subscribe()

    async def close(self) -> None:
        await self._leave()
        await self.inbox.close()

    async def _leave(self) -> None:
        await self.unsubscribe()
        for client in {self.client, self.carrier, self.careless}:
            await client.close()


class DemoFailed(ComityError):  # noqa: N818
    """Something that must happen in the demo did not; the message says what."""


async def until(question: Callable[[], Awaitable[T | None]], what: str, task: asyncio.Task[None] | None = None) -> T:
    """Ask until there is an answer; DemoFailed after PATIENCE, and at once what ended `task`, on which it depends."""
    try:
        async with asyncio.timeout(PATIENCE):
            while (answer := await question()) is None:
                if task is not None and task.done():
                    task.result()
                await asyncio.sleep(LOOK)
    except TimeoutError:
        raise DemoFailed(f"not within {PATIENCE:.0f} s: {what}") from None
    return answer


def _clients(hub: Place, key: PartnerKey, directory: Path) -> tuple[Client, Client | KafkaClient, Client]:
    journal = directory / "journals" / f"{key.agency}.db"
    careless = Client(hub.url, key, vkey=hub.vkey, patience=PATIENCE)
    if hub.kafka is None:
        client = Client(hub.url, key, journal=journal, vkey=hub.vkey, patience=PATIENCE)
        return client, client, careless
    from connectors.kafka import KafkaClient  # the demo over HTTP need not load a Kafka client

    native = KafkaClient(f"{hub.kafka}?api={hub.url}", key, journal=journal, patience=PATIENCE)
    return Client(hub.url, key, vkey=hub.vkey, patience=PATIENCE), native, careless
