"""Reading requests: content types, what the caller accepts, bodies with a byte cap while streaming, disconnects."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request

from hub.api.problems import Problem

T = TypeVar("T")


def content_type(request: Request, *allowed: str) -> str:
    """The media type of the body, one of `allowed`; Problem "unsupported-media-type"."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in allowed:
        raise Problem("unsupported-media-type", f"Content-Type must be {' or '.join(allowed)}")
    return media


def accepts(request: Request, *offered: str) -> str:
    """The first offered media type that `Accept` allows (RFC 9110 §12.5.1); Problem "not-acceptable"."""
    accept = request.headers.get("accept")
    if accept is None or accept == "*/*" or accept == offered[0]:
        return offered[0]
    ranges = [part.split(";") for part in accept.lower().split(",")]
    wanted = {fields[0].strip() for fields in ranges if not any(f.strip() in ("q=0", "q=0.0") for f in fields[1:])}
    for media in offered:
        if media in wanted:
            return media
    for media in offered:
        if f"{media.partition('/')[0]}/*" in wanted or "*/*" in wanted:
            return media
    raise Problem("not-acceptable", f"this route answers with {' or '.join(offered)}")


async def read_body(request: Request, cap: int) -> bytes:
    """The body; Problem "too-large" as soon as it is known to exceed `cap` bytes, before the rest is read."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared[:20]) > cap:
        raise _too_large(cap)
    message = await request.receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    if message.get("more_body", False):
        body = await _read_on(request, bytearray(body), cap)
    if len(body) > cap:
        raise _too_large(cap)
    return body


async def _read_on(request: Request, body: bytearray, cap: int) -> bytes:
    more = True
    while more and len(body) <= cap:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)


def _too_large(cap: int) -> Problem:
    return Problem("too-large", f"the body may have at most {cap} bytes")


async def while_connected(request: Request, work: Coroutine[Any, Any, T], *stops: Awaitable[Any]) -> T | None:
    """The result of `work`; None when a stop came first. ClientDisconnect when the caller left."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request.receive))
    others = [asyncio.ensure_future(stop) for stop in stops]
    try:
        await asyncio.wait({task, gone, *others}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        if gone.done():
            raise ClientDisconnect
        return None
    finally:
        for each in (task, gone, *others):
            each.cancel()


async def _disconnected(receive: Callable[[], Awaitable[Any]]) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
