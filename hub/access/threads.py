"""Blocking calls, waited for no longer than one will.

kafka-python bounds its requests, but not the TLS handshake of a connection: against a frozen broker a call may never return.
Its thread is then left to itself. It does not keep the program from ending.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


async def call_in_thread(
    call: Callable[..., T], *given: Any, seconds: float, discard: Callable[[T], object] | None = None
) -> T:
    """What the call returns or raises; TimeoutError after `seconds`. discard: takes what it returns when nobody waits."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()
    lock, gone = threading.Lock(), threading.Event()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def run() -> None:
        result, error = None, None
        try:
            result = call(*given)
        except BaseException as caught:
            error = caught
        with lock:
            if not gone.is_set():
                with contextlib.suppress(RuntimeError):  # the loop has ended
                    loop.call_soon_threadsafe(settle, result, error)
                return
        if error is None and discard is not None:
            discard(result)  # type: ignore[arg-type]

    threading.Thread(target=run, name="comity-access", daemon=True).start()
    try:
        await asyncio.wait({future}, timeout=seconds)
        if future.done():
            return future.result()
        raise TimeoutError(f"no answer in {seconds:g} s")
    finally:
        with lock:
            gone.set()
