"""A line that freezes, is cut, or leads nowhere: it is noticed, it is said, and the work goes on when it is mended."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from connectors import ConnectorError, Inbox, Published, Unreachable
from connectors.deliveries import Numbering
from tests.connectors.kafka_world import Line, World, line, records, signed

pytestmark = pytest.mark.kafka


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits, shorter: what is told apart stays apart."""
    for name, seconds in (("REQUEST_SECONDS", 2.0), ("START_SECONDS", 3.0), ("STOP_SECONDS", 0.5)):
        monkeypatch.setattr(f"connectors.kafka_link.{name}", seconds)
    for module in ("kafka", "kafka_reader"):
        monkeypatch.setattr(f"connectors.{module}.REQUEST_SECONDS", 2.0)
    monkeypatch.setattr("connectors.kafka_reader.SILENCE", 2.0)


@pytest.fixture
async def failing(world: World) -> AsyncIterator[Line]:
    async with line(world.bootstrap) as made:
        yield made


async def written(world: World) -> list[bytes]:
    return [record.value for record in await records(world.bootstrap, world.notices)]


@pytest.mark.parametrize("fault", ["frozen", "cut"])
async def test_a_publisher_whose_line_fails_is_told_and_ends_with_every_notice_written(
    world: World, failing: Line, tmp_path: Path, fault: str
) -> None:
    async with world.client(world.sender, failing.address, journal=tmp_path, patience=1.5) as client:
        await client.publish(signed(world.sender))
        if fault == "frozen":
            failing.freeze()
        else:
            failing.cut(refuse=True)
        began = time.monotonic()
        late = signed(world.sender)
        with pytest.raises(Unreachable, match="nothing decided in time"):
            await client.publish(late)
        assert time.monotonic() - began < 12
        assert client.journal and (await client.journal.counts())["pending"] == 1
        failing.thaw()
        failing.refusing = False
        [result] = await client.publish_pending()
        assert isinstance(result, Published) and result.jti == late.jti
    assert late.raw in await written(world)


async def test_a_publisher_goes_on_by_itself_when_the_line_is_mended_in_time(
    world: World, failing: Line, tmp_path: Path
) -> None:
    async with world.client(world.sender, failing.address, journal=tmp_path, patience=30) as client:
        await client.publish(signed(world.sender))
        failing.freeze()
        notices = [signed(world.sender) for _ in range(20)]
        sending = [asyncio.create_task(client.publish(notice)) for notice in notices]
        await asyncio.sleep(6)
        assert not any(task.done() for task in sending)
        failing.thaw()
        await asyncio.gather(*sending)
    assert {notice.raw for notice in notices} <= set(await written(world))


@pytest.mark.parametrize("fault", ["frozen", "cut"])
async def test_a_subscriber_whose_line_fails_says_so_and_goes_on_where_it_was(
    world: World, failing: Line, tmp_path: Path, fault: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "connectors")
    await world.deliver_notices(2)
    async with (
        world.client(world.recipient, failing.address, patience=2.0) as client,
        Inbox.open(tmp_path / "inbox") as inbox,
    ):
        running = asyncio.create_task(inbox.run(client))
        async with asyncio.timeout(40):
            while await inbox.position() < 1:
                await asyncio.sleep(0.05)
            if fault == "frozen":
                failing.freeze()
            else:
                failing.cut(refuse=True)
            began = time.monotonic()
            while "nothing decided in time" not in caplog.text:
                await asyncio.sleep(0.1)
            assert time.monotonic() - began < 15
            assert not running.done()
            await world.deliver_notices(2)
            failing.thaw()
            failing.refusing = False
            while len(await inbox.notices()) < 4:
                await asyncio.sleep(0.1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert [each.number for each in await inbox.notices()] == [1, 2, 3, 4]
        assert not any(each.gap for each in await inbox.notices())


async def test_a_cut_that_is_mended_at_once_is_hardly_noticed(world: World, failing: Line) -> None:
    async with world.client(world.recipient, failing.address) as client:
        numbering = Numbering(complete=True)
        await world.deliver_notices(1)
        _, after = await client.receiver.fetch(-1, numbering, wait=5)
        failing.cut()
        await world.deliver_notices(1)
        page, _ = await client.receiver.fetch(after, numbering, wait=15)
        assert len(page) == 1


@pytest.mark.parametrize("fault", ["frozen", "nobody"])
async def test_a_broker_that_never_answers_is_unreachable_within_bounds(
    world: World, failing: Line, fault: str
) -> None:
    failing.freeze()
    address = failing.address if fault == "frozen" else "127.0.0.1:9"
    began = time.monotonic()
    async with world.client(world.recipient, address, patience=1.0) as client:
        with pytest.raises(Unreachable, match=r"no answer|Connect"):
            await client.receiver.fetch(-1, Numbering(complete=True), wait=0)
        with pytest.raises(Unreachable, match=r"no answer|Connect"):
            await client.publish(signed(world.recipient))
    assert time.monotonic() - began < 30


async def test_a_client_that_was_made_while_the_line_was_down_works_when_it_is_up(world: World, failing: Line) -> None:
    failing.cut(refuse=True)
    await world.deliver_notices(1)
    async with world.client(world.sender, failing.address, patience=30) as client:
        sending = asyncio.create_task(client.publish(signed(world.sender)))
        await asyncio.sleep(2)
        failing.refusing = False
        assert isinstance(await sending, Published)


async def test_a_client_ends_in_time_also_on_a_frozen_line(world: World, failing: Line, tmp_path: Path) -> None:
    async with world.client(world.sender, failing.address) as client:
        await client.publish(signed(world.sender))
        await client.receiver.fetch(-1, Numbering(complete=True))
        sending = asyncio.create_task(client.publish(signed(world.sender)))
        failing.freeze()
        await asyncio.sleep(0.3)
        began = time.monotonic()
    assert time.monotonic() - began < 5
    with pytest.raises(ConnectorError, match=r"closed|nothing decided"):
        await sending
    with pytest.raises(ConnectorError, match="closed"):
        await client.receiver.fetch(-1, Numbering(complete=True))
