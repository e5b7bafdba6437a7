"""Waiting for records: woken at once by commits of this process, within POLL by those of another."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Set
from typing import TypeVar

from hub.log import Unavailable

POLL = 0.05  # seconds between looks for commits of other processes
T = TypeVar("T")


class Waiting:
    """Who waits in one event loop, each woken only by changes that concern it."""

    def __init__(self, version: Callable[[], int]) -> None:
        """`version` differs from its last value when anybody has committed since (PRAGMA data_version)."""
        self._version = version
        self._waiters: dict[asyncio.Future[None], Callable[[Set[str]], bool]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._seen = 0
        self._own = False  # commits of this process since the last look

    async def until(self, look: Callable[[], list[T]], concerns: Callable[[Set[str]], bool], wait: float) -> list[T]:
        """What `look` finds, looking again after every change that `concerns` it, until `wait` seconds have passed."""
        found = look()
        if found or wait <= 0:
            return found
        loop = asyncio.get_running_loop()
        deadline = loop.time() + wait
        while not found and (left := deadline - loop.time()) > 0:
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters[waiter] = concerns
            try:
                self._start()
                # Looked at again now that it is registered: a change in between wakes it or is seen here.
                found = look()
                if not found:
                    await asyncio.wait((waiter,), timeout=left)
                    if waiter.done():
                        waiter.result()
                    found = look()
            finally:
                self._waiters.pop(waiter, None)
                waiter.cancel()
        return found

    def changed(self, names: Set[str], others: bool) -> None:
        """This process has committed a change of these names; `others`: another process has committed before it."""
        self._own = True
        for waiter, concerns in self._waiters.items():
            if others or concerns(names):
                _wake(waiter)

    def close(self, reason: str) -> None:
        """Nothing comes any more: who waits hears Unavailable."""
        if self._timer is not None:
            self._timer.cancel()
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_exception(Unavailable(reason))

    def _start(self) -> None:
        if self._timer is None:
            self._seen, self._own = self._version(), False
            self._timer = asyncio.get_running_loop().call_later(POLL, self._poll)

    def _poll(self) -> None:
        """Wake everyone when another process has committed.

        Our own commits change the version too. After one, the comparison is left to the next quiet look, which may wake
        everyone once for nothing; as long as there is no quiet, `changed` tells of others.
        """
        self._timer = None
        if not self._waiters:
            return
        if self._own:
            self._own = False
        elif not self._unchanged():
            for waiter in self._waiters:
                _wake(waiter)
        self._timer = asyncio.get_running_loop().call_later(POLL, self._poll)

    def _unchanged(self) -> bool:
        seen = self._seen
        try:
            self._seen = self._version()
        except Unavailable:
            return False  # who waits looks, and hears it
        return seen == self._seen


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
