"""Receiving: pages of deliveries by long poll, each verified; and the acknowledgement of what was stored.

A long poll rather than an event stream: it resumes from a plain number, passes every proxy, and brings a backlog in
pages. The hub answers it the moment a delivery is there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise

from connectors.deliveries import Delivery, KeyRing, Numbering, verify
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

log = logging.getLogger("connectors")


class Receiver:
    """Of one agency."""

    def __init__(self, session: Session, key: PartnerKey, keys: KeyRing) -> None:
        self._session, self._key, self._keys = session, key, keys

    async def fetch(
        self, after: int, numbering: Numbering, *, wait: float = 0.0, limit: int = PAGE
    ) -> tuple[list[Delivery | InvalidDelivery], int]:
        """One page after an offset, and where the next begins. Waits up to `wait` seconds for a first delivery."""
        answer = read_json(await self._session.get(PATH, after=after, limit=limit, wait=wait))
        items, end = answer.get("deliveries"), answer.get("next")
        if not isinstance(items, list) or not isinstance(end, int):
            raise UnexpectedAnswer(f"GET {PATH}: not a page of deliveries; is this a Comity hub?")
        page = [await verify(item, self._key.agency, self._keys, numbering) for item in items]
        offsets = [each.offset for each in page]
        rising = all(earlier < later for earlier, later in pairwise([after, *offsets]))
        if not rising or end != max(offsets, default=after):
            raise UnexpectedAnswer(f"GET {PATH}: the offsets {offsets[:5]}… after {after} are out of order")
        return page, end

    async def pages(self, after: int, numbering: Numbering) -> AsyncIterator[list[Delivery | InvalidDelivery]]:
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

    async def acknowledge(self, stored: Iterable[tuple[str, int, str]]) -> None:
        """Sign that these (sender, number, digest) are stored durably, in as many acknowledgements as it takes."""
        said = [{"sender": sender, "number": number, "digest": digest} for sender, number, digest in stored]
        for start in range(0, len(said), ACK_BATCH):
            stated = said[start : start + ACK_BATCH]
            payload = {"iss": self._key.agency, "jti": new_id(), "iat": now_ms() // 1000, "stored": stated}
            signed = jws.sign_compact(payload, typ=ACK_TYP, kid=self._key.kid, key=self._key.private)
            await self._session.post(f"{PATH}/acks", signed, "application/jwt")
