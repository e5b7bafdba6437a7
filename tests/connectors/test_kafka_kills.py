"""Partners on Kafka that are killed (SIGKILL) and started again: every notice in the topic, every delivery stored once."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from connectors import Inbox, PartnerKey, Published
from connectors.journal import Journal
from hub.core import jws
from tests.connectors.kafka_world import World, records
from tests.connectors.partner_process import COUNT

pytestmark = [pytest.mark.crash, pytest.mark.kafka]


def start(world: World, role: str, place: str, key: PartnerKey, directory: Path) -> subprocess.Popen[str]:
    file = directory / "partner.key.json"
    if not file.exists():
        key.save(file)
    command = [sys.executable, "-m", "tests.connectors.partner_process", role, place]
    return subprocess.Popen(
        [*command, world.address(), str(file), str(directory), "-"], stdout=subprocess.PIPE, text=True
    )


async def killed(process: subprocess.Popen[str]) -> None:
    """Wait until it is dead; by its own hand, or something is wrong with the test."""
    assert await asyncio.to_thread(process.wait, 30) == -signal.SIGKILL


@pytest.mark.parametrize(
    ("place", "left", "written"), [("journaled", "pending", 1), ("posted", "pending", 2), ("marked", "accepted", 1)]
)
async def test_a_publisher_killed_at_any_point_ends_with_its_notice_in_the_topic(
    world: World, tmp_path: Path, place: str, left: str, written: int
) -> None:
    """Twice where the kill hid that it was written: as the very same bytes, which the hub takes for a duplicate."""
    await killed(start(world, "publish", place, world.sender, tmp_path))
    async with world.client(world.sender, journal=tmp_path) as client:
        assert client.journal
        assert await client.journal.counts() == {"pending": 0, "accepted": 0, "refused": 0} | {left: 1}
        assert len(await client.publish_pending()) == (1 if left == "pending" else 0)
        assert await client.journal.counts() == {"pending": 0, "accepted": 1, "refused": 0}
    values = [record.value for record in await records(world.bootstrap, world.notices)]
    assert len(values) == written and len(set(values)) == 1


@pytest.mark.parametrize("seed", range(2))
async def test_a_publisher_killed_at_random_under_load_loses_nothing(world: World, tmp_path: Path, seed: int) -> None:
    process = start(world, "publish", "many", world.sender, tmp_path)
    assert process.stdout
    for _ in range(random.Random(seed).randrange(1, COUNT)):
        await asyncio.to_thread(process.stdout.readline)
    process.kill()
    await killed(process)
    async with world.client(world.sender, journal=tmp_path) as client:
        assert all(isinstance(result, Published) for result in await client.publish_pending())
        assert client.journal
        counts = await client.journal.counts()
    assert counts["pending"] == counts["refused"] == 0
    values = Counter(record.value for record in await records(world.bootstrap, world.notices))
    assert len(values) == counts["accepted"] and max(values.values()) <= 2
    journal = Journal.open(tmp_path)
    assert {entry.state for raw in values if (entry := await journal.find(jti_of(raw)))} == {"accepted"}
    await journal.close()


def jti_of(raw: bytes) -> str:
    jti: str = jws.read_compact(raw.partition(b"~")[0], typ="notice+sd-jwt").payload["jti"]
    return jti


@pytest.mark.parametrize(("place", "stored"), [("fetched", 0), ("stored", 3), ("acknowledged", 3)])
async def test_an_inbox_killed_at_any_point_stores_each_notice_once_and_acknowledges_it(
    world: World, tmp_path: Path, place: str, stored: int
) -> None:
    await world.deliver_notices(3)
    await killed(start(world, "inbox", place, world.recipient, tmp_path))
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        before = await inbox.notices()
        assert (len(before), [each.acknowledged for each in before]) == (stored, [None] * stored)
        await inbox.fetch(client)
        assert [(each.number, each.gap) for each in await inbox.notices()] == [(1, None), (2, None), (3, None)]
        assert all(each.acknowledged for each in await inbox.notices())
    acknowledgements = await records(world.bootstrap, f"comity.notices.{world.recipient.agency}")
    assert len(acknowledgements) == (2 if place == "acknowledged" else 1)


async def test_an_inbox_killed_at_random_again_and_again_stores_each_notice_once(world: World, tmp_path: Path) -> None:
    await world.deliver_notices(600)
    chance = random.Random(1)
    for _ in range(4):
        process = start(world, "inbox", "many", world.recipient, tmp_path)
        assert process.stdout
        await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(chance.uniform(0, 0.5))
        process.kill()
        await killed(process)
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        await inbox.fetch(client)
        stored = await inbox.notices(limit=1_000)
        assert [each.number for each in stored] == list(range(1, 601))
        assert all(each.gap is None and each.acknowledged for each in stored)
