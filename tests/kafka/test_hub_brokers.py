"""Brokers that restart, freeze and lose their leaderships under a working hub: publishers wait, and nothing is lost."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx2
import pytest

from connectors import Inbox
from tests.kafka.private import StartCluster
from tests.kafka.processes import Processes
from tests.kafka.test_hub_processes import A, B, audit, notice, publish, receive, two_agencies

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(300)]


async def test_a_rolling_restart_of_three_brokers_loses_nothing(three_nodes: StartCluster, tmp_path: Path) -> None:
    """Each broker is stopped and started in turn while notices are published: leaders move, and no one has to help."""
    nodes = three_nodes(nodes=3)
    hub = Processes(tmp_path, f"kafka://{nodes.bootstrap}", COMITY_REPLICATION="3", COMITY_SHARDS="2")
    try:
        _, api, _, _ = await hub.start("registry", "api", "router", "notary")
        keys = await two_agencies(hub, api.url)
        titles = [f"notice {n}" for n in range(60)]

        async def roll() -> None:
            for node in (1, 2, 3):
                await asyncio.to_thread(nodes.stop, node)
                await asyncio.to_thread(nodes.start, node)

        rolling = asyncio.create_task(roll())
        for first in range(0, 60, 4):
            await publish(hub, api.url, keys[A], titles[first : first + 4])
        await rolling
        inbox = Inbox.open(tmp_path / "inbox")
        assert await receive(hub, api.url, keys[B], inbox, 60, seconds=60) == titles
        await inbox.close()
        report = audit(hub, api)
        assert (report["holds"], report["notices"], report["deliveries"], report["pending"]) == (True, 60, 60, 0)
    finally:
        hub.close()


async def test_a_frozen_broker_turns_publishers_away_and_they_lose_nothing(
    three_nodes: StartCluster, tmp_path: Path
) -> None:
    """503 with Retry-After within seconds, never an acceptance that is not durable; afterwards the same bytes are taken."""
    nodes = three_nodes(nodes=1)
    hub = Processes(tmp_path, f"kafka://{nodes.bootstrap}")
    try:
        _, api, _ = await hub.start("registry", "api", "router")
        keys = await two_agencies(hub, api.url)
        async with hub.client(api.url, keys[A]) as client:
            await client.publish(notice(client, "before"))
            token = (await client._session._authorise()).text
            raw = notice(client, "while frozen")
            nodes.pause()
            try:
                began = time.monotonic()
                async with httpx2.AsyncClient(timeout=60) as http:
                    answer = await http.post(
                        f"{api.url}/v1/notices", content=raw,
                        headers={"Authorization": f"Bearer {token}", "Content-Type": "application/sd-jwt"},
                    )  # fmt: skip
                    assert (await http.get(f"{api.url}/livez")).status_code == 200
                took = time.monotonic() - began
            finally:
                nodes.resume()
            assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
            assert took < 30, f"it took {took:.0f} s to say so"
            published = await client.publish(raw)
        inbox = Inbox.open(tmp_path / "inbox")
        assert await receive(hub, api.url, keys[B], inbox, 2, seconds=60) == ["before", "while frozen"]
        async with hub.client(api.url, keys[A]) as client:
            assert (await client.publish(raw)).receipt == published.receipt
        await inbox.close()
    finally:
        hub.close()
