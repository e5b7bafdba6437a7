"""The partner's client of a hub, natively over Apache Kafka: the same verbs as over HTTP, on the agency's own two topics.

    key = PartnerKey.load("us-cisa.key.json")
    async with KafkaClient("kafka+ssl://broker:9094?ca=ca.pem&cert=us-cisa.pem&agencies=agencies.json", key) as client:
        published = await client.publish(client.notice(type=…, subject=…, tlp=…, data=…))

    comity.notices.<agency>       we write: notices and acknowledgements, as the hub's API does for its callers
    comity.deliveries.<agency>    we read, only what is committed, from the position that our own inbox keeps

What stands in the first topic is durable, and is not judged yet: `Published` has no receipt.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from pydantic import ValidationError

from connectors import notices
from connectors.client import PATIENCE, Client
from connectors.deliveries import KeyRing, Numbering, Received
from connectors.errors import ConnectorError
from connectors.ids import now_ms
from connectors.journal import Journal
from connectors.kafka_link import REQUEST_SECONDS, Link, bounded
from connectors.kafka_reader import Reader
from connectors.keyfile import PartnerKey
from connectors.notices import SignedNotice
from connectors.partner import Partner
from connectors.publishing import Answer, Publisher
from connectors.receiving import PAGE, Page, Receiver
from hub.core import envelope, strict
from hub.core.address import AddressError, KafkaAddress
from hub.core.errors import Refusal
from hub.core.messages import NOTICE_TYPE, acknowledgement_headers, notice_headers
from schemas.notice import Notice, validate

NOTICES = "comity.notices."
DELIVERIES = "comity.deliveries."
MAX_AGENCIES = 64 * 1024 * 1024  # bytes of a file of agencies


class KafkaClient(Partner):
    """Use as an async context manager, in one event loop; safe for concurrent use there.

    address: as `hub.core.address` describes; subscribing needs its option `agencies` or `api`. journal: directory or .db
    file for what is published. patience: seconds that a call tries again while no broker decides anything.
    """

    def __init__(
        self,
        address: KafkaAddress | str,
        key: PartnerKey,
        *,
        journal: str | os.PathLike[str] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        try:
            self.address = KafkaAddress.parse(address) if isinstance(address, str) else address
        except AddressError as error:
            raise ConnectorError(str(error)) from None
        self.writer = Writer(self.address, key.agency, patience)
        self._reader = Reader(self.address, DELIVERIES + key.agency, f"comity-{key.agency}", patience)
        self._agencies = _Agencies(self.address, key, patience)
        self.keys = KeyRing(self._agencies.fetch)
        opened = Journal.open(journal) if journal is not None else None
        publisher = Publisher(self.writer.publish, opened, lambda notice: notices.check(notice, key))
        super().__init__(key, opened, publisher, KafkaReceiver(self._reader, self.writer, key, self.keys))

    def __repr__(self) -> str:
        return f"KafkaClient({str(self.address)!r}, {self.key.kid!r})"

    async def disconnect(self) -> None:
        await asyncio.gather(self.writer.close(), self._reader.close(), self._agencies.close())


class Writer:
    """Appends to the topic of an agency's notices."""

    def __init__(self, address: KafkaAddress, agency: str, patience: float) -> None:
        self.topic, self._patience = NOTICES + agency, patience

        def make(options: dict[str, Any]) -> AIOKafkaProducer:
            return AIOKafkaProducer(**options, client_id=f"comity-{agency}", enable_idempotence=True, acks="all")

        self._link = Link(address, self.topic, "write", make)

    async def publish(self, notice: SignedNotice) -> Answer:
        """A kill after this, and before the journal has it, sends the notice again: the hub takes the second for a
        duplicate."""
        said = _read(notice.raw)
        if said is None:
            offset = await self.append(notice.raw, None, {"content-type": NOTICE_TYPE})
        else:
            offset = await self.append(notice.raw, said.subject, notice_headers(said, now_ms()))
        return Answer("", f"kafka:{self.topic}/0/{offset}")

    async def append(self, value: bytes, key: str | None, headers: dict[str, str]) -> int:
        """The record's offset, once every replica in sync has it; -1 when the broker had it already and does not say."""
        encoded = [(name, text.encode()) for name, text in headers.items()]

        async def send(producer: AIOKafkaProducer) -> int:
            sending = producer.send_and_wait(
                self.topic, value, key=None if key is None else key.encode(), partition=0, headers=encoded
            )
            # Longer than one request: aiokafka repeats those that time out, and nobody else bounds that.
            offset: int = (await bounded(sending, REQUEST_SECONDS + 2, "a record")).offset
            return offset

        return await self._link.use(send, self._patience)

    async def close(self) -> None:
        await self._link.close()


class KafkaReceiver(Receiver):
    """Pages out of the agency's topic of deliveries. Offsets have holes, where transactions ended: nothing is missing."""

    def __init__(self, reader: Reader, writer: Writer, key: PartnerKey, keys: KeyRing) -> None:
        super().__init__(key, keys)
        self._reader, self._writer = reader, writer
        self._knows_keys = False

    async def fetch(
        self, after: int, numbering: Numbering, *, wait: float = 0.0, limit: int = PAGE
    ) -> tuple[Page, int]:
        if not self._knows_keys:  # said now rather than with the first delivery, which may be days away
            await self._keys.refresh()
            self._knows_keys = True
        records = await self._reader.read(after, wait, limit)
        page = await self._verify([_received(record) for record in records], numbering)
        return page, records[-1].offset if records else after

    async def send(self, acknowledgement: bytes, jti: str) -> None:
        await self._writer.append(acknowledgement, None, acknowledgement_headers(jti, now_ms()))


class _Agencies:
    """Where the others' keys are: a file, or the hub's HTTP interface."""

    def __init__(self, address: KafkaAddress, key: PartnerKey, patience: float) -> None:
        self._file, self._where = address.agencies, address
        self._client = Client(address.api, key, patience=patience) if address.api and not address.agencies else None

    async def fetch(self) -> dict[str, Any]:
        if self._file is not None:
            return await asyncio.to_thread(_read_agencies, Path(self._file))
        if self._client is not None:
            return await self._client.agencies()
        raise ConnectorError(
            f"{self._where}: to verify deliveries the others' public keys are needed: add agencies=FILE to the address, the "
            "output of `comity agency list -o json`, or api=URL, the hub's HTTP address"
        )

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()


def _read_agencies(file: Path) -> dict[str, Any]:
    wanted = f"{file}: not a list of agencies; write it with `comity agency list -o json`"
    try:
        found = strict.loads(file.read_bytes(), max_bytes=MAX_AGENCIES, max_depth=32)
    except OSError as error:
        raise ConnectorError(f"cannot read the agencies' keys: {file}: {error.strerror}") from None
    except Refusal as refusal:
        raise ConnectorError(f"{wanted} ({refusal.detail})") from None
    if not isinstance(found, dict) or not isinstance(found.get("agencies"), list):
        raise ConnectorError(wanted)
    return found


def _read(raw: bytes) -> Notice | None:
    """The notice, for its headers; None for one that the hub will refuse: out of a journal it is sent all the same."""
    try:
        return validate(envelope.read(envelope.split(raw))[0])
    except (Refusal, ValidationError):
        return None


def _received(record: Any) -> Received:
    headers = {name: (value or b"").decode("utf-8", "replace") for name, value in record.headers}
    return Received(record.offset, record.value or b"", headers)
