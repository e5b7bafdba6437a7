"""A part of the benchmark in a process of its own: commands and answers are lines of JSON on its stdin and stdout."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import uvloop

Handler = Callable[..., Awaitable[Any]]
STOP_SECONDS = 20


class Process:
    """`python -m bench.<module>`, asked one thing at a time. `say` and `hear` apart, where several shall work at once."""

    def __init__(self, module: str, scratch: Path) -> None:
        self._module, self._errors = module, scratch / f"{module}-{time.monotonic_ns()}.err"
        settings = {name: value for name, value in os.environ.items() if not name.startswith("COMITY_")}
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"bench.{module}"], cwd=Path(__file__).parents[1], env=settings,
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True,
            )  # fmt: skip

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.stdin.close()  # type: ignore[union-attr]  it ends when there are no more commands
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]

    def ask(self, command: str, **given: Any) -> Any:
        self.say(command, **given)
        return self.hear()

    def say(self, command: str, **given: Any) -> None:
        self._process.stdin.write(json.dumps({"command": command} | given) + "\n")  # type: ignore[union-attr]
        self._process.stdin.flush()  # type: ignore[union-attr]

    def hear(self) -> Any:
        line = self._process.stdout.readline()  # type: ignore[union-attr]
        if not line:
            words = self._errors.read_text(errors="replace").strip()
            raise SystemExit(f"bench.{self._module} gave up:\n{words[-2_000:]}")
        return json.loads(line)


def serve(make: Callable[[str], Awaitable[dict[str, Handler]]]) -> None:
    """What such a process does: `make(address)` gives its handlers by command; it ends with its stdin.

    The first line is the address of the broker. On uvloop and with imports kept out of garbage collection, as the hub runs.
    """

    async def main() -> None:
        loop = asyncio.get_running_loop()
        address = json.loads(await loop.run_in_executor(None, sys.stdin.readline))["address"]
        handlers = await make(address)
        print(json.dumps(os.getpid()), flush=True)
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            given = json.loads(line)
            answer = await handlers[given.pop("command")](**given)
            print(json.dumps(answer), flush=True)
        if "close" in handlers:
            await handlers["close"]()

    gc.collect()
    gc.freeze()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


def start(module: str, scratch: Path, address: str) -> Process:
    process = Process(module, scratch)
    process.ask("open", address=address)
    return process


class Stopwatch:
    """`seconds` on the clock and `cpu` seconds of this process, user and system."""

    seconds = cpu = 0.0

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Stopwatch]:
        watch, began, used = cls(), time.perf_counter(), cpu_seconds()
        yield watch
        watch.seconds, watch.cpu = time.perf_counter() - began, cpu_seconds() - used

    def told(self) -> dict[str, float]:
        return {"seconds": self.seconds, "cpu": self.cpu}


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def rss_mb() -> float:
    """What of this process is in memory now. Linux."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6
