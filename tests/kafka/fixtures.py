"""Fixtures and hooks that tests/conftest.py takes in: which tests need Kafka, and what happens where it is not."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kafka import broker
from tests.kafka.private import Nodes, Sealed, StartCluster

PRIVATE = frozenset({"sealed_cluster", "three_nodes"})
NEEDS = PRIVATE | {"kafka_bootstrap"}
NO_KAFKA = "no Kafka here: "


def need_kafka(own: bool = False) -> None:
    """Skips the test where Kafka cannot run; fails it where COMITY_TEST_REQUIRE_KAFKA says that it must.

    own: the test starts a cluster of its own, and it does not help that COMITY_TEST_KAFKA names one.
    """
    reason = broker.why_not_here() if own else broker.why_not()
    if reason is None:
        return
    if os.environ.get("COMITY_TEST_REQUIRE_KAFKA") == "1":
        pytest.fail(f"COMITY_TEST_REQUIRE_KAFKA is set, but {NO_KAFKA}{reason}", pytrace=False)
    pytest.skip(NO_KAFKA + reason)


def mark(items: list[pytest.Item]) -> None:
    """What uses a fixture of ours needs Kafka, whether its author said so or not.

    One worker runs all tests with clusters of their own: two sets of brokers at once are more than two cores carry.
    """
    for item in items:
        wanted = NEEDS & set(getattr(item, "fixturenames", ()))
        if wanted:
            item.add_marker("kafka")
        if wanted & PRIVATE:
            item.add_marker(pytest.mark.xdist_group("private clusters"))


def summary(reporter: pytest.TerminalReporter) -> str | None:
    """One line, when tests were skipped for want of Kafka."""
    told = [
        str(report.longrepr[2]) for report in reporter.stats.get("skipped", []) if isinstance(report.longrepr, tuple)
    ]
    missed = [text.partition(NO_KAFKA)[2] for text in told if NO_KAFKA in text]
    if not missed:
        return None
    return f"KAFKA TESTS DID NOT RUN: {len(missed)} skipped, because {' '.join(missed[0].split())[:300]}"


@pytest.fixture(scope="session")
def kafka_bootstrap() -> str:
    """`host:port[,host:port]` of a plaintext broker that all tests of this session share."""
    need_kafka()
    return broker.bootstrap()


@pytest.fixture(scope="session")
def sealed_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sealed]:
    """A sealed node that the tests of this worker share: name topics and users so that no other test uses them."""
    need_kafka(own=True)
    home = tmp_path_factory.mktemp("sealed")
    try:
        yield Sealed.launch(home)
    finally:
        broker.command("wipe", "--dir", home)


@pytest.fixture
def three_nodes(tmp_path: Path) -> Iterator[StartCluster]:
    """Starts a cluster of this test's own: `three_nodes()`, or with nodes=1, mode, session_ms, reauth_ms."""
    need_kafka(own=True)
    started: list[Path] = []

    def start(**options: Any) -> Nodes:
        home = tmp_path / f"cluster-{len(started) + 1}"
        started.append(home)
        return Nodes.launch(home, **options)

    try:
        yield start
    finally:
        for home in started:
            broker.command("wipe", "--dir", home)
