"""A call that does not return is not waited for."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from hub.access.threads import call_in_thread


async def test_what_a_call_returns_or_raises_is_what_it_gives() -> None:
    assert await call_in_thread(divmod, 7, 2, seconds=5) == (3, 1)
    with pytest.raises(ZeroDivisionError):
        await call_in_thread(divmod, 7, 0, seconds=5)


async def test_a_frozen_call_is_given_up_and_what_it_brings_too_late_is_discarded() -> None:
    freed, discarded = threading.Event(), threading.Event()

    def frozen() -> str:
        freed.wait(10)
        return "late"

    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"no answer in 0.1 s"):
        await call_in_thread(frozen, seconds=0.1, discard=lambda late: discarded.set())
    assert time.monotonic() - began < 2
    freed.set()
    assert await asyncio.to_thread(discarded.wait, 5)
