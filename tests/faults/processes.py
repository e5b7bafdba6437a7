"""The processes of a run, and what is done to them."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient

from hub.log.topics import MESSAGE_LIMIT
from tests.faults import mutants
from tests.faults.schedule import BROKER, Fault
from tests.faults.story import AGENCIES, DELIVERIES
from tests.kafka.private import Nodes

ROOT = Path(__file__).resolve().parents[2]
LAST_WORDS = 40  # lines
SHRUNK = 700  # bytes: less than any delivery has
Tell = Callable[..., None]


class Processes:
    """Routers, notaries and registries by name. All are started and ended from the main thread: they die with it."""

    def __init__(self, nodes: Nodes, home: Path, mutant: str | None, tell: Tell) -> None:
        self._nodes, self._home, self._tell = nodes, home, tell
        self._environment = os.environ | ({mutants.VARIABLE: mutant} if mutant else {})
        self._names: set[str] = set()
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._passing: list[subprocess.Popen[bytes]] = []  # those that are to die by themselves
        self._logs: list[IO[bytes]] = []
        self._broker = asyncio.Lock()

    def start(self, name: str) -> None:
        self._names.add(name)
        self._running[name] = self._spawn(name.partition("-")[0], name)

    def _spawn(self, role: str, name: str) -> subprocess.Popen[bytes]:
        log = (self._home / f"{name}.log").open("ab")
        self._logs.append(log)
        words = [sys.executable, "-W", "ignore", "-m", "tests.faults.worker", role, f"kafka://{self._nodes.bootstrap}"]
        return subprocess.Popen(words, cwd=ROOT, env=self._environment, stdout=log, stderr=log)

    def ended(self) -> list[str]:
        """Those that ended without being told to, with the last lines that they said."""
        return [f"{name} ended by itself: {process.returncode}; {self._last_words(name)}"
                for name, process in self._running.items() if process.poll() is not None]  # fmt: skip

    def _last_words(self, name: str) -> str:
        log = self._home / f"{name}.log"
        return f"{log} ends with:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-LAST_WORDS:])

    def end(self) -> None:
        for process in [*self._running.values(), *self._passing]:
            process.kill()
            process.wait()
        for log in self._logs:
            log.close()

    async def inflict(self, fault: Fault) -> None:
        """Until it is over. Two that want the same process at the same time are one after the other, or one."""
        what, _, role = fault.kind.partition(" ")
        if role and role.split()[0] in ("router", "notary", "registry") and not self._of(role.split()[0]):
            return  # this run has none
        if fault.kind in BROKER:
            async with self._broker:
                node = fault.target % self._nodes.bootstrap.count(":") + 1
                self._tell("fault", kind=fault.kind, node=node, seconds=fault.seconds)
                await self._hit_broker(what, node, fault.seconds)
        elif fault.kind == "shrink":
            await self._shrink(AGENCIES[fault.target % len(AGENCIES)], fault.seconds)
        elif fault.kind == "abandon":
            self._tell("fault", kind=fault.kind)
            self._passing.append(self._spawn("abandon", "abandon"))
        else:
            names = self._of(role.split()[0])
            await self._hit(what, names[fault.target % len(names)], fault)

    def _of(self, role: str) -> list[str]:
        return sorted(name for name in self._names if name.startswith(role))

    async def _hit(self, what: str, name: str, fault: Fault) -> None:
        process = self._running.get(name)
        if process is None:
            return  # it was killed a moment ago, and is not there yet
        self._tell("fault", kind=fault.kind, name=name, seconds=fault.seconds)
        if what == "kill":
            del self._running[name]
            process.kill()
            process.wait()
            await asyncio.sleep(fault.seconds)
            self.start(name)
            return
        process.send_signal(signal.SIGSTOP)
        await asyncio.sleep(fault.seconds)
        process.send_signal(signal.SIGCONT)  # a process that was killed meanwhile does not mind

    async def _hit_broker(self, what: str, node: int, seconds: float) -> None:
        first, then = (
            (self._nodes.kill, self._nodes.start) if what == "kill" else (self._nodes.pause, self._nodes.resume)
        )
        await asyncio.to_thread(first, node)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(then, node)

    async def _shrink(self, agency: str, seconds: float) -> None:
        """A deliveries topic takes no delivery for a while, and then it does."""
        async with self._broker:  # which must be there to be told
            for size in (SHRUNK, MESSAGE_LIMIT):
                self._tell("fault", kind="shrink", agency=agency, size=size)
                await asyncio.to_thread(self._set_limit, DELIVERIES + agency, size)
                await asyncio.sleep(seconds if size == SHRUNK else 0)

    def _set_limit(self, topic: str, size: int) -> None:
        admin = KafkaAdminClient(bootstrap_servers=self._nodes.bootstrap)
        try:
            wanted = {"max.message.bytes": str(size)}
            admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, wanted)], incremental=True)
        finally:
            admin.close()


def names(**roles: int) -> list[str]:
    return [f"{role}-{n}" for role, count in roles.items() for n in range(count)]
