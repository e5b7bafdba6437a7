"""The composition root: the only place that builds a hub out of its parts, runs them, and stops them in order.

A part that fails is logged, discards its claim, and is started again after a pause: whatever it had committed stands,
and what it had not is done again. One fault is final: evidence that does not verify. That part stays down and says so
in `health`, for a restart would not mend it.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from hub.clock import Clock
from hub.config import Settings
from hub.core.checkpoint import Signer
from hub.core.errors import VerificationFailed
from hub.datadir import DataDir, DataDirError, read_key
from hub.follow import REGISTRY
from hub.index import CHECKPOINTS, LEDGER, REQUESTS, Index, Lag
from hub.log import Log, Shard
from hub.log.embedded import EmbeddedLog
from hub.notary import Notary
from hub.registry import HUB_KID, RegistryProcess
from hub.router import NOTICES, Router
from hub.telemetry import Metrics

ALL_PARTS = ("registry", "router", "notary")
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds before a failed part is started again
CALM = 30.0  # seconds of good running after which a fault counts as the first again

logger = structlog.get_logger(__name__)


class Part(Protocol):
    """What runs in a hub. `step` handles one batch (0: nothing to do); `close` gives the claim back."""

    async def run(self) -> None: ...
    async def step(self, wait: float = 0.0) -> int: ...
    async def close(self) -> None: ...


@dataclass(slots=True)
class PartHealth:
    """`state`: running, restarting or failed; `fault`: the kind of the last error, never its text."""

    state: str = "running"
    restarts: int = 0
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """`checkpoint_lag_ms`: age of the oldest entry that no checkpoint covers, 0 when there is none."""

    ready: bool
    parts: dict[str, PartHealth]
    lag: Lag
    checkpoint_lag_ms: int
    clock_behind_ms: int


@dataclass(slots=True)
class Hub:
    """A running hub. Made by `Hub.open` only."""

    settings: Settings
    origin: str
    directory: DataDir
    log: Log
    clock: Clock
    index: Index
    metrics: Metrics
    hub_key: Ed25519PrivateKey
    operator_key: Ed25519PrivateKey
    parts: dict[str, Part]
    draining: bool = False
    _states: dict[str, PartHealth] = field(default_factory=dict)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, settings: Settings, parts: Collection[str] = ALL_PARTS) -> AsyncIterator[Hub]:
        """Start a hub on the data directory of `settings`, founding it on first use; stop it on exit.

        DataDirError when another hub holds the directory or its keys are gone; VerificationFailed when the ledger is
        not the one that was signed.
        """
        async with contextlib.AsyncExitStack() as stack:
            directory = DataDir(settings.data_dir)
            directory.lock()
            stack.callback(directory.unlock)
            hub = await _build(settings, directory, parts, stack)
            await hub._start()
            runs = {name: part.run for name, part in hub.parts.items()} | {"index": hub.index.run}
            hub._states.update((name, PartHealth()) for name in runs)
            tasks = [asyncio.create_task(hub._keep_running(name, run), name=name) for name, run in runs.items()]
            try:
                yield hub
            finally:
                hub.draining = True
                await _end(tasks)
                await hub._drain()

    @property
    def signer(self) -> Signer:
        """Signs checkpoints; its verifier key is in `hub.vkey`."""
        return Signer(self.origin, self.hub_key)

    async def health(self) -> Health:
        """Whether the hub does its work. Not ready while draining or while a part is down."""
        lag = await self.index.lag()
        ready = not self.draining and all(state.state == "running" for state in self._states.values())
        age = 0 if lag.uncovered_since is None else max(0, self.clock() - lag.uncovered_since)
        return Health(ready, dict(self._states), lag, age, self.clock.behind())

    async def exposition(self) -> bytes:
        """The metrics, in Prometheus text format."""
        health = await self.health()
        self.metrics.index_lag.set(health.lag.unindexed)
        self.metrics.uncovered.set(health.lag.uncovered)
        self.metrics.uncovered_age.set(health.checkpoint_lag_ms / 1000)
        self.metrics.data_size.set(await asyncio.to_thread(self.directory.size))
        for name, state in health.parts.items():
            self.metrics.part_up.labels(name).set(state.state == "running")
        return self.metrics.exposition()

    async def _start(self) -> None:
        """What must hold before anything runs: founded, with these keys, and the ledger is the one that was signed."""
        registry, notary = self.parts.get("registry"), self.parts.get("notary")
        await self.index.catch_up()
        # Before anything is dated: on a machine whose clock is behind, time goes on from where the ledger stopped.
        last = await self.index.entry(self.index.size - 1) if self.index.size else None
        self.clock.raise_floor(last.leaf["at"] if last else 0)
        if isinstance(registry, RegistryProcess):
            await registry.found(self.origin, self.operator_key)
        if isinstance(notary, Notary):
            await notary.start()
        await self.index.catch_up()
        self.directory.keep_vkey(self.signer.verifier.vkey())

    async def _keep_running(self, name: str, run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        state = self._states.setdefault(name, PartHealth())
        pause = FIRST_PAUSE
        while True:
            began = time.monotonic()
            try:
                await run()
            except VerificationFailed as error:
                state.state, state.fault = "failed", type(error).__name__
                logger.critical("part stopped: evidence does not verify", part=name, fault=str(error))
                return
            except Exception as error:
                state.state, state.fault = "restarting", type(error).__name__
                state.restarts += 1
                self.metrics.restarts.labels(name).inc()
                pause = FIRST_PAUSE if time.monotonic() - began > CALM else min(2 * pause, LONGEST_PAUSE)
                # The error's text may quote a message; its type and place do not.
                logger.error("part failed; starts again", part=name, fault=state.fault, at=_place(error), pause=pause)
            await asyncio.sleep(pause)
            state.state = "running"

    async def _drain(self) -> None:
        """Finish what was taken in: judge it, record it, sign it; then give the claims back."""
        healthy = {name: part for name, part in self.parts.items() if self._states[name].state != "failed"}
        try:
            async with asyncio.timeout(self.settings.drain_seconds):
                for part in healthy.values():  # registry, routers, notary: each works on what the one before it wrote
                    while await part.step():
                        pass
                if len(healthy) == len(self.parts):
                    await self.index.catch_up()
        except TimeoutError:
            logger.warning("not all was routed before the time to drain ended; the rest is on disk for the next start")
        except Exception as error:
            logger.error("drain failed; the rest is on disk for the next start", fault=type(error).__name__)
        for name, part in self.parts.items():
            try:
                await part.close()
            except Exception as error:
                logger.error("claim not given back", part=name, fault=type(error).__name__)


async def _build(
    settings: Settings, directory: DataDir, parts: Collection[str], stack: contextlib.AsyncExitStack
) -> Hub:
    if unknown := set(parts) - set(ALL_PARTS):
        raise ValueError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(ALL_PARTS)}")
    explicit = settings.model_fields_set
    origin = directory.fixed("origin", settings.origin, explicit="origin" in explicit)
    shards = int(directory.fixed("shards", str(settings.shards), explicit="shards" in explicit))
    log = EmbeddedLog.open(directory.log)
    stack.push_async_callback(log.close)
    await log.create(REQUESTS, REGISTRY, LEDGER, CHECKPOINTS)
    metrics = Metrics()

    def count(entries: Counter[tuple[str, str]], deliveries: int) -> None:
        for (kind, outcome), number in entries.items():
            metrics.entries.labels(kind, outcome).inc(number)
        metrics.deliveries.inc(deliveries)

    index = Index(directory.index, log, count)
    stack.callback(index.close)
    keys = await _keys(settings, directory, index)
    clock, gate = Clock(), asyncio.Lock()
    grace = 0 if set(parts) == set(ALL_PARTS) and "grace_ms" not in explicit else settings.grace_ms
    made: dict[str, Part] = {}
    if "registry" in parts:
        made["registry"] = RegistryProcess(log, keys["hub"], clock, grace_ms=grace, gate=gate)
    if "router" in parts:
        for number in range(shards):
            shard = Shard(f"router-{number}", prefix=NOTICES, index=number, count=shards)
            made[shard.name] = Router(log, shard, clock, gate=gate, limit=settings.batch_limit)
    if "notary" in parts:
        made["notary"] = Notary(log, Signer(origin, keys["hub"]), interval_ms=settings.checkpoint_interval_ms)
    return Hub(settings, origin, directory, log, clock, index, metrics, keys["hub"], keys["operator"], made)


async def _keys(settings: Settings, directory: DataDir, index: Index) -> dict[str, Ed25519PrivateKey]:
    """The hub's and the operator's keys: from the settings, from their files, or new ones for a hub not yet founded."""
    await index.catch_up()
    registered = index.registry.keys.get(HUB_KID)
    keys: dict[str, Ed25519PrivateKey] = {}
    for name, given in (("hub", settings.hub_key), ("operator", settings.operator_key)):
        key = _given(given, f"COMITY_{name.upper()}_KEY") or directory.key(name)
        if key is None and registered is not None:
            where = f"{directory.path}/keys/{name}.pem"
            raise DataDirError(f"{where} is missing, and this hub was founded with it: restore it from your backup")
        if key is None:
            key = Ed25519PrivateKey.generate()
            directory.keep_key(name, key)
        keys[name] = key
    if registered is not None and registered.public != keys["hub"].public_key().public_bytes_raw():
        raise DataDirError(f"the hub key is not the one that {directory.path} was founded with: restore keys/hub.pem")
    return keys


async def _end(tasks: Collection[asyncio.Task[None]]) -> None:
    """Cancel until they are over: a library between may swallow a cancellation, and the stop must not hang on that."""
    running = set(tasks)
    while running:
        for task in running:
            task.cancel()
        _, running = await asyncio.wait(running, timeout=1.0)


def _given(secret: SecretStr | None, variable: str) -> Ed25519PrivateKey | None:
    return None if secret is None else read_key(secret.get_secret_value().encode(), variable)


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{frames[-1].filename}:{frames[-1].lineno}" if frames else "?"
