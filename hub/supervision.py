"""Running a hub's parts: those that are this process's to run, again after a fault, and stopping them.

A part that fails is logged, discards its claim, and is started again after a pause: whatever it had committed stands,
and what it had not is done again. One fault is final: evidence that does not verify. That part stays down and says so,
for a restart would not mend it.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from hub.core.errors import VerificationFailed
from hub.lease import Leases
from hub.log import Fenced
from hub.router import ShardMoved
from hub.telemetry import Metrics

FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before a failed part is started again
CALM = 30.0  # seconds of good running after which a fault counts as the first again
LEAST_REST = 0.2  # seconds before a part tries again that another process has taken over
LOOK = 0.1  # seconds between looks at whose turn it is

logger = structlog.get_logger(__name__)
Run = Callable[[], Coroutine[Any, Any, None]]


class Part(Protocol):
    """What runs in a hub. `step` handles one batch (0: nothing to do); `close` gives the claim back."""

    async def run(self) -> None: ...
    async def step(self, wait: float = 0.0) -> int: ...
    async def close(self) -> None: ...


@dataclass(slots=True)
class PartHealth:
    """`state`: running, standby, restarting or failed; `fault`: the kind of the last error, never its text."""

    state: str = "running"
    restarts: int = 0
    fault: str | None = None

    @property
    def good(self) -> bool:
        return self.state in ("running", "standby")


class Supervisor:
    """`leases`: who else might run a part; None when this process runs all of them."""

    def __init__(self, metrics: Metrics, leases: Leases | None) -> None:
        self.states: dict[str, PartHealth] = {}
        self._metrics, self._leases = metrics, leases
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, runs: Mapping[str, Run], *, always: Collection[str] = ()) -> None:
        """Run these from now on; `always`: those that every process runs."""
        for name, run in runs.items():
            self.states[name] = PartHealth()
            leases = None if name in always else self._leases
            self._tasks[name] = asyncio.create_task(self._keep_running(name, run, leases), name=name)

    async def stop(self, names: Collection[str] | None = None) -> None:
        """Stop these, or all."""
        gone = [self._tasks.pop(name) for name in list(self._tasks if names is None else names) if name in self._tasks]
        await end(gone)
        for name in names or ():
            self.states.pop(name, None)

    async def _keep_running(self, name: str, run: Run, leases: Leases | None) -> None:
        state = self.states[name]
        pause = FIRST_PAUSE
        while True:
            if leases is not None and not leases.holds(name):
                state.state = "standby"
                await asyncio.sleep(LOOK)
                continue
            state.state, began = "running", time.monotonic()
            try:
                await _while_held(name, run, leases)
                continue
            except VerificationFailed as error:
                state.state, state.fault = "failed", type(error).__name__
                logger.critical("part stopped: evidence does not verify", part=name, fault=str(error))
                return
            except (Fenced, ShardMoved) as error:
                # Another process took it over: an event, not a fault.
                state.fault, pause = type(error).__name__, LEAST_REST
                logger.info("part gave way", part=name, to=state.fault)
            except Exception as error:
                state.state, state.fault = "restarting", type(error).__name__
                state.restarts += 1
                self._metrics.restarts.labels(name).inc()
                pause = FIRST_PAUSE if time.monotonic() - began > CALM else min(2 * pause, LONGEST_PAUSE)
                # The error's text may quote a message; its type and place do not.
                logger.error("part failed; starts again", part=name, fault=state.fault, at=place(error), pause=pause)
            await asyncio.sleep(pause)


async def _while_held(name: str, run: Run, leases: Leases | None) -> None:
    """Run until it fails, or until it is somebody else's."""
    task = asyncio.create_task(run(), name=f"{name}-run")
    try:
        while not task.done():
            await asyncio.wait({task}, timeout=None if leases is None else LOOK)
            if leases is not None and not leases.holds(name):
                return
        task.result()
    finally:
        await end([task])


async def end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel until they are over: a library between may swallow a cancellation, and the stop must not hang on that."""
    running = {task for task in tasks if not task.done()}
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=1.0)


def place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
