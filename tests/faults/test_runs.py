"""Real processes on a real broker, with faults: the hub keeps its promises; without one of its protections it is found out.

A longer run: `python -m tests.faults --seconds 600 --seed 7`.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import pytest

from tests.faults.mutants import MUTANTS
from tests.faults.run import Plan, Report, Run
from tests.faults.schedule import WEIGHTS, schedule
from tests.kafka.private import StartCluster

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("COMITY_TEST_FAULTS_SEED", "1"))


@pytest.fixture(autouse=True)
def without_complaints_of_clients(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is killed is what these runs are about; thousands of lines would say so."""
    for name in ("kafka", "aiokafka"):
        monkeypatch.setattr(logging.getLogger(name), "level", logging.CRITICAL + 1)
        logging.getLogger(name).manager._clear_cache()


def lived(plan: Plan, three_nodes: StartCluster, home: Path) -> Report:
    nodes = three_nodes(nodes=1)
    return asyncio.run(Run(plan, nodes, home).live())


def tell(plan: Plan, report: Report, home: Path) -> str:
    """What a failing run leaves to look at."""
    history = (home / "history.jsonl").read_text().splitlines()
    lines = [f"seed {plan.seed}; everything is in {home}", *report.wrong[:10], *history[:1], "…", *history[-30:]]
    return "\n".join(lines)


@pytest.mark.timeout(300)
def test_what_was_acknowledged_arrives_once_in_order_and_explained_whatever_fails(
    three_nodes: StartCluster, tmp_path: Path
) -> None:
    """Three routers that all want both shards, two notaries, every fault at least once."""
    plan = Plan(seconds=30, seed=SEED, look=5.0)
    report = lived(plan, three_nodes, tmp_path)
    assert not report.wrong, tell(plan, report, tmp_path)
    assert report.counts["looks"] >= 2
    assert min(report.counts[what] for what in ("notices", "accepted", "deliveries", "checkpoints")) > 20
    refusals = ("signature", "expired", "wrong-sender", "equivocation", "unknown-key", "key-revoked")
    assert not [reason for reason in refusals if not report.counts.get(f"refused: {reason}")]
    assert sum(1 for kind in WEIGHTS if report.counts.get(kind)) >= len(WEIGHTS) - 2, "time was short for two at most"


@pytest.mark.timeout(150)
@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_hub_without_one_of_its_protections_is_found_out(
    three_nodes: StartCluster, tmp_path: Path, mutant: str
) -> None:
    """Within seconds, by faults that aim at it."""
    kinds = MUTANTS[mutant][1]
    plan = Plan(seconds=40, seed=SEED, routers=2, notaries=0, look=2.0, kinds=kinds, mutant=mutant, quick=True)
    report = lived(plan, three_nodes, tmp_path)
    assert report.wrong, f"{mutant} broke no promise; {tmp_path}"
    assert not [text for text in report.wrong if "ended by itself" in text], "the mutant does not even run"


@pytest.mark.timeout(150)
def test_the_faults_that_aim_at_the_mutants_break_no_promise_of_the_hub(
    three_nodes: StartCluster, tmp_path: Path
) -> None:
    kinds = tuple(sorted({kind for _, aimed in MUTANTS.values() for kind in aimed}))
    plan = Plan(seconds=10, seed=SEED, routers=2, notaries=1, look=2.0, kinds=kinds)
    report = lived(plan, three_nodes, tmp_path)
    assert not report.wrong, tell(plan, report, tmp_path)


def test_a_seed_always_makes_the_same_schedule_with_every_kind_in_it() -> None:
    assert schedule(7, 30) == schedule(7, 30)
    assert schedule(7, 30) != schedule(8, 30)
    for seed in range(50):
        found = schedule(seed, 60)
        assert {fault.kind for fault in found} == WEIGHTS.keys()
        assert [fault.at for fault in found] == sorted(fault.at for fault in found)
