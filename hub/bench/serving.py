"""The whole hub under load: a server process, a client process, and this one only waits."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from hub.config import PREFIX
from hub.core.errors import ComityError

EMPTY = "/bench/empty"
STOP_SECONDS = 30


class BenchError(ComityError):
    """The server or the client of the benchmark failed; the message has its last words."""


@dataclass(frozen=True, slots=True)
class Load:
    """`rounds` of empty posts for `empty_s` seconds and `accepted` notices; then half load for `paced_s` seconds."""

    rounds: int
    accepted: int
    empty_s: float
    paced_s: float


def measure(directory: Path, load: Load, progress: Callable[[str], None]) -> dict[str, Any]:
    """What the client found; BenchError when it found nothing."""
    directory.mkdir(exist_ok=True)
    with _process("server", directory, str(directory / "data")) as server:
        url = _stdout(server).readline().strip()
        if not url:
            raise BenchError(f"the server did not start: {_last_words(directory, 'server')}")
        with _process("client", directory) as client:
            json.dump({"url": url, "load": asdict(load)}, _stdin(client))
            _stdin(client).close()
            for line in _stdout(client):
                said = json.loads(line)
                if "found" in said:
                    return dict(said["found"])
                progress(said["progress"])
        words = " / ".join(_last_words(directory, name) for name in ("client", "server"))
        raise BenchError(f"the client gave up: {words}")


@contextmanager
def _process(name: str, directory: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Our own module in its own interpreter, with the product's default settings; ended on exit."""
    environment = {name: value for name, value in os.environ.items() if not name.upper().startswith(PREFIX)}
    with (directory / f"{name}.err").open("w") as errors:
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", f"hub.bench.{name}", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment,
        )  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            _stdin(process).close()
            _stdout(process).close()


def _last_words(directory: Path, name: str) -> str:
    lines = (directory / f"{name}.err").read_text(errors="replace").strip().splitlines()
    return f"{name}: {lines[-1] if lines else 'no word'}"


def _stdin(process: subprocess.Popen[str]) -> IO[str]:
    if process.stdin is None:
        raise BenchError("the process was started without a pipe")
    return process.stdin


def _stdout(process: subprocess.Popen[str]) -> IO[str]:
    if process.stdout is None:
        raise BenchError("the process was started without a pipe")
    return process.stdout
