"""A proxy before a broker, which knows Kafka's frames: it can freeze, cut, delay, hold back and repeat chosen requests.

Clients that bootstrap at `address` stay with it: in the answers that name brokers, the broker's address is replaced by the
proxy's own. It runs in a thread of its own, so that it goes on while a test blocks its loop.

A rule is for the next request of a kind, and is used up by it:

    delay       it is passed on later; what comes behind it on the connection waits too
    lose        it is passed on, its answer is dropped, and the connection breaks: the client sends it again
    hold        it is kept and the connection breaks; what was kept may be sent later, when the client has done it again
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from collections import deque
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

PRODUCE, METADATA, COORDINATOR, INIT_PRODUCER, ADD_PARTITIONS, END_TXN = 0, 3, 10, 22, 24, 26
HOST = "127.0.0.1"


@dataclass
class Rule:
    """api: the kind of request. client: whose, by its client id; anybody's when empty."""

    kind: str
    api: int
    client: str = ""
    seconds: float = 0.0
    kept: bytes = b""  # the request that was held back

    def fits(self, api: int, client: str) -> bool:
        return self.api == api and self.client in ("", client)


class Proxy:
    """`with Proxy("host:port") as proxy`."""

    def __init__(self, broker: str) -> None:
        host, _, port = broker.rpartition(":")
        self._broker = (host, int(port))
        self._rules: list[Rule] = []
        self.met: list[tuple[int, str]] = []  # (api, client id) of every request that came
        self._connections: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Proxy:
        self._thread.start()
        self._server = self._call(asyncio.start_server(self._serve, HOST, 0))
        self._port = self._server.sockets[0].getsockname()[1]
        self._moving = self._call(_event())
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self.thaw()
        self.cut()
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    @property
    def address(self) -> str:
        return f"{HOST}:{self._port}"

    def freeze(self) -> None:
        """Nothing is passed on any more, either way; connections stay, and new ones are taken."""
        self._loop.call_soon_threadsafe(self._moving.clear)

    def thaw(self) -> None:
        self._loop.call_soon_threadsafe(self._moving.set)

    def cut(self) -> None:
        """Break every connection. New ones are taken."""

        async def close() -> None:
            for writer in list(self._connections):
                writer.transport.abort()

        self._call(close())

    def delay(self, api: int, seconds: float, client: str = "") -> Rule:
        return self._add(Rule("delay", api, client, seconds))

    def lose_answer(self, api: int, client: str = "") -> Rule:
        return self._add(Rule("lose", api, client))

    def hold(self, api: int, client: str = "") -> Rule:
        return self._add(Rule("hold", api, client))

    def release(self, rule: Rule) -> int:
        """Send what a rule has held back; the error code that the broker answers (of an EndTxn, v0)."""
        return self._call(self._send(rule.kept))

    def _add(self, rule: Rule) -> Rule:
        self._rules.append(rule)
        return rule

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _send(self, frame: bytes) -> int:
        assert frame, "nothing was held back"
        reader, writer = await asyncio.open_connection(*self._broker)
        writer.write(frame)
        answer = await _frame(reader)
        writer.close()
        (code,) = struct.unpack(">h", answer[12:14])  # behind length, correlation id and throttle time
        return int(code)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        pumps: list[asyncio.Task[None]] = []
        try:
            answers, broker = await asyncio.open_connection(*self._broker)
            self._connections.add(broker)
            asked: deque[tuple[int, Rule | None]] = deque()
            pumps = [
                asyncio.create_task(self._pass_requests(reader, broker, asked)),
                asyncio.create_task(self._pass_answers(answers, writer, asked)),
            ]
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        except OSError:
            pass  # the broker is gone, and so is its connection
        finally:
            for pump in pumps:
                pump.cancel()
            for end in (writer, broker) if pumps else (writer,):
                end.transport.abort()
                self._connections.discard(end)

    async def _pass_requests(
        self, reader: asyncio.StreamReader, broker: asyncio.StreamWriter, asked: deque[tuple[int, Rule | None]]
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(reader)
                await self._moving.wait()
                api, client = _head(frame)
                self.met.append((api, client))
                rule = next((rule for rule in self._rules if rule.fits(api, client)), None)
                if rule is not None:
                    self._rules.remove(rule)
                    await asyncio.sleep(rule.seconds)
                    if rule.kind == "hold":
                        rule.kept = frame
                        return
                asked.append((api, rule))
                broker.write(frame)

    async def _pass_answers(
        self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: deque[tuple[int, Rule | None]]
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                frame = await _frame(answers)
                await self._moving.wait()
                api, rule = asked.popleft()
                if rule is not None and rule.kind == "lose":
                    return
                writer.write(self._readdress(frame) if api in (METADATA, COORDINATOR) else frame)

    def _readdress(self, frame: bytes) -> bytes:
        """The same answer with the proxy where the broker was."""
        body = frame[4:].replace(_address(*self._broker), _address(HOST, self._port))
        return struct.pack(">i", len(body)) + body

    async def _end(self) -> None:
        """Every connection is broken, so whatever served one ends."""
        if tasks := asyncio.all_tasks() - {asyncio.current_task()}:
            await asyncio.wait(tasks, timeout=5)


async def _event() -> asyncio.Event:
    event = asyncio.Event()
    event.set()
    return event


async def _frame(reader: asyncio.StreamReader) -> bytes:
    """A request or an answer, its length before it."""
    size = await reader.readexactly(4)
    return size + await reader.readexactly(int.from_bytes(size, "big"))


def _head(request: bytes) -> tuple[int, str]:
    """The kind of request, and the client id: headers of version 1 and 2 begin alike."""
    api, length = struct.unpack_from(">h", request, 4)[0], struct.unpack_from(">h", request, 12)[0]
    return api, request[14 : 14 + max(0, length)].decode()


def _address(host: str, port: int) -> bytes:
    """As answers hold it: a string, then a port of four bytes."""
    return struct.pack(f">h{len(host)}si", len(host), host.encode(), port)
