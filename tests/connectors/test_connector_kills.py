"""Partners that are killed (SIGKILL) and started again: exactly one accepted notice, exactly one stored notice."""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from connectors import Inbox, PartnerKey, Published, Refused
from connectors.journal import Journal
from tests.connectors.partner_process import COUNT
from tests.connectors.partners import Running, cyber, pair, running

pytestmark = pytest.mark.crash


def start(hub: Running, role: str, place: str, key: PartnerKey, directory: Path) -> subprocess.Popen[str]:
    file = directory / "partner.key.json"
    if not file.exists():
        key.save(file)
    command = [sys.executable, "-m", "tests.connectors.partner_process"]
    arguments = [role, place, hub.url, str(file), str(directory), hub.vkey]
    return subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True)


async def killed(process: subprocess.Popen[str]) -> None:
    """Wait until it is dead; by its own hand, or something is wrong with the test."""
    assert await asyncio.to_thread(process.wait, 30) == -signal.SIGKILL


@pytest.mark.parametrize(("place", "left"), [("journaled", "pending"), ("posted", "pending"), ("marked", "accepted")])
async def test_a_publisher_killed_at_any_point_ends_with_exactly_one_accepted_notice(
    hub: Running, tmp_path: Path, place: str, left: str
) -> None:
    sender, recipient = await pair(hub)
    await killed(start(hub, "publish", place, sender, tmp_path))
    async with hub.client(sender, tmp_path) as client:
        assert client.journal
        counts = await client.journal.counts()
        assert counts == {"pending": 0, "accepted": 0, "refused": 0} | {left: 1}
        results = await client.publish_pending()
        assert len(results) == (1 if left == "pending" else 0)
        assert await client.journal.counts() == {"pending": 0, "accepted": 1, "refused": 0}
        last = await client.publish(cyber(client, "last"))
    async with hub.client(recipient) as other, Inbox.open(tmp_path) as inbox:
        while not (stored := await inbox.notices()) or stored[-1].notice.jti != last.jti:
            await inbox.fetch(other, wait=5)
        assert [each.notice.subject for each in stored] == ["edge-gateway", "last"]
        assert [each.number for each in stored] == [1, 2]


@pytest.mark.parametrize("seed", range(3))
async def test_a_publisher_killed_at_random_under_load_loses_and_doubles_nothing(
    hub: Running, tmp_path: Path, seed: int
) -> None:
    sender, recipient = await pair(hub)
    process = start(hub, "publish", "many", sender, tmp_path)
    assert process.stdout
    for _ in range(random.Random(seed).randrange(1, COUNT)):
        await asyncio.to_thread(process.stdout.readline)
    process.kill()
    await killed(process)
    async with hub.client(sender, tmp_path) as client:
        results = await client.publish_pending()
        assert all(isinstance(result, Published) for result in results)
        assert client.journal
        counts = await client.journal.counts()
        assert counts["pending"] == counts["refused"] == 0
    async with hub.client(recipient) as other, Inbox.open(tmp_path) as inbox:
        deadline = time.monotonic() + 20
        while len(stored := await inbox.notices()) < counts["accepted"] and time.monotonic() < deadline:
            await inbox.fetch(other, wait=1)
        await inbox.fetch(other, wait=0.3)  # and no more than these
        stored = await inbox.notices()
    journal = Journal.open(tmp_path)
    for each in stored:
        found = await journal.find(each.notice.jti)
        assert found and found.state == "accepted"
    await journal.close()
    assert len({each.notice.jti for each in stored}) == len(stored) == counts["accepted"]


@pytest.mark.parametrize(("place", "stored"), [("fetched", 0), ("stored", 3), ("acknowledged", 3)])
async def test_an_inbox_killed_at_any_point_stores_each_notice_once_and_acknowledges_it(
    hub: Running, tmp_path: Path, place: str, stored: int
) -> None:
    sender, recipient = await pair(hub)
    async with hub.client(sender) as client:
        published = [await client.publish(cyber(client, f"s{n}")) for n in range(3)]
        while [(await client.status(each.jti))["status"] for each in published] != ["accepted"] * 3:
            await asyncio.sleep(0.02)
        await killed(start(hub, "inbox", place, recipient, tmp_path))
        async with hub.client(recipient) as other, Inbox.open(tmp_path) as inbox:
            before = await inbox.notices()
            assert (len(before), [each.acknowledged for each in before]) == (stored, [None] * stored)
            await inbox.fetch(other)
            assert [each.notice.jti for each in await inbox.notices()] == [each.jti for each in published]
        for each in published:
            while (await client.status(each.jti))["deliveries"][0]["acknowledged"] is None:
                await asyncio.sleep(0.02)


@pytest.mark.parametrize("seed", range(3))
async def test_an_inbox_killed_at_random_again_and_again_stores_each_notice_once(
    hub: Running, tmp_path: Path, seed: int
) -> None:
    sender, recipient = await pair(hub)
    chance = random.Random(seed)
    async with hub.client(sender) as client:
        published = [r async for r in client.publish_many(cyber(client, f"s{n}") for n in range(300))]
    assert len(published) == 300
    for _ in range(3):
        process = start(hub, "inbox", "many", recipient, tmp_path)
        assert process.stdout
        await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(chance.uniform(0, 0.3))
        process.kill()
        await killed(process)
    async with hub.client(recipient) as other, Inbox.open(tmp_path) as inbox:
        while len(stored := await inbox.notices(limit=1_000)) < 300:
            await inbox.fetch(other, wait=2)
        assert [each.number for each in stored] == list(range(1, 301))
        assert all(each.gap is None for each in stored)
        while any(each.acknowledged is None for each in await inbox.notices(limit=1_000)):
            await inbox.acknowledge(other)


async def test_a_hub_killed_under_load_and_started_again_gets_each_notice_once_and_nobody_notices(
    tmp_path: Path,
) -> None:
    results: list[Published | Refused] = []
    with running(tmp_path / "data") as hub:
        sender, recipient = await pair(hub)
        port = int(hub.url.rsplit(":", 1)[1])
        async with hub.client(sender, tmp_path / "out", patience=60) as client:

            async def publish() -> None:
                async for result in client.publish_many([cyber(client, f"s{n}") for n in range(300)]):
                    results.append(result)

            publishing = asyncio.create_task(publish())
            while len(results) < 50:
                await asyncio.sleep(0.01)
            hub.process.kill()
            hub.process.wait()
            decided = len(results)
            with running(tmp_path / "data", port) as again:
                await publishing
                assert decided < 300, "the kill came too late to show anything"
                assert {type(result) for result in results} == {Published}
                async with again.client(recipient) as other, Inbox.open(tmp_path) as inbox:
                    while len(stored := await inbox.notices()) < 300:
                        assert await inbox.fetch(other, wait=10)
                    assert await inbox.fetch(other, wait=0.5) == 0
                    assert {each.notice.jti for each in stored} == {result.jti for result in results}
                    assert [each.number for each in stored] == list(range(1, 301))
