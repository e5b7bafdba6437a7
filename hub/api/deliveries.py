"""A subscriber's deliveries, by long poll or as server-sent events, and its acknowledgements.

An agency reads its own topic and nothing else: offsets there are its own and tell nothing about others.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from hub.api import spec
from hub.api.auth import Principal
from hub.api.door import Door, caller
from hub.api.intake import Intake
from hub.api.limits import Waiting
from hub.api.problems import Problem
from hub.api.requests import accepts, content_type, read_body, while_connected
from hub.core import strict
from hub.core.messages import ACK_TYPE
from hub.log import Log, Stored

EVENTS = "text/event-stream"
HEARTBEAT = 15.0  # seconds between signs of life on a silent stream
FARTHEST = 2**53

After = Annotated[
    int | None, Query(ge=-1, le=FARTHEST, description="The last offset seen; absent or -1: from the start.")
]
Limit = Annotated[int, Query(ge=1, le=500, description="At most this many.")]
Wait = Annotated[float, Query(ge=0, le=30, description="Seconds to wait for a first delivery when there is none.")]


class Deliveries:
    def __init__(
        self, *, log: Log, door: Door, intake: Intake, waiting: Waiting, drain: asyncio.Event, max_body: int
    ) -> None:
        self._log, self._door, self._intake, self._max_body = log, door, intake, max_body
        self._waiting, self._drain = waiting, drain

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1/deliveries", tags=["deliveries"], dependencies=[Depends(self._door.admit)])
        router.add_api_route("", self.fetch, methods=["GET"], **spec.DELIVERIES)
        router.add_api_route("/acks", self.acknowledge, methods=["POST"], **spec.ACKNOWLEDGE)
        return router

    async def fetch(self, request: Request, after: After = None, limit: Limit = 100, wait: Wait = 0.0) -> Response:
        """The caller's deliveries after an offset: a page, or with `Accept: text/event-stream` a stream."""
        principal = caller(request, "partner", "auditor")
        if accepts(request, "application/json", EVENTS) == EVENTS:
            start = _resume_from(request, after)
            return EventStream(self._stream(principal, start), self._waiting.hold(principal.name))
        after = -1 if after is None else after
        with self._waiting.hold(principal.name):
            work = self._log.read(_topic(principal), after=after, limit=limit, wait=wait)
            page = await while_connected(request, work, self._drain.wait()) or []
        self._door.recheck(principal)
        body = {"deliveries": [as_json(stored) for stored in page], "next": page[-1].offset if page else after}
        return Response(strict.dumps(body), media_type="application/json")

    async def _stream(self, principal: Principal, after: int) -> AsyncIterator[bytes]:
        """Server-sent events until the caller leaves, its token or key ends, or the hub drains."""
        yield b"retry: 2000\n: deliveries\n\n"
        draining = asyncio.ensure_future(self._drain.wait())
        try:
            while not self._drain.is_set():
                page = asyncio.ensure_future(self._log.read(_topic(principal), after=after, limit=100, wait=HEARTBEAT))
                try:
                    await asyncio.wait({page, draining}, return_when=asyncio.FIRST_COMPLETED)
                    if not page.done():
                        return
                finally:
                    page.cancel()
                try:
                    self._door.recheck(principal)  # nothing more for a key that was revoked meanwhile
                except Problem:
                    return
                if not page.result():
                    yield b": still here\n\n"
                for stored in page.result():
                    after = stored.offset
                    yield b"id: %d\nevent: delivery\ndata: %b\n\n" % (after, strict.dumps(as_json(stored)))
        finally:
            draining.cancel()

    async def acknowledge(self, request: Request) -> Response:
        """Take a signed statement that deliveries were stored durably; it enters the ledger."""
        principal = caller(request, "partner", "auditor")
        accepts(request, "application/json")
        content_type(request, ACK_TYPE)
        raw = await read_body(request, self._max_body)
        if b"~" in raw:
            raise Problem("malformed", "this is not a compact JWS; post notices to /v1/notices")
        taken = await self._intake.take(raw, principal.name)
        return Response(strict.dumps({"digest": strict.b64(taken.digest)}), 202, media_type="application/json")


class EventStream(StreamingResponse):
    """Holds one of the caller's waiting places as long as the stream lasts."""

    def __init__(self, content: AsyncIterator[bytes], place: AbstractContextManager[None]) -> None:
        super().__init__(content, media_type=EVENTS, headers={"X-Accel-Buffering": "no"})
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._place:
            await super().__call__(scope, receive, send)


def as_json(stored: Stored) -> dict[str, Any]:
    """A delivery as the interface shows it: {"offset","notice","headers"}."""
    record = stored.record
    return {"offset": stored.offset, "notice": record.value.decode("ascii"), "headers": dict(record.headers)}


def _resume_from(request: Request, after: int | None) -> int:
    """A client that reconnects says by Last-Event-ID where it was; that counts more than the address it first asked."""
    said = request.headers.get("last-event-id")
    if said is None:
        return -1 if after is None else after
    if not (said == "-1" or (said.isascii() and said.isdecimal() and int(said[:20]) <= FARTHEST)):
        raise Problem("bad-request", "Last-Event-ID: must be the id of an event of this stream, a whole number")
    return int(said)


def _topic(principal: Principal) -> str:
    return f"comity.deliveries.{principal.name}"
