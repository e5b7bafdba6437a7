"""Java, and Kafka's jars in a folder that all clusters of this user share."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
JAVA_AT_LEAST = 17
COPY = "org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies"


class AbsentError(Exception):
    """Something that Kafka needs is not here; the message says what, and what to do."""


def version() -> str:
    """Of Kafka: pom.xml is the one place that names it."""
    found = re.search(r"<kafka\.version>([^<]+)<", (HERE / "pom.xml").read_text(encoding="utf-8"))
    if not found:
        raise AbsentError(f"{HERE / 'pom.xml'} does not name kafka.version")
    return found[1]


def default_cache() -> Path:
    """In the user's cache; beside the sources where there is no home to write to."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
    try:
        caches.mkdir(parents=True, exist_ok=True)
        usable = os.access(caches, os.W_OK)
    except OSError:
        usable = False
    return (caches if usable else HERE.parent.parent / ".kafka" / "cache") / f"comity-kafka-{version()}"


def java() -> str:
    """The java to run, from JAVA_HOME or PATH, new enough for Kafka."""
    home = os.environ.get("JAVA_HOME")
    found = shutil.which("java", path=f"{home}/bin" if home else None)
    if not found:
        where = f"in {home}/bin, which JAVA_HOME names" if home else "on PATH: install one, or set JAVA_HOME"
        raise AbsentError(f"Java {JAVA_AT_LEAST} or newer is needed and there is no java {where}")
    told = subprocess.run([found, "-version"], capture_output=True, text=True).stderr
    major = re.search(r'version "(\d+)', told)
    if not major or int(major[1]) < JAVA_AT_LEAST:
        raise AbsentError(f"Java {JAVA_AT_LEAST} or newer is needed; {found} says: {told.strip()[:80]!r}")
    return found


def fetch(cache: Path) -> Path:
    """The folder with all jars. Downloaded once: elsewhere first, then moved as a whole, by one process at a time."""
    if cache.is_dir():
        return cache
    maven = shutil.which("mvn")
    if not maven:
        raise AbsentError(f"Maven downloads Kafka {version()} and there is no mvn on PATH: install it, or fill {cache}")
    cache.parent.mkdir(parents=True, exist_ok=True)
    with cache.with_name(cache.name + ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if cache.is_dir():  # another process was faster
            return cache
        with tempfile.TemporaryDirectory(dir=cache.parent, prefix=cache.name + ".part-") as part:
            _download(maven, Path(part, "jars"), cache.parent)
            Path(part, "jars").rename(cache)
    return cache


def _download(maven: str, target: Path, beside: Path) -> None:
    command = [
        maven,
        "-q",
        "-B",
        "--strict-checksums",
        "-f",
        str(HERE / "pom.xml"),
        COPY,
        f"-DoutputDirectory={target}",
    ]
    if not os.access(Path("~").expanduser(), os.W_OK):
        command.append(f"-Dmaven.repo.local={beside / 'maven'}")
    ran = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if ran.returncode or not list(target.glob("kafka_*.jar")):
        told = next((line for line in ran.stdout.splitlines() if "ERROR" in line), "no jar came")
        raise AbsentError(f"Kafka {version()} could not be downloaded by {maven}: {told[:300]}")
