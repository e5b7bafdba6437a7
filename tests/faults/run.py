"""One run: a broker, processes that want the same shards, a publisher, faults from a seed, and somebody who looks meanwhile.

Whatever happened is in the run's directory: `history.jsonl` (faults, looks, what was wrong), what each process said, and
what the topics held in the end when something was wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hub.clock import Clock
from hub.log import LogError, Record
from hub.log.kafka import KafkaLog
from hub.notary import CHECKPOINTS
from hub.registry import RegistryProcess
from tests.faults.checker import Checker, Published
from tests.faults.parsing import REGISTRY, REQUESTS, entries, positions
from tests.faults.processes import Processes, names
from tests.faults.publishing import Publisher
from tests.faults.reading import STATE, Observer, StuckError, Topics
from tests.faults.schedule import Fault, schedule
from tests.faults.story import AGENCIES, DELIVERIES, LEDGER, NOTICES, Author, key_added, key_revoked, statements
from tests.faults.tree import check_tree
from tests.faults.worker import ORIGIN
from tests.kafka.private import Nodes
from tests.world import key_of

PROGRESS_SECONDS = 60.0  # invariant 7
HUB = (LEDGER, CHECKPOINTS, REQUESTS, REGISTRY)
WATCHED = (NOTICES, DELIVERIES, STATE, LEDGER, CHECKPOINTS, REQUESTS, REGISTRY)


@dataclass(frozen=True)
class Plan:
    """kinds: of faults; all when there are none. look: seconds between two looks. quick: at the first fault found it ends."""

    seconds: float
    seed: int
    routers: int = 3
    notaries: int = 2
    registries: int = 2
    rate: float = 120.0
    pause: float = 1.0
    look: float = 6.0
    kinds: tuple[str, ...] = ()
    mutant: str | None = None
    quick: bool = False


@dataclass
class Report:
    """What came of it. wrong: every broken promise, in words."""

    wrong: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    healed: float = 0.0  # seconds until nothing waited, after the last fault


class Run:
    """`await Run(plan, nodes, home).live()`. The broker is started, its topics are new; home is an empty directory."""

    def __init__(self, plan: Plan, nodes: Nodes, home: Path) -> None:
        self.plan, self.nodes, self.home = plan, nodes, home
        self.report, self.published = Report(), Published()
        self._history = (home / "history.jsonl").open("w")
        self._begun = time.monotonic()
        self.processes = Processes(nodes, home, plan.mutant, self.tell)
        self.author = Author(plan.seed)
        self._over = asyncio.Event()

    def tell(self, what: str, **more: Any) -> None:
        self._history.write(json.dumps({"at": round(time.monotonic() - self._begun, 3), "what": what} | more) + "\n")
        self._history.flush()
        if what == "fault":
            self.count(more["kind"])

    def count(self, what: str, number: int = 1) -> None:
        self.report.counts[what] = self.report.counts.get(what, 0) + number

    async def live(self) -> Report:
        self.tell("plan", **asdict(self.plan))
        copies = self.nodes.bootstrap.count(":")
        log = await KafkaLog.open(f"kafka://{self.nodes.bootstrap}", replication=copies)
        observer = await asyncio.to_thread(Observer, self.nodes.bootstrap)
        try:
            await self._found(log)
            for name in names(router=self.plan.routers, notary=self.plan.notaries, registry=self.plan.registries):
                self.processes.start(name)
            await self._suffer(log, observer)
            await self._heal(observer)
        finally:
            self.processes.end()
            await log.close()
            await asyncio.to_thread(observer.close)
        if self.report.wrong:
            self._keep(observer.topics)
        self.tell("report", **asdict(self.report))
        self._history.close()
        return self.report

    async def _found(self, log: KafkaLog) -> None:
        """The hub, its agencies and their agreements, by the real registry, before anything goes wrong."""
        await log.create(*HUB)
        registry = RegistryProcess(log, key_of("hub/1"), Clock(), grace_ms=0)
        assert await registry.found(ORIGIN, key_of("operator/1"))
        for document in statements():
            await log.append(REQUESTS, Record(document))
        while await registry.step(wait=0.5):
            pass
        await registry.close()

    async def _suffer(self, log: KafkaLog, observer: Observer) -> None:
        """Publish, inflict and look, for as long as planned."""
        plan = self.plan
        self._log = log
        publisher = Publisher(log, self.author, self.published, plan.rate, plan.seed)
        publishing = asyncio.create_task(publisher.run())
        looking = asyncio.create_task(self._look_again(observer))
        inflicted = [asyncio.create_task(self._inflict(fault)) for fault in
                     schedule(plan.seed, plan.seconds, *plan.kinds, pause=plan.pause)]  # fmt: skip
        over = asyncio.create_task(self._over.wait())
        await asyncio.wait({over, publishing}, timeout=plan.seconds, return_when=asyncio.FIRST_COMPLETED)
        self._over.set()
        publisher.stopped.set()
        await asyncio.gather(*inflicted, looking, publishing)
        self.count("notices", len(self.published.acknowledged))
        self.count("unknown", self.published.unknown)

    async def _inflict(self, fault: Fault) -> None:
        """At its time, unless the run is over before. What was begun comes to its end."""
        done, _ = await asyncio.wait({asyncio.ensure_future(self._over.wait())}, timeout=fault.at)
        if done:
            return
        if fault.kind == "rotate key":
            await self._rotate_key(AGENCIES[fault.target % len(AGENCIES)], fault.seconds)
        else:
            await self.processes.inflict(fault)

    async def _rotate_key(self, agency: str, seconds: float) -> None:
        """A new key, used from this moment, so too early; and the end of the one before, which is used on for a while."""
        kids = self.author.kids[agency]
        kid = f"{agency}/r{len(kids) + 2}"
        self.tell("fault", kind="rotate key", kid=kid)
        kids.append(kid)
        at = len(kids) - 1
        await self._request(key_added(agency, kid))
        await asyncio.sleep(seconds)
        if at > 0:
            await self._request(key_revoked(agency, kids[at - 1]))

    async def _request(self, document: bytes) -> None:
        """Until it is known to be there; a statement that is there twice is refused the second time."""
        while True:
            with contextlib.suppress(LogError):
                await self._log.append(REQUESTS, Record(document))
                return
            await asyncio.sleep(0.5)

    async def _look_again(self, observer: Observer) -> None:
        while not self._over.is_set():
            await asyncio.wait({asyncio.ensure_future(self._over.wait())}, timeout=self.plan.look)
            wrong = await asyncio.to_thread(self._look, observer)
            self.count("looks")
            self._blame(wrong)

    def _blame(self, wrong: list[str]) -> None:
        self.tell("look", wrong=wrong[:20])
        self.report.wrong += wrong
        if wrong and self.plan.quick:
            self._over.set()

    def _look(self, observer: Observer) -> list[str]:
        """In the middle of it all: what is there must be explained, whatever is still to come (invariant 3, each prefix)."""
        try:
            observer.catch_up(observer.names(DELIVERIES, STATE, CHECKPOINTS))
            observer.catch_up([LEDGER])
            observer.catch_up(observer.names(NOTICES, REGISTRY))
            wrong = Checker(self.published, observer.topics, "deliveries").check()
            observer.catch_up(observer.names(DELIVERIES))
            wrong += Checker(self.published, observer.topics, "entries").check()
            return wrong + self._tree(observer.topics, complete=False) + self.processes.ended()
        except StuckError as stuck:
            return [f"7: {stuck}"]

    def _tree(self, topics: Topics, *, complete: bool) -> list[str]:
        public = key_of("hub/1").public_key().public_bytes_raw()
        return check_tree(topics[LEDGER], topics[CHECKPOINTS], ORIGIN, public, complete=complete)

    async def _heal(self, observer: Observer) -> None:
        """No more faults: within its time everything is judged and signed, and everything holds, read anew as well."""
        if self.report.wrong and self.plan.quick:
            return
        begun = time.monotonic()
        while waiting := await asyncio.to_thread(lambda: list(self._waiting(observer))):
            if time.monotonic() - begun > PROGRESS_SECONDS:
                self._blame([f"7: {len(waiting)} wait {PROGRESS_SECONDS:.0f} s after the last fault: {waiting[:3]}"])
                break
            await asyncio.sleep(0.5)
        self.report.healed = round(time.monotonic() - begun, 1)
        try:
            self._blame(await asyncio.to_thread(self._judge, observer))
        except StuckError as stuck:
            self._blame([f"7: {stuck}"])

    def _waiting(self, observer: Observer) -> Iterator[str]:
        try:
            observer.catch_up(observer.names(*WATCHED))
        except StuckError as stuck:
            yield str(stuck)
            return
        reached = dict(positions(observer.topics))
        for topic, found in observer.topics.items():
            if topic.startswith((NOTICES, REQUESTS)) and found and reached.get(topic) != found[-1].offset:
                yield f"{topic} at {reached.get(topic)} of {found[-1].offset}"
        yield from (text for text in self._tree(observer.topics, complete=True) if text.startswith("7"))

    def _judge(self, observer: Observer) -> list[str]:
        """Everything anew. What anybody has seen committed still stands, in its place."""
        fresh = Observer(self.nodes.bootstrap)
        try:
            fresh.catch_up(fresh.names(*WATCHED))
        finally:
            fresh.close()
        wrong = Checker(self.published, fresh.topics).check() + self._tree(fresh.topics, complete=True)
        for topic, seen in observer.topics.items():
            if not topic.startswith(STATE) and fresh.topics[topic][: len(seen)] != seen:
                wrong.append(f"3: {topic} no longer holds what was read of it before")
        self.count("entries", len(fresh.topics[LEDGER]))
        self.count("deliveries", sum(len(seen) for name, seen in fresh.topics.items() if name.startswith(DELIVERIES)))
        self.count("checkpoints", len(fresh.topics[CHECKPOINTS]))
        for entry in entries(fresh.topics[LEDGER]):
            self.count("accepted" if entry.reason is None else f"refused: {entry.reason}")
        return wrong + self.processes.ended()

    def _keep(self, topics: Topics) -> None:
        for topic, found in topics.items():
            with (self.home / f"{topic}.txt").open("w") as out:
                out.writelines(f"{seen.offset} {seen.key} {seen.headers} {seen.value!r}\n" for seen in found)
