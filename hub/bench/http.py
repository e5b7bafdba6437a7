"""HTTP/1.1 for a load generator: keep-alive, one request at a time, content-length only, no more than that.

A client made for use costs more of a core than the server that it measures.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast
from urllib.parse import urlsplit

_LENGTH = b"\r\ncontent-length:"


class Connection(asyncio.Protocol):
    """`send` whole requests, one after the other's answer."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self._received = bytearray()

    @classmethod
    async def open(cls, url: str) -> Connection:
        address = urlsplit(url)
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, address.hostname or "", address.port or 80)
        return connection

    def send(self, message: bytes) -> asyncio.Future[tuple[int, bytes]]:
        """Status and body of the answer, once it is whole; ConnectionError when the server hangs up."""
        if self._transport is None or self._transport.is_closing():
            raise ConnectionError("the server has closed the connection")
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(message)
        return self._answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head = self._received.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._received.find(_LENGTH, 0, head)  # uvicorn writes names as the application does: small
        end = self._received.find(b"\r\n", at + 1)
        whole = head + 4 + int(self._received[at + len(_LENGTH) : end])
        if len(self._received) < whole:
            return
        status, body = int(self._received[9:12]), bytes(self._received[head + 4 : whole])
        del self._received[:whole]
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError(f"the server closed the connection: {exc}"))


def message(method: str, target: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole request, ready to be sent."""
    lines = [f"{method} {target} HTTP/1.1", "host: hub", f"content-length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body
