"""Alerts, metrics and the runbook tell of the same things."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from hub.telemetry import Metrics

ROOT = Path(__file__).resolve().parents[2]
RULES = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
RUNBOOK = (ROOT / "docs" / "guides" / "runbook.md").read_text(encoding="utf-8")


def names() -> set[str]:
    """Every sample name that a process can expose, counters and histograms with their endings."""
    found = set()
    for family in Metrics().registry.collect():
        endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        found |= {family.name + ending for ending in endings}
    return found


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_an_alert_asks_for_metrics_that_exist_and_has_its_page(rule: dict[str, object]) -> None:
    asked = set(re.findall(r"comity_[a-z_]+", str(rule["expr"])))
    assert asked and asked <= names()
    assert f"\n## {rule['alert']}\n" in RUNBOOK
    assert str(rule["annotations"]["runbook"]) == f"docs/guides/runbook.md#{str(rule['alert']).lower()}"  # type: ignore[index]


def test_the_runbook_names_only_metrics_that_exist() -> None:
    assert set(re.findall(r"comity_[a-z_]+", RUNBOOK)) <= names()
