"""The real Kafka that a test session uses: one broker for all workers, started by whoever needs it first.

`COMITY_TEST_KAFKA=host:port` names one that runs already. Otherwise deploy/kafka/broker starts a plaintext node on free
ports, watched by a guard: it ends with the session, also when that is killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BROKER = ROOT / "deploy" / "kafka" / "broker"
# Set by tests/conftest.py before the workers start, so that all of them find the same place.
SESSION = "COMITY_TEST_SESSION"


class NoKafkaError(Exception):
    """Kafka tests cannot run here; the message says why."""


def command(*words: str | Path | int) -> str:
    """Runs deploy/kafka/broker; its answer. NoKafkaError with its complaint."""
    ran = subprocess.run([sys.executable, BROKER, *map(str, words)], capture_output=True, text=True)
    if ran.returncode:
        raise NoKafkaError(ran.stderr.strip().removeprefix("broker: ") or f"broker ended with {ran.returncode}")
    return ran.stdout.strip()


def owner() -> int:
    """The process that the session is: pytest itself, or what distributes to its workers."""
    return int(os.environ.get(SESSION, os.getpid()))


def place_of(session: int) -> Path:
    """Where a session keeps its broker and what was found out; it and its guard remove it."""
    return Path(tempfile.gettempdir()) / f"comity-tests-{os.getuid()}-{session}"


def place() -> Path:
    return place_of(owner())


@contextmanager
def _alone() -> Iterator[Path]:
    place().mkdir(mode=0o700, exist_ok=True)
    with (place() / "session.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield place()


def _once(name: str, *words: str | Path | int) -> str:
    """The answer of a command that is run once in a session, its complaint included."""
    with _alone() as folder:
        answer, complaint = folder / name, folder / f"{name}.complaint"
        if complaint.exists():
            raise NoKafkaError(complaint.read_text(encoding="utf-8"))
        if not answer.exists():
            try:
                answer.write_text(command(*words), encoding="utf-8")
            except NoKafkaError as fault:
                complaint.write_text(str(fault), encoding="utf-8")
                raise
        return answer.read_text(encoding="utf-8")


@cache
def why_not_here() -> str | None:
    """Why no broker can be started here: no Java, no Maven, no download. None when one can."""
    try:
        _once("fetch", "fetch")
    except NoKafkaError as reason:
        return str(reason)
    return None


def why_not() -> str | None:
    """Why Kafka tests cannot run here. None when they can, with a broker of ours or the one that is named."""
    return None if os.environ.get("COMITY_TEST_KAFKA") else why_not_here()


@cache
def bootstrap() -> str:
    """`host:port[,host:port]` of this session's plaintext broker. NoKafkaError."""
    given = os.environ.get("COMITY_TEST_KAFKA")
    if given:
        return given.removeprefix("kafka://")
    return _once("start", "start", "--dir", place(), "--port", 0, "--watch", owner())


def begin_session() -> None:
    """For the owner, before its workers start."""
    os.environ[SESSION] = str(os.getpid())
    end_session()  # of one that was killed, and had the number that is ours now


def end_session() -> None:
    """For the owner, when all workers have ended."""
    if place().exists():
        command("wipe", "--dir", place())
        shutil.rmtree(place(), ignore_errors=True)


def processes_of(home: Path) -> list[int]:
    """The Java processes that keep their data under a folder. Linux."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue  # it has ended
        if b"kafka.Kafka" in words and any(word.startswith(str(home).encode() + b"/") for word in words):
            found.append(int(entry.name))
    return found
