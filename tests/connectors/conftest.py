"""One real hub for all tests of the connectors; every test has its own agencies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.connectors.kafka_world import World
from tests.connectors.partners import Running, running
from tests.connectors.stand_in import StandIn, standing_in


@pytest.fixture(scope="session")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(tmp_path_factory.mktemp("hub") / "data") as hub:
        yield hub


@pytest.fixture
async def stand_in() -> AsyncIterator[StandIn]:
    async with standing_in() as hub:
        yield hub


@pytest.fixture
async def world(kafka_bootstrap: str, tmp_path: Path) -> World:
    return await World(kafka_bootstrap, tmp_path).set_up()
