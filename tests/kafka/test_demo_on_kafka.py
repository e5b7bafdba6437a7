"""The demo, played on a cluster of its own."""

from __future__ import annotations

import json
import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.kafka.private import StartCluster
from tests.kafka.processes import COMITY


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_demo_ends_as_it_must_with_its_partners_natively_on_kafka(
    three_nodes: StartCluster, tmp_path: Path
) -> None:
    nodes = three_nodes(nodes=1)
    place = tmp_path / "demo"
    played = subprocess.run(
        [COMITY, "demo", "--kafka", f"kafka://{nodes.bootstrap}", "--dir", place, "-o", "json"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert played.returncode == 0, played.stderr[-2000:]
    result = json.loads(played.stdout)
    assert (result["good"], result["notices"], result["deliveries"], result["undelivered"]) == (True, 44, 46, 8)
    assert result["ledger"]["holds"]
    with sqlite3.connect(place / "journals" / "us-cisa.db") as journal:
        places = [row[0] for row in journal.execute("SELECT location FROM journal")]
    assert places and all(place.startswith("kafka:comity.notices.us-cisa/0/") for place in places)
    assert not (place / "data" / "comity.db").exists(), "nothing is in a file of the embedded log"
