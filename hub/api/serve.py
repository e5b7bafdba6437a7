"""Serving, and stopping without losing anyone's answer.

On SIGTERM or SIGINT: `/readyz` turns 503 and streams end at once; after a short while, for balancers to notice, the
listener closes; requests under way get their answers; then `serve` returns, and the hub finishes what it has taken
in.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import math
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, TypeVar

import structlog
import uvicorn
import uvloop
from fastapi import FastAPI

from hub.api.app import create_app
from hub.app import Hub
from hub.config import Settings
from hub.core.errors import ComityError

BACKLOG = 2_048
NOTICE_SECONDS = 0.5  # between "not ready" and the closed listener

log = structlog.get_logger("comity.api")
T = TypeVar("T")


class ListenError(ComityError):
    """The address cannot be used; the message says why and what to do."""


def run(main: Coroutine[Any, Any, T]) -> T:
    """`asyncio.run` for a process that serves: uvloop answers more posts than asyncio's own loop (docs/performance.md).

    What was imported until now stays for good, and is kept out of garbage collection: going through all of it again and
    again was a tenth of a router's time.
    """
    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(main)


async def serve(
    hub: Hub,
    settings: Settings,
    *,
    make: Callable[[Hub, str], FastAPI] = create_app,
    ready: Callable[[str], None] | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve `hub` until a signal, or `stop`, asks to end. `ready` is told the base URL once requests are answered.

    `make`: the application of a hub and its base URL. ListenError when the address cannot be used.
    """
    with contextlib.closing(_listen(settings.host, settings.port)) as listener:
        url = _url(listener, settings)
        app = make(hub, url)
        config = uvicorn.Config(
            app, http="httptools", ws="none", lifespan="off", log_config=None, access_log=False, server_header=False,
            proxy_headers=False, timeout_keep_alive=75,
            timeout_graceful_shutdown=max(1, math.ceil(settings.drain_seconds)),
        )  # fmt: skip
        server = _Server(config, hub, app.state.drain, min(NOTICE_SECONDS, settings.drain_seconds))
        server.on_started = lambda: _announce(url, ready)
        watch = asyncio.create_task(_watch(stop, server)) if stop is not None else None
        try:
            await server.serve(sockets=[listener])
        finally:
            if watch is not None:
                watch.cancel()
            app.state.close()


class _Server(uvicorn.Server):
    """uvicorn, with our order of stopping and our exit code: a clean stop is 0, not the signal's number."""

    def __init__(self, config: uvicorn.Config, hub: Hub, drain: asyncio.Event, notice: float) -> None:
        super().__init__(config)
        self._hub, self._drain, self._notice = hub, drain, notice
        self.on_started: Callable[[], None] = lambda: None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        caught = []
        for number in (signal.SIGTERM, signal.SIGINT):
            with contextlib.suppress(RuntimeError, ValueError):  # only the main thread has signals
                loop.add_signal_handler(number, self.leave)
                caught.append(number)
        try:
            yield
        finally:
            for number in caught:
                loop.remove_signal_handler(number)

    def leave(self) -> None:
        """Begin to stop."""
        if self._drain.is_set():
            return  # once is enough; the time to drain is bounded
        log.info("draining", seconds=self.config.timeout_graceful_shutdown)
        self._hub.draining = True
        self._drain.set()
        asyncio.get_running_loop().call_later(self._notice, self._leave)

    def _leave(self) -> None:
        self.should_exit = True


async def _watch(stop: asyncio.Event, server: _Server) -> None:
    await stop.wait()
    server.leave()


def _announce(url: str, ready: Callable[[str], None] | None) -> None:
    log.info("serving", url=url)
    if ready is not None:
        ready(url)


def _url(listener: socket.socket, settings: Settings) -> str:
    """The base URL, with the port that was given where the settings said 0."""
    if settings.public_url is not None or settings.port:
        return settings.url
    return settings.model_copy(update={"port": listener.getsockname()[1]}).url


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; "
            "stop what uses it, or choose another with COMITY_PORT (0: any free one)"
        ) from None
