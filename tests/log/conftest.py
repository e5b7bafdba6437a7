"""Where a log is kept, per implementation: the contract suite runs once for each of PLACES, unchanged."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from hub.log import Log
from hub.log.embedded import EmbeddedLog
from hub.log.kafka import KafkaLog
from tests.kafka import broker

Opener = Callable[[], Awaitable[Log]]


class Place:
    """One store. Each `open` is another client of it, as another process would be."""

    def __init__(self, opener: Opener) -> None:
        self._opener = opener
        self._space = uuid.uuid4().hex[:8]
        self._logs: list[Log] = []

    async def open(self) -> Log:
        log = await self._opener()
        self._logs.append(log)
        return log

    def name(self, text: str) -> str:
        """A name for a topic or a shard that no other test uses, for stores that tests share."""
        return f"test.{self._space}.{text}"

    async def close(self) -> None:
        for log in self._logs:
            await log.close()


def embedded(directory: Path) -> Opener:
    async def opener() -> Log:
        return EmbeddedLog(directory / "comity.db")

    return opener


def kafka(_directory: Path) -> Opener:
    async def opener() -> Log:
        return await KafkaLog.open(f"kafka://{broker.bootstrap()}")

    return opener


PLACES = {"embedded": embedded, "kafka": kafka}


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(PLACES[request.param](tmp_path))
    yield place
    await place.close()


@pytest.fixture
async def log(place: Place) -> Log:
    return await place.open()
