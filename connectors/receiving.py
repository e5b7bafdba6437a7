"""Receiving: pages of deliveries, each verified; and the acknowledgement of what was stored.

`Receiver` is what every way of carrying them has in common. Over HTTP a long poll rather than an event stream: it resumes
from a plain number, passes every proxy, and brings a backlog in pages. The hub answers it the moment a delivery is there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from itertools import pairwise

from connectors.deliveries import Delivery, KeyRing, Numbering, Received, read_item, verify
from connectors.errors import InvalidDelivery, UnexpectedAnswer, Unreachable
from connectors.ids import new_id, now_ms
from connectors.keyfile import PartnerKey
from connectors.session import Session, read_json
from hub.core import jws

PATH = "/v1/deliveries"
WAIT = 25.0  # seconds of one long poll
PAGE = 200  # deliveries of one
ACK_BATCH = 300  # keeps a signed acknowledgement within 64 KiB
ACK_TYP = "ack+jwt"
_SHORTEST_POLL = 0.5  # seconds: an empty answer that comes sooner (a draining hub) is not asked for again at once

Page = list[Delivery | InvalidDelivery]
log = logging.getLogger("connectors")


class Receiver(ABC):
    """Of one agency. Whoever carries deliveries says how a page is fetched, and how an acknowledgement is sent."""

    def __init__(self, key: PartnerKey, keys: KeyRing) -> None:
        self._key, self._keys = key, keys

    @abstractmethod
    async def fetch(
        self, after: int, numbering: Numbering, *, wait: float = 0.0, limit: int = PAGE
    ) -> tuple[Page, int]:
        """One page after an offset, and where the next begins. Waits up to `wait` seconds for a first delivery."""

    @abstractmethod
    async def send(self, acknowledgement: bytes, jti: str) -> None:
        """Hand in a signed acknowledgement; it is durable when this returns."""

    async def pages(self, after: int, numbering: Numbering) -> AsyncIterator[Page]:
        """Page by page for ever; an empty one when nothing came for a while. Waits out a hub that is away."""
        while True:
            asked = time.monotonic()
            try:
                page, after = await self.fetch(after, numbering, wait=WAIT)
            except Unreachable as error:
                log.warning("deliveries: %s", error)
                continue
            yield page
            if not page:
                await asyncio.sleep(max(0.0, _SHORTEST_POLL - (time.monotonic() - asked)))

    async def subscribe(self, after: int, numbers: Mapping[str, int] | None) -> AsyncIterator[Delivery]:
        """Delivery by delivery; InvalidDelivery is raised where one does not verify."""
        numbering = Numbering(numbers, complete=numbers is not None or after < 0)
        async for page in self.pages(after, numbering):
            for each in page:
                if isinstance(each, InvalidDelivery):
                    raise each
                yield each

    async def acknowledge(self, stored: Iterable[tuple[str, int, str]]) -> None:
        """Sign that these (sender, number, digest) are stored durably, in as many acknowledgements as it takes."""
        said = [{"sender": sender, "number": number, "digest": digest} for sender, number, digest in stored]
        for start in range(0, len(said), ACK_BATCH):
            stated, jti = said[start : start + ACK_BATCH], new_id()
            payload = {"iss": self._key.agency, "jti": jti, "iat": now_ms() // 1000, "stored": stated}
            await self.send(jws.sign_compact(payload, typ=ACK_TYP, kid=self._key.kid, key=self._key.private), jti)

    async def _verify(self, found: Iterable[Received], numbering: Numbering) -> Page:
        """All of them, or none: when keys cannot be looked up half way, the same page is fetched and counted again."""
        counted = numbering.copy()
        page = [await verify(each, self._key.agency, self._keys, counted) for each in found]
        numbering.become(counted)
        return page


class HttpReceiver(Receiver):
    """By long poll."""

    def __init__(self, session: Session, key: PartnerKey, keys: KeyRing) -> None:
        super().__init__(key, keys)
        self._session = session

    async def fetch(
        self, after: int, numbering: Numbering, *, wait: float = 0.0, limit: int = PAGE
    ) -> tuple[Page, int]:
        answer = read_json(await self._session.get(PATH, after=after, limit=limit, wait=wait))
        items, end = answer.get("deliveries"), answer.get("next")
        if not isinstance(items, list) or not isinstance(end, int):
            raise UnexpectedAnswer(f"GET {PATH}: not a page of deliveries; is this a Comity hub?")
        found = [read_item(item) for item in items]
        offsets = [each.offset for each in found]
        rising = all(earlier < later for earlier, later in pairwise([after, *offsets]))
        if not rising or end != max(offsets, default=after):
            raise UnexpectedAnswer(f"GET {PATH}: the offsets {offsets[:5]}… after {after} are out of order")
        return await self._verify(found, numbering), end

    async def send(self, acknowledgement: bytes, jti: str) -> None:
        await self._session.post(f"{PATH}/acks", acknowledgement, "application/jwt")
