"""Waiting for records of many topics over one connection.

One Fetch request, held by the brokers for ROUND seconds, covers every topic that somebody waits for, each from the offset
where its reader found nothing. Whatever comes wakes the readers of its topic, who then read for themselves; the bytes that
woke them are dropped. A reader joins with the next round, so it may hear of a record ROUND seconds late, and never misses one.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict

from hub.log import Unavailable
from hub.log.kafka.cluster import PAUSE, Cluster, OutOfRange

ROUND = 0.02  # seconds


class Watch:
    """For one event loop. `close` wakes everyone, with Unavailable."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._waiters: dict[str, dict[asyncio.Future[None], int]] = defaultdict(dict)
        self._task: asyncio.Task[None] | None = None

    async def wait(self, topic: str, offset: int, seconds: float) -> None:
        """Return when the topic may hold something committed at or behind `offset`, or after `seconds`."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters[topic][waiter] = offset
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="kafka-watch")
        try:
            await asyncio.wait((waiter,), timeout=max(0.0, seconds))
            if waiter.done():
                waiter.result()
        finally:
            waiter.cancel()
            self._waiters[topic].pop(waiter, None)
            if not self._waiters[topic]:
                del self._waiters[topic]

    def close(self, reason: str) -> None:
        if self._task is not None:
            self._task.cancel()
        for waiters in self._waiters.values():
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_exception(Unavailable(reason))

    async def _run(self) -> None:
        while self._waiters:
            wanted = {topic: min(waiters.values()) for topic, waiters in self._waiters.items()}
            try:
                found = await self._cluster.fetch(wanted, lane="watch", limit=0, wait=ROUND, each=1)
            except (Unavailable, OutOfRange):
                # Each of them looks for itself, and hears what is wrong with its own topic.
                self._wake(list(wanted))
                await asyncio.sleep(PAUSE)
                continue
            # Bytes came exactly if the log has moved behind the offset.
            self._wake([topic for topic, part in found.items() if part.stable > part.base])
            if not found:
                await asyncio.sleep(PAUSE)  # topics that are not there yet

    def _wake(self, topics: list[str]) -> None:
        for topic in topics:
            for waiter in self._waiters.get(topic, ()):
                if not waiter.done():
                    waiter.set_result(None)
