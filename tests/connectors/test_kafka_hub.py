"""Two partners on Kafka and the real hub between them: written, judged, delivered, acknowledged, on record."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from connectors import Inbox, PartnerKey
from connectors.kafka import KafkaClient
from connectors.notices import SignedNotice
from tests.connectors.kafka_world import signed
from tests.kafka.private import StartCluster
from tests.kafka.processes import Processes

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]
AGREEMENT = {
    "id": "pact", "version": 1, "title": "Test agreement", "parties": ["jp-meti", "us-cisa"],
    "in_force": {"from": "2020-01-01T00:00:00Z", "until": "2090-01-01T00:00:00Z"},
    "clauses": [{"id": "c1", "from": ["us-cisa"], "to": ["jp-meti"], "areas": ["security"], "types": [],
                 "ceiling": "TLP:AMBER", "when": [], "withhold": ["source_detail"]}],
}  # fmt: skip


async def test_what_one_writes_the_hub_judges_once_and_the_other_reads(
    three_nodes: StartCluster, tmp_path: Path
) -> None:
    (tmp_path / "hub").mkdir()
    cluster = three_nodes(nodes=1)
    hub = Processes(tmp_path / "hub", f"kafka://{cluster.bootstrap}")
    try:
        api, *_ = await hub.start("api", "registry", "router", "notary")
        keys = await hub.enrol(api.url, "us-cisa", "jp-meti")
        await hub.agree(api.url, keys, AGREEMENT)
        address = f"kafka://{cluster.bootstrap}?api={api.url}"
        notices = [signed(keys["us-cisa"], f"s{n}") for n in range(20)]
        await publish_twice(address, keys["us-cisa"], notices)
        async with KafkaClient(address, keys["jp-meti"]) as client, Inbox.open(tmp_path / "inbox") as inbox:
            async with asyncio.timeout(60):
                while len(stored := await inbox.notices()) < len(notices):
                    await inbox.fetch(client, wait=1)
            await inbox.fetch(client, wait=2)  # and no more than these
            stored = await inbox.notices()
            assert sorted(each.notice.jti for each in stored) == sorted(each.jti for each in notices)
            assert [each.number for each in stored] == list(range(1, 21))
            assert all(each.gap is None and each.acknowledged for each in stored)
        async with hub.client(api.url, keys["us-cisa"]) as asking:
            for notice in notices:
                async with asyncio.timeout(30):
                    while not (status := await asking.status(notice.jti)).get("deliveries") or (
                        status["deliveries"][0]["acknowledged"] is None
                    ):
                        await asyncio.sleep(0.1)
                assert status["status"] == "accepted"
    finally:
        hub.close()


async def publish_twice(address: str, key: PartnerKey, notices: list[SignedNotice]) -> None:
    """As after a kill that hid from the journal what was written."""
    for _ in range(2):
        async with KafkaClient(address, key) as client:
            async for result in client.publish_many(notices):
                assert result.jti
