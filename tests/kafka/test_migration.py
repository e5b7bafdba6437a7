"""Moving a hub from its data directory to a cluster: nothing is lost, doubled or renumbered, and every proof still holds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from hub import layout
from hub.app import Hub
from hub.auditor import verify
from hub.config import Settings
from hub.core.checkpoint import Verifier
from hub.datadir import DataDirError
from hub.log import Record, Shard
from hub.log.embedded import EmbeddedLog
from hub.log.kafka import KafkaLog
from hub.migration import MigrationError, migrate, skip
from tests.flow.hubs import A, B, Partners, opened, settings_for, until
from tests.kafka.private import StartCluster
from tests.kafka.processes import COMITY
from tests.world import agreement, clause

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(180)]


def on_kafka(path: Path, address: str, **change: Any) -> Settings:
    return settings_for(path, kafka=address, grace_ms=0, **change)


async def used_hub(path: Path) -> tuple[str, bytes, int]:
    """A hub on the embedded log that has worked; a notice of its past (jti and bytes), and the size of its ledger."""
    async with opened(path, shards=2) as hub:
        partners = Partners(hub)
        await partners.enroll(A, B)
        await partners.publish(agreement("alpine", [A, B], [clause("c1", [A], [B], withhold=["source_detail"])]))
        for _ in range(5):
            jti, raw = await partners.send(A)
            assert (await partners.judged(A, jti)).status == "accepted"
        await hub.index.catch_up()
        return jti, raw, hub.index.size


async def test_a_moved_hub_goes_on_where_it_was(three_nodes: StartCluster, tmp_path: Path) -> None:
    """Ledger, proofs, memory and numbers are the same; the directory does not start as a hub any more."""
    jti, raw, size = await used_hub(tmp_path)
    kept = (tmp_path / "data" / "hub.vkey").read_text().strip()
    address = f"kafka://{three_nodes(nodes=1).bootstrap}"
    ran = subprocess.run(
        [COMITY, "migrate", "--kafka", address, "--dir", tmp_path / "data", "-o", "json"],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout)
    assert (told["ledger"], told["copied"]) == (size, told["records"])
    with pytest.raises(DataDirError, match="was moved to kafka://"):
        async with opened(tmp_path):
            pass
    async with Hub.open(on_kafka(tmp_path, address)) as hub:
        partners = Partners(hub)
        before = await partners.judged(A, jti)
        assert (before.status, hub.index.size) == ("accepted", size)
        await hub.log.append(f"comity.notices.{A}", Record(raw))  # the same bytes again are no news here either
        later, _ = await partners.send(A)
        found = await partners.judged(A, later)
        assert (found.entry.number, found.entry.sealed["deliveries"][0]["number"]) == (size, 6)

        async def covered() -> bool:
            await hub.index.catch_up()
            return hub.index.covered == size + 1

        await until(covered, 20)
        report = await verify(hub.log, Verifier.parse(kept))
        assert (report.holds, report.entries, report.pending) == (True, size + 1, 0), report.findings


async def test_an_interrupted_move_goes_on_and_a_foreign_cluster_is_refused(
    three_nodes: StartCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, _, size = await used_hub(tmp_path)
    address = f"kafka://{three_nodes(nodes=1).bootstrap}"
    append = KafkaLog.append_all

    async def failing(self: KafkaLog, topic: str, records: Sequence[Record]) -> list[int]:
        if topic != "comity.ledger":
            return await append(self, topic, records)
        await append(self, topic, records[: len(records) // 2 + 1])
        raise ZeroDivisionError("pulled the plug")

    with monkeypatch.context() as patch:
        patch.setattr("hub.migration.PAGE", 3)
        patch.setattr(KafkaLog, "append_all", failing)
        with pytest.raises(ZeroDivisionError):
            await migrate(on_kafka(tmp_path, address))
    assert not (tmp_path / "data" / "moved").exists()
    moved = await migrate(on_kafka(tmp_path, address))
    assert 0 < moved.copied < moved.records
    assert moved.ledger == size
    source, target = EmbeddedLog.open(tmp_path / "data" / "comity.db"), await KafkaLog.open(address)
    for topic in await source.topics():
        if topic != layout.LAYOUT:
            assert [(s.offset, s.record) for s in await target.read(topic)] == [
                (s.offset, s.record) for s in await source.read(topic)
            ]
    await source.close()
    await target.close()
    (tmp_path / "other").mkdir()
    await used_hub(tmp_path / "other")
    with pytest.raises(MigrationError, match=r"another hub|something else"):
        await migrate(on_kafka(tmp_path / "other", address))


async def test_lost_records_are_passed_over_only_when_told(three_nodes: StartCluster) -> None:
    """Retention took what was not routed: the shard stops and says so, until an operator passes over it."""
    log = await KafkaLog.open(f"kafka://{three_nodes(nodes=1).bootstrap}")
    topic = f"comity.notices.{A}"
    await log.create(topic, layout.LAYOUT)
    await layout.settle(log, 1, explicit=False)
    for n in range(6):
        await log.append(topic, Record(b"%d" % n))
    with pytest.raises(MigrationError, match="nothing is lost"):
        await skip(log, topic)
    await log._cluster.delete_before(topic, 4)
    shard: Shard = layout.shards(1)[0]
    with pytest.raises(Exception, match="0 to 3 were deleted before they were routed"):
        await (await log.claim(shard)).batch(wait=5)
    assert await skip(log, topic) == (0, 3)
    assert [s.record.value for s in await (await log.claim(shard)).batch(wait=5)] == [b"4", b"5"]
    with pytest.raises(MigrationError, match="no topic of notices"):
        await skip(log, "comity.ledger")
    await log.close()
