"""Publishing: journal first, then send the same bytes until they are taken.

journal (durable) ──► POST ──► receipt checked ──► journal marked
        kill here ┘        └ kill here: both leave it pending; the same bytes sent again get the same answer

Over Kafka (`connectors.kafka`) the brokers' word that they have it takes the place of POST and receipt.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from connectors.errors import InvalidNotice, Refused, UnexpectedAnswer
from connectors.evidence import check_receipt
from connectors.journal import Journal
from connectors.notices import SignedNotice
from connectors.session import Session, read_json
from hub.core.checkpoint import Verifier

PATH = "/v1/notices"
MEDIA = "application/sd-jwt"
# Says no to the caller or the request, not to the notice: it stays pending, to be sent again when that is mended.
_NOT_ABOUT_THE_NOTICE = frozenset(
    {"forbidden", "not-found", "method-not-allowed", "not-acceptable", "unsupported-media-type", "bad-request"}
)


@dataclass(frozen=True, slots=True)
class Published:
    """The hub has accepted the notice, and signed so: receipt. digest: base64url. location: path of its status.

    Published over Kafka, receipt is "" and location says where the notice stands, `kafka:<topic>/<partition>/<offset>`:
    the brokers have it durably, nothing more is said. The hub judges it from there, and may still refuse it.
    """

    jti: str
    digest: str
    receipt: str
    location: str


@dataclass(frozen=True, slots=True)
class Answer:
    """What is known once a notice was sent: receipt and location, as in Published."""

    receipt: str
    location: str


Send = Callable[[SignedNotice], Awaitable[Answer]]


class Post:
    """Sends one notice over HTTP. hub: its verifier key, when the partner has it."""

    def __init__(self, session: Session, agency: str, hub: Verifier | None) -> None:
        self._session, self._agency, self._hub = session, agency, hub

    async def __call__(self, notice: SignedNotice) -> Answer:
        answer = await self._session.post(PATH, notice.raw, MEDIA)
        receipt = read_json(answer).get("receipt")
        if not isinstance(receipt, str):
            raise UnexpectedAnswer(f"{answer.request.url}: no receipt in the answer; is this a Comity hub?")
        check_receipt(receipt, self._agency, notice, self._hub)
        return Answer(receipt, answer.headers.get("location", f"{PATH}/{self._agency}/{notice.jti}"))


class Publisher:
    """Of one agency. send: carries one notice. check: looks at one that was never sent before; raises InvalidNotice."""

    def __init__(
        self, send: Send, journal: Journal | None, check: Callable[[SignedNotice], None] | None = None
    ) -> None:
        self._send, self._journal, self._check = send, journal, check
        self._in_flight: dict[str, asyncio.Event] = {}

    async def publish(self, given: SignedNotice | bytes) -> Published:
        notice = _read(given)
        # What the journal has may be sent already: that is for the hub to judge, also if it has expired since.
        if self._check is not None and (self._journal is None or await self._journal.find(notice.jti) is None):
            self._check(notice)
        if self._journal is not None:
            known = await self._journal.add(notice)
            if known.state == "accepted":
                return Published(notice.jti, notice.digest, known.receipt or "", known.location or "")
            if known.state == "refused":
                raise Refused(known.code or "", known.detail or "", status=known.status or 0, jti=notice.jti)
        try:
            answer = await self._send(notice)
        except Refused as refused:
            refused.jti = notice.jti
            if self._journal is not None and refused.code not in _NOT_ABOUT_THE_NOTICE:
                await self._journal.refuse(notice.jti, refused.status, refused.code, refused.detail)
            raise
        if self._journal is not None:
            await self._journal.accept(notice.jti, answer.receipt, answer.location)
        return Published(notice.jti, notice.digest, answer.receipt, answer.location)

    async def publish_many(
        self, notices: Iterable[SignedNotice | bytes], concurrency: int
    ) -> AsyncIterator[Published | Refused]:
        source = iter(notices)
        results: asyncio.Queue[Published | Refused | None] = asyncio.Queue(2 * concurrency)  # a slow reader slows us
        workers = [asyncio.create_task(self._work(source, results)) for _ in range(concurrency)]
        ending = asyncio.create_task(_end(workers, results))
        try:
            while (result := await results.get()) is not None:
                yield result
            await ending
        finally:
            for task in (*workers, ending):
                task.cancel()
            await asyncio.gather(*workers, ending, return_exceptions=True)

    async def publish_pending(self) -> list[Published | Refused]:
        results: list[Published | Refused] = []
        after = 0
        while self._journal is not None and (entries := await self._journal.pending(after)):
            after = entries[-1].place
            results += [result async for result in self.publish_many([entry.notice for entry in entries], 64)]
        return results

    async def _work(self, source: Iterator[SignedNotice | bytes], results: asyncio.Queue[Any]) -> None:
        for each in source:
            notice = _read(each)
            # A cancel that overtakes its notice would recall nothing. What it waits for was taken before it.
            earlier = self._in_flight.get(notice.refers_to) if notice.refers_to else None
            done = self._in_flight[notice.jti] = asyncio.Event()
            try:
                if earlier is not None:
                    await earlier.wait()
                result: Published | Refused = await self.publish(notice)
            except Refused as refused:
                result = refused
            except InvalidNotice as fault:  # what the hub would have said of it, and nothing was sent
                result = Refused(fault.code, str(fault), status=422, jti=notice.jti)
            finally:
                done.set()
                self._in_flight.pop(notice.jti, None)
            await results.put(result)


async def _end(workers: list[asyncio.Task[None]], results: asyncio.Queue[Any]) -> None:
    """Mark the end of the results when every worker is through, or one of them cannot go on; raise what stopped it."""
    try:
        await asyncio.gather(*workers)
    finally:
        await results.put(None)


def _read(notice: SignedNotice | bytes) -> SignedNotice:
    return notice if isinstance(notice, SignedNotice) else SignedNotice.read(notice)
