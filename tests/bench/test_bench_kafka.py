"""The benchmark on Kafka end to end, too small for its numbers to mean anything: every number is there."""

from __future__ import annotations

import pytest

from bench import kafka
from tests.kafka.fixtures import need_kafka

RATES = {"plain_relay_per_s", "tuned_relay_per_s", "router_per_s", "cpu_us_per_notice"}
COSTS = {"plain_relay_cpu_us", "tuned_relay_cpu_us"}
RATIOS = {"router_to_relay", "router_to_tuned"}
ONCE = {"two_routers_to_one", "restore_s_1m", "rss_mb_1m", "restore_s_1m_router", "rss_mb_1m_router", "rss_mb_empty"}


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.xdist_group("private clusters")
@pytest.mark.timeout(240)
def test_one_run_gives_every_number() -> None:
    need_kafka(own=True)
    lines: list[str] = []
    found = kafka.run(lines.append, kafka.SMALL)
    each = RATES | COSTS | RATIOS
    assert found.keys() == each | ONCE | {"partitions", "ack_to_delivery_ms"}
    assert found["partitions"].keys() == {"1", "6"}
    for part in (found, *found["partitions"].values()):
        assert all(part[name] > 0 for name in each)
        assert part["router_to_relay"] == pytest.approx(part["router_per_s"] / part["plain_relay_per_s"], rel=0.02)
        assert part["router_to_tuned"] == pytest.approx(part["router_per_s"] / part["tuned_relay_per_s"], rel=0.02)
    assert {name: found[name] for name in each} == found["partitions"]["6"]
    assert all(found[name] > 0 for name in ONCE)
    assert 0 <= found["ack_to_delivery_ms"]["p50"] <= found["ack_to_delivery_ms"]["p99"] < 10_000
    assert all(name in kafka.table(found) for name in found.keys() - {"partitions"})
    assert any(line.startswith("ack_to_delivery_ms = ") for line in lines), "progress is told as it is found"
