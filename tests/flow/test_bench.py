"""The benchmark end to end, too small for its numbers to mean anything: every number is there, nothing is left behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub import bench
from hub.bench import partners, serving
from hub.bench.serving import BenchError, Load

RATES = {"verify_per_s", "routed_per_s", "accept_per_s", "empty_post_per_s", "tree_append_per_s"}
RATIOS = {"routed_to_verify", "accept_to_empty", "decide_ratio"}
COSTS = {"decide_us_10", "decide_us_10k", "proof_ms_1m", "bytes_per_notice"}


@pytest.mark.slow
def test_one_run_gives_every_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COMITY_MAX_PENDING", "1")  # what the environment says must not bend the numbers
    lines: list[str] = []
    found = bench.run(lines.append, bench.SMALL)
    assert found.keys() == RATES | RATIOS | COSTS | {"ack_to_delivery_ms"}
    assert all(found[name] > 0 for name in RATES | RATIOS | COSTS)
    # Ratios are taken before rounding: they agree with the rounded numbers to a percent.
    assert found["accept_to_empty"] == pytest.approx(found["accept_per_s"] / found["empty_post_per_s"], rel=0.02)
    assert found["routed_to_verify"] == pytest.approx(found["routed_per_s"] / found["verify_per_s"], rel=0.02)
    assert found["bytes_per_notice"] > 4 * 1_600  # the notice and three deliveries of it
    assert 0 <= found["ack_to_delivery_ms"]["p50"] <= found["ack_to_delivery_ms"]["p99"] < 10_000
    assert {name for name in found if not any(line.startswith(f"{name} = ") for line in lines)} == set()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    directory = tmp_path / "hub"
    directory.mkdir()
    (directory / "data").write_text("a file where the data directory would be")
    with pytest.raises(BenchError, match=r"the server did not start: server: .*data"):
        serving.measure(directory, Load(1, 1, 0.1, 0.1), lambda line: None)


def test_notices_are_as_large_as_is_said() -> None:
    [(_, _, raw)] = partners.notices(1)
    assert 1_500 < len(raw) < 1_800
