"""Java and Kafka's jars: what is missing is said, and a download is there as a whole or not at all."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.kafka.broker import BROKER

# Notes each call, waits, and leaves a jar where it was told to.
MAVEN = """#!/bin/sh
echo called >>"$NOTES"
sleep "${SLOW:-0}"
for word; do case $word in -DoutputDirectory=*) into=${word#*=} ;; esac; done
[ -z "${FAIL:-}" ] || { echo "[ERROR] $FAIL"; exit 1; }
mkdir -p "$into"
touch "$into/kafka_2.13-4.2.1.jar"
"""
JAVA = """#!/bin/sh
echo "openjdk version \\"${SAYS:-17.0.15}\\" 2025-04-15" >&2
"""


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """An environment with nothing in it but a java and a mvn of ours."""
    for name, text in {"mvn": MAVEN, "java": JAVA}.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    for tool in ("sh", "sleep", "mkdir", "touch"):
        (tmp_path / "bin" / tool).symlink_to(Path("/bin") / tool)
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "NOTES": str(tmp_path / "notes")}


def fetch(place: dict[str, str], **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, BROKER, "fetch"],
        env=place | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def complaint(place: dict[str, str], **environment: str) -> str:
    process = fetch(place, **environment)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 1
    return told.strip()


def cache(place: dict[str, str]) -> Path:
    return Path(place["HOME"], ".cache", "comity-kafka-4.2.1")


def test_many_at_once_download_once_and_all_get_the_same(place: dict[str, str]) -> None:
    began = [fetch(place, SLOW="0.5") for _ in range(4)]
    told = {process.communicate(timeout=30)[0].strip() for process in began}
    assert told == {str(cache(place))}
    assert Path(place["NOTES"]).read_text() == "called\n"
    assert [path.name for path in cache(place).iterdir()] == ["kafka_2.13-4.2.1.jar"]


def test_a_download_that_was_killed_leaves_nothing_that_passes_for_one(place: dict[str, str]) -> None:
    process = fetch(place, SLOW="30")
    begun = time.monotonic()
    while not Path(place["NOTES"]).exists():
        assert time.monotonic() - begun < 20
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not cache(place).exists()
    assert fetch(place).communicate(timeout=30)[0].strip() == str(cache(place))


def test_what_maven_says_is_passed_on(place: dict[str, str]) -> None:
    told = complaint(place, FAIL="Could not transfer artifact: no route to host")
    assert "Kafka 4.2.1 could not be downloaded" in told and "no route to host" in told
    assert not cache(place).exists()


def test_no_maven_is_said(place: dict[str, str]) -> None:
    Path(place["PATH"], "mvn").unlink()
    assert "there is no mvn on PATH" in complaint(place)


def test_with_the_jars_there_maven_is_not_needed(place: dict[str, str]) -> None:
    cache(place).mkdir(parents=True)
    Path(place["PATH"], "mvn").unlink()
    assert fetch(place).communicate(timeout=30)[0].strip() == str(cache(place))


@pytest.mark.parametrize(("says", "good"), [("11.0.2", False), ("1.8.0_292", False), ("17.0.15", True), ("21", True)])
def test_java_must_be_new_enough(place: dict[str, str], says: str, good: bool) -> None:
    if good:
        assert fetch(place, SAYS=says).communicate(timeout=30)[0].strip() == str(cache(place))
    else:
        assert says in complaint(place, SAYS=says)


def test_no_java_is_said(place: dict[str, str]) -> None:
    assert "there is no java in /nowhere/bin, which JAVA_HOME names" in complaint(place, JAVA_HOME="/nowhere")
    Path(place["PATH"], "java").unlink()
    assert "there is no java on PATH: install one, or set JAVA_HOME" in complaint(place)
