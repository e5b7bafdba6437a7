"""Hands notes in, as an API does, and remembers of each append what it was told: the offset, or nothing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

from hub.log import Log, LogError, Record
from tests.faults.checker import Published
from tests.faults.story import NOTICES, Note

AT_ONCE = 30
PATIENCE = 2.0  # seconds until an append is cancelled: less than an API has, so that many outcomes are unknown


class Publisher:
    """`run` until `stopped` is set; then what is under way is waited for."""

    def __init__(self, log: Log, notes: Iterable[Note], published: Published, rate: float, seed: int) -> None:
        """rate: notes a second, at most."""
        self._log, self._notes, self._published, self._rate = log, notes, published, rate
        self._rng = random.Random(seed)
        self._room = asyncio.Semaphore(AT_ONCE)
        self.stopped = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for note in self._notes:
                await self._room.acquire()
                if self.stopped.is_set():
                    return
                group.create_task(self._publish(note))
                await asyncio.sleep(1 / self._rate)

    async def _publish(self, note: Note) -> None:
        """Who hears nothing certain sends the same bytes again, or gives up."""
        topic, digest = NOTICES + note.sender, note.digest
        self._published.notes.setdefault(digest, note)
        try:
            while True:
                self._published.begun[digest] += 1
                try:
                    async with asyncio.timeout(PATIENCE):
                        offset = await self._log.append(topic, Record(note.raw, note.claims["subject"]))
                except (LogError, TimeoutError):
                    self._published.unknown += 1
                    if self._rng.random() < 0.3:
                        return
                    await asyncio.sleep(0.5)
                else:
                    self._published.acknowledged[topic, offset] = digest
                    return
        finally:
            self._room.release()
