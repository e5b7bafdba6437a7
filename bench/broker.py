"""The one broker of a run: the one that COMITY_TEST_KAFKA names, or a private one that ends with this process."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BROKER = Path(__file__).resolve().parents[1] / "deploy" / "kafka" / "broker"


@contextmanager
def broker(named: str | None) -> Iterator[str]:
    """`host:port[,host:port]`. A private one leaves nothing behind, even when this process is killed."""
    if named:
        yield named.removeprefix("kafka://")
        return
    with tempfile.TemporaryDirectory(prefix="comity-bench-") as folder:
        home = str(Path(folder) / "kafka")
        try:
            started = _call("start", "--dir", home, "--port", "0", "--watch", str(os.getpid()))
            yield started.stdout.strip()
        finally:
            _call("wipe", "--dir", home)


def _call(*words: str) -> subprocess.CompletedProcess[str]:
    ran = subprocess.run([sys.executable, str(BROKER), *words], capture_output=True, text=True)
    if ran.returncode:
        raise SystemExit(f"no broker to measure with: {ran.stderr.strip()}")
    return ran
