"""Fixtures and hooks that tests/conftest.py takes in: which tests need Kafka, and what happens where it is not."""

from __future__ import annotations

import os

import pytest

from tests.kafka import broker

NEEDS = frozenset({"kafka_bootstrap", "sealed_cluster", "three_nodes"})
NO_KAFKA = "no Kafka here: "


def need_kafka() -> None:
    """Skips the test where Kafka cannot run; fails it where COMITY_TEST_REQUIRE_KAFKA says that it must."""
    reason = broker.why_not()
    if reason is None:
        return
    if os.environ.get("COMITY_TEST_REQUIRE_KAFKA") == "1":
        pytest.fail(f"COMITY_TEST_REQUIRE_KAFKA is set, but {NO_KAFKA}{reason}", pytrace=False)
    pytest.skip(NO_KAFKA + reason)


def mark(items: list[pytest.Item]) -> None:
    """What uses a fixture of ours needs Kafka, whether its author said so or not."""
    for item in items:
        if NEEDS & set(getattr(item, "fixturenames", ())):
            item.add_marker("kafka")


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
