"""What a partner's client does, whatever carries it: build, publish, subscribe, acknowledge."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Self, Unpack

from connectors import notices
from connectors.deliveries import Delivery
from connectors.errors import Refused
from connectors.journal import Journal
from connectors.keyfile import PartnerKey
from connectors.notices import NoticeFields, SignedNotice
from connectors.publishing import Published, Publisher
from connectors.receiving import Receiver


class Partner(ABC):
    """Use as an async context manager. `Client` is one over HTTP, `kafka.KafkaClient` one over Apache Kafka."""

    def __init__(self, key: PartnerKey, journal: Journal | None, publisher: Publisher, receiver: Receiver) -> None:
        self.key = key
        self.journal = journal
        self.receiver = receiver
        self._publisher = publisher

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @abstractmethod
    async def disconnect(self) -> None:
        """End the connections."""

    async def close(self) -> None:
        try:
            await self.disconnect()
        finally:
            if self.journal is not None:
                await self.journal.close()

    def notice(self, **fields: Unpack[NoticeFields]) -> SignedNotice:
        """Build, check and sign a notice; nothing is sent. Raises InvalidNotice, which names every fault."""
        return notices.sign(notices.claims(self.key.agency, **fields), self.key)

    async def publish(self, notice: SignedNotice | bytes) -> Published:
        """Journal, then send until it is taken. The same notice again: the same answer.

        Over Kafka it is taken when the brokers have it; what no hub would accept raises InvalidNotice before.

        Raises Refused: final, and so marked. Unreachable, AuthenticationFailed: it stays pending; publish it again, or
        call `publish_pending`. VerificationFailed: the receipt is not this hub's.
        """
        return await self._publisher.publish(notice)

    def publish_many(
        self, notices: Iterable[SignedNotice | bytes], *, concurrency: int = 64
    ) -> AsyncIterator[Published | Refused]:
        """Publish many at once; a result for each, as they are decided.

        An update or a cancel waits for the notice it names, if that is among these; otherwise the order is not kept.
        What stops all (Unreachable, …) is raised; everything begun is in the journal.
        """
        return self._publisher.publish_many(notices, concurrency)

    async def publish_pending(self) -> list[Published | Refused]:
        """Send again, as the same bytes, what the journal holds without a final answer. Do it at every start."""
        return await self._publisher.publish_pending()

    def subscribe(self, after: int = -1, numbers: Mapping[str, int] | None = None) -> AsyncIterator[Delivery]:
        """Verified deliveries after an offset, for ever; it waits out a hub that is away.

        numbers: last number seen per sender, so that gaps show across a restart; after=-1 begins with none. Raises
        InvalidDelivery, whose `offset` is where to resume if it is to be passed over. `Inbox` does all that by itself.
        """
        return self.receiver.subscribe(after, numbers)

    async def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Sign that these are stored durably; it enters the ledger. Only say so when it is true."""
        await self.receiver.acknowledge((each.sender, each.number, each.digest) for each in deliveries)
