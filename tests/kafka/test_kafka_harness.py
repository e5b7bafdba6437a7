"""The session's broker answers, and is the same for everybody; where there is none, that cannot be overlooked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer

from tests.kafka import broker

HERE = "tests/kafka/test_kafka_harness.py"
LOUD = "KAFKA TESTS DID NOT RUN: "


async def test_the_sessions_broker_is_a_cluster_of_its_own(kafka_bootstrap: str) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka_bootstrap)
    await producer.start()
    try:
        assert len(producer.client.cluster.brokers()) >= 1
    finally:
        await producer.stop()


def test_everybody_is_told_the_same_broker(kafka_bootstrap: str) -> None:
    broker.bootstrap.cache_clear()
    assert broker.bootstrap() == kafka_bootstrap


def pytest_command(*words: str) -> list[str]:
    only = f"{HERE}::test_the_sessions_broker_is_a_cluster_of_its_own"
    return [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", only, *words]


def environment(**change: str) -> dict[str, str]:
    """As if pytest were started anew, outside of any session."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("COMITY_", "PYTEST_"))} | change


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["alone", "distributed"])
def test_without_kafka_a_test_is_skipped_and_one_line_says_why(workers: tuple[str, ...]) -> None:
    ran = subprocess.run(
        pytest_command(*workers), env=environment(JAVA_HOME="/nowhere"), cwd=broker.ROOT, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout
    lines = [line for line in ran.stdout.splitlines() if LOUD in line]
    assert len(lines) == 1 and "1 skipped, because Java 17 or newer is needed" in lines[0]


@pytest.mark.slow
def test_where_kafka_is_required_its_absence_is_a_failure() -> None:
    ran = subprocess.run(
        pytest_command(),
        env=environment(JAVA_HOME="/nowhere", COMITY_TEST_REQUIRE_KAFKA="1"),
        cwd=broker.ROOT,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 1
    assert "COMITY_TEST_REQUIRE_KAFKA is set, but no Kafka here: Java 17" in ran.stdout
    assert LOUD not in ran.stdout


WAITING = """
import time
from pathlib import Path
def test_waits(kafka_bootstrap):
    Path({told!r}).write_text(kafka_bootstrap)
    time.sleep(600)
"""


@pytest.mark.slow
@pytest.mark.kafka
def test_a_session_that_is_killed_leaves_no_broker(tmp_path: Path) -> None:
    """Its workers end by themselves; its guard ends the broker."""
    told = tmp_path / "told"
    (tmp_path / "test_waiting.py").write_text(WAITING.format(told=str(told)))
    words = ["-p", "no:cacheprovider", "-p", "tests.conftest", "-n", "1", "--rootdir", tmp_path, tmp_path]
    session = subprocess.Popen(
        [sys.executable, "-m", "pytest", *words],
        env=environment(PYTHONPATH=str(broker.ROOT)),
        cwd=broker.ROOT,
        stdout=subprocess.DEVNULL,
    )
    kept = broker.place_of(session.pid)
    wait_until(told.exists)
    assert broker.processes_of(kept)
    session.send_signal(signal.SIGKILL)
    session.wait()
    wait_until(lambda: not broker.processes_of(kept) and not kept.exists())


def wait_until(true: object, seconds: float = 60) -> None:
    assert callable(true)
    begun = time.monotonic()
    while not true():
        assert time.monotonic() - begun < seconds
        time.sleep(0.1)
