"""A stand-in for a hub that misbehaves on command: a real HTTP server over real sockets, with a script of answers.

It keeps what was posted, answers equal bytes equally, and signs receipts with its own key; everything else is faults.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.core import envelope, jws, strict
from hub.core.checkpoint import Verifier

DROP = "drop"  # take the request, then close the connection without an answer


@dataclass
class StandIn:
    """script: answers to the next posts of notices, before the usual one: DROP, (status, headers), (status, code)."""

    url: str = ""
    script: list[Any] = field(default_factory=list)
    posted: list[bytes] = field(default_factory=list)
    answered: dict[str, bytes] = field(default_factory=dict)
    tokens: int = 0
    requests: int = 0
    valid: set[str] = field(default_factory=set)
    token_script: list[Any] = field(default_factory=list)
    routes: dict[str, Any] = field(default_factory=dict)
    key: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def vkey(self) -> str:
        return Verifier("stand-in.test", self.key.public_key().public_bytes_raw()).vkey()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                line, *lines = head.decode().split("\r\n")
                headers = {name.lower(): value for name, _, value in (each.partition(": ") for each in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                answer = self.answer(line.split()[0], line.split()[1], headers, body)
                if answer == DROP:
                    break
                status, more, content = answer
                text = "".join(f"{name}: {value}\r\n" for name, value in more.items())
                writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: {len(content)}\r\n{text}\r\n".encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
            pass
        finally:
            writer.close()

    def answer(self, method: str, target: str, headers: dict[str, str], body: bytes) -> Any:
        self.requests += 1
        if target == "/oauth/token":
            if self.token_script:
                return fault(self.token_script.pop(0))
            self.tokens += 1
            self.valid.add(f"token-{self.tokens}")
            return 200, {}, json.dumps({"access_token": f"token-{self.tokens}", "expires_in": 600}).encode()
        if headers.get("authorization", "").removeprefix("Bearer ") not in self.valid:
            return fault((401, "unauthorized"))
        if method == "GET":
            found = self.routes[target.partition("?")[0]]
            return 200, {}, json.dumps(found(target) if callable(found) else found).encode()
        self.posted.append(body)
        if self.script:
            return fault(self.script.pop(0))
        return self.accept(body)

    def accept(self, body: bytes) -> Any:
        env = envelope.split(body)
        jti = env.payload["jti"]
        said = {
            "iss": "stand-in.test",
            "sub": env.payload["iss"],
            "jti": jti,
            "digest": strict.b64(env.digest),
            "iat": 1,
        }
        receipt = jws.sign_compact(said, typ="receipt+jwt", kid="hub", key=self.key)
        self.answered[jti] = receipt
        return 202, {"location": f"/v1/notices/x/{jti}"}, strict.dumps({"receipt": receipt.decode()})


def fault(step: Any) -> Any:
    if step == DROP:
        return DROP
    status, more = step
    if isinstance(more, str):
        body = strict.dumps({"code": more, "detail": f"this is {more}", "status": status})
        return status, {"content-type": "application/problem+json"}, body
    return status, more, b""


@asynccontextmanager
async def standing_in() -> AsyncIterator[StandIn]:
    hub = StandIn()
    server = await asyncio.start_server(hub.serve, "127.0.0.1", 0)
    hub.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield hub
    finally:
        server.close()
