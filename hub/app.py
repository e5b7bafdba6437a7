"""The composition root: the only place that builds a hub out of its parts, runs them, and stops them in order.

One process with everything on the embedded log is the default. On Kafka a hub is any number of processes: each offers some
of the parts, leases say which of them are its to run, and those that serve the API keep an index of their own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub import layout
from hub.clock import Clock
from hub.config import Settings
from hub.core.checkpoint import Signer
from hub.datadir import DataDir
from hub.follow import REGISTRY
from hub.founding import Keys, found_embedded, found_on_kafka
from hub.index import CHECKPOINTS, LEDGER, REQUESTS, Index, Lag
from hub.lease import Leases
from hub.log import Log
from hub.log.embedded import EmbeddedLog
from hub.metered import MeteredLog
from hub.notary import Notary
from hub.registry import RegistryProcess
from hub.router import Router
from hub.supervision import Part, PartHealth, Supervisor
from hub.telemetry import Metrics

ALL_PARTS = ("registry", "router", "notary")
LAYOUT_PAUSE = 5.0  # seconds before another look after a fault

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Health:
    """`checkpoint_lag_ms`: age of the oldest entry that no checkpoint covers, 0 when there is none, or no index."""

    ready: bool
    parts: dict[str, PartHealth]
    lag: Lag
    checkpoint_lag_ms: int
    clock_behind_ms: int


class Hub:
    """A running hub process. Made by `Hub.open` only."""

    def __init__(self, settings: Settings, directory: DataDir, log: MeteredLog, metrics: Metrics, keys: Keys) -> None:
        self.settings, self.directory, self.log, self.metrics = settings, directory, log, metrics
        self.origin, self._keys = keys.origin, keys
        self.shared = settings.kafka is not None  # other processes may serve the same hub
        self.clock = Clock()
        self.parts: dict[str, Part] = {}
        self.draining = False
        self._index: Index | None = None
        self._gate = asyncio.Lock()
        self.leases: Leases | None = None
        self._supervisor: Supervisor

    @classmethod
    @contextlib.asynccontextmanager
    async def open(
        cls, settings: Settings, parts: Collection[str] = ALL_PARTS, *, index: bool = True
    ) -> AsyncIterator[Hub]:
        """Start a hub process with these parts, founding the hub on first use; stop it on exit. `index`: for an API.

        DataDirError when another process holds the data directory or keys are gone; VerificationFailed when the ledger is
        not the one that was signed; Unavailable when no log can be reached.
        """
        if unknown := set(parts) - set(ALL_PARTS):
            raise ValueError(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(ALL_PARTS)}")
        async with contextlib.AsyncExitStack() as stack:
            directory = DataDir(settings.data_dir)
            directory.lock()
            stack.callback(directory.unlock)
            metrics = Metrics()
            log = MeteredLog(await open_log(settings, directory), metrics)
            stack.push_async_callback(log.close)
            await log.create(REQUESTS, REGISTRY, LEDGER, CHECKPOINTS, layout.LAYOUT)
            found = found_embedded if settings.kafka is None else found_on_kafka
            hub = cls(settings, directory, log, metrics, await found(settings, directory, log, parts))
            if index:
                hub._index = hub._make_index()
                stack.callback(hub._index.close)
            await hub._build(parts)
            await hub._start()
            try:
                yield hub
            finally:
                await hub._stop()

    @property
    def index(self) -> Index:
        if self._index is None:
            raise RuntimeError("this process keeps no index: it serves no API")
        return self._index

    @property
    def hub_key(self) -> Ed25519PrivateKey:
        return self._keys.need("hub")

    @property
    def operator_key(self) -> Ed25519PrivateKey:
        return self._keys.need("operator")

    @property
    def signer(self) -> Signer:
        """Signs checkpoints; its verifier key is in `hub.vkey`."""
        return Signer(self.origin, self.hub_key)

    async def health(self) -> Health:
        """Whether the process does its work. Not ready while draining or while a part is down."""
        lag = Lag(0, 0, None) if self._index is None else await self._index.lag()
        states = dict(self._supervisor.states)
        ready = not self.draining and all(state.good for state in states.values())
        age = 0 if lag.uncovered_since is None else max(0, self.clock() - lag.uncovered_since)
        return Health(ready, states, lag, age, self.clock.behind())

    async def exposition(self) -> bytes:
        """The metrics, in Prometheus text format."""
        health = await self.health()
        self.metrics.index_lag.set(health.lag.unindexed)
        self.metrics.uncovered.set(health.lag.uncovered)
        self.metrics.uncovered_age.set(health.checkpoint_lag_ms / 1000)
        self.metrics.data_size.set(await asyncio.to_thread(self.directory.size))
        for name, state in health.parts.items():
            self.metrics.part_up.labels(name).set(state.good)
        self.log.look()
        return self.metrics.exposition()

    def _make_index(self) -> Index:
        def count(entries: Counter[tuple[str, str]], deliveries: int) -> None:
            for (kind, outcome), number in entries.items():
                self.metrics.entries.labels(kind, outcome).inc(number)
            self.metrics.deliveries.inc(deliveries)

        return Index(self.directory.index, self.log, count)

    async def _build(self, parts: Collection[str]) -> None:
        settings, explicit = self.settings, self.settings.model_fields_set
        # Where one process does all, the gate does what the grace does elsewhere.
        alone = not self.shared and set(parts) == set(ALL_PARTS) and "grace_ms" not in explicit
        if "registry" in parts:
            grace = 0 if alone else settings.grace_ms
            self.parts["registry"] = RegistryProcess(
                self.log, self.hub_key, self.clock, grace_ms=grace, gate=self._gate
            )
        if "router" in parts:
            count = await layout.settle(self.log, settings.shards, explicit="shards" in explicit and not self.shared)
            self.parts |= self._routers(count)
        if "notary" in parts:
            self.parts["notary"] = Notary(self.log, self.signer, interval_ms=settings.checkpoint_interval_ms)
        if self.shared:
            self.leases = Leases(self.log, parts, lambda: list(self.parts), life=settings.lease_seconds)
        self._supervisor = Supervisor(self.metrics, self.leases)

    def _routers(self, count: int) -> dict[str, Part]:
        return {
            shard.name: Router(self.log, shard, self.clock, gate=self._gate, limit=self.settings.batch_limit)
            for shard in layout.shards(count)
        }

    async def _start(self) -> None:
        if self._index is not None:
            await self._index.catch_up()
            # Before anything is dated: on a machine whose clock is behind, time goes on from where the ledger stopped.
            last = await self._index.entry(self._index.size - 1) if self._index.size else None
            self.clock.raise_floor(last.leaf["at"] if last else 0)
        registry, notary = self.parts.get("registry"), self.parts.get("notary")
        if not self.shared:
            # The ledger is the one that was signed, or nothing runs.
            if isinstance(registry, RegistryProcess):
                await registry.found(self.origin, self.operator_key)
            if isinstance(notary, Notary):
                await notary.start()
        if self._index is not None:
            await self._index.catch_up()
        if self._keys.hub is not None:
            self.directory.keep_vkey(self.signer.verifier.vkey())
        self._supervisor.start({name: part.run for name, part in self.parts.items()})
        followers = {"index": self._index.run} if self._index is not None else {}
        if self.leases is not None:
            followers |= {"leases": self.leases.run}
            if any(isinstance(part, Router) for part in self.parts.values()):
                followers |= {"layout": self._follow_layout}
        self._supervisor.start(followers, always=followers)

    async def _follow_layout(self) -> None:
        """Take up the shards of a new layout as soon as it is said."""
        while True:
            end = await self.log.end(layout.LAYOUT)
            count = await layout.current(self.log)
            wanted = [shard.name for shard in layout.shards(count or 1)]
            running = {name: part for name, part in self.parts.items() if isinstance(part, Router)}
            if count is not None and sorted(wanted) != sorted(running):
                logger.info("another number of shards", shards=count)
                await self._supervisor.stop(list(running))
                await self._close(running)
                self.parts = {name: part for name, part in self.parts.items() if name not in running}
                new = self._routers(count)
                self.parts |= new
                self._supervisor.start({name: part.run for name, part in new.items()})
            await self.log.read(layout.LAYOUT, after=end, limit=1, wait=LAYOUT_PAUSE)

    async def _stop(self) -> None:
        self.draining = True
        failed = {name for name, state in self._supervisor.states.items() if state.state == "failed"}
        await self._supervisor.stop()
        if self.leases is None:
            await self._drain({name: part for name, part in self.parts.items() if name not in failed})
        await self._close(self.parts)
        if self.leases is not None:
            await self.leases.leave()

    async def _drain(self, healthy: Mapping[str, Part]) -> None:
        """Finish what was taken in: judge it, record it, sign it. On Kafka the other processes do that."""
        try:
            async with asyncio.timeout(self.settings.drain_seconds):
                for part in healthy.values():  # registry, routers, notary: each works on what the one before it wrote
                    while await part.step():
                        pass
                if self._index is not None and len(healthy) == len(self.parts):
                    await self._index.catch_up()
        except TimeoutError:
            logger.warning("not all was routed before the time to drain ended; the rest is on disk for the next start")
        except Exception as error:
            logger.error("drain failed; the rest is on disk for the next start", fault=type(error).__name__)

    async def _close(self, parts: Mapping[str, Part]) -> None:
        for name, part in parts.items():
            try:
                await part.close()
            except Exception as error:
                logger.error("claim not given back", part=name, fault=type(error).__name__)


async def open_log(settings: Settings, directory: DataDir) -> Log:
    """The log that the settings name."""
    if settings.kafka is None:
        directory.check_not_moved()
        return EmbeddedLog.open(directory.log)
    from hub.log.kafka import KafkaLog  # an embedded hub need not load a Kafka client

    return await KafkaLog.open(settings.kafka, replication=settings.replication)
