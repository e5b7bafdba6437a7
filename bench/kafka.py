"""The benchmark on Kafka, in one run on one broker: python -m bench.kafka [-o json]. Progress is on stderr.

What is compared is measured in turn, round by round, because a shared machine changes its pace within a minute; a rate is
the median of its rounds. Whatever counts CPU time or memory is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from bench import world
from bench.broker import broker
from bench.process import Process, start
from hub.plan import LEDGER

Progress = Callable[[str], None]
SPLIT = world.SENDERS["6"][:3], world.SENDERS["6"][3:]


@dataclass(frozen=True, slots=True)
class Sizes:
    """Notices in a round by partitions, rounds, seconds of the paced load, notices remembered."""

    round: int = 9_000
    rounds: int = 3
    warm_up: int = 1_000
    paced_s: float = 10.0
    remembered: int = 1_000_000


FULL = Sizes()
SMALL = Sizes(round=300, rounds=1, warm_up=60, paced_s=1.0, remembered=2_000)


@dataclass
class Run:
    """One run's processes and what was found so far."""

    address: str
    scratch: Path
    sizes: Sizes
    progress: Progress
    partner: Process
    posted: int = 0
    found: dict[str, Any] = field(default_factory=dict)

    def report(self, **numbers: Any) -> None:
        for name, number in numbers.items():
            self.found[name] = number
            self.progress(f"{name} = {number}")

    @contextmanager
    def processes(self, *modules: str) -> Iterator[list[Process]]:
        with ExitStack() as stack:
            yield [stack.enter_context(start(module, self.scratch, self.address)) for module in modules]

    def post(self, count: int, senders: tuple[str, ...]) -> dict[str, dict[str, int]]:
        self.posted += count
        return dict(self.partner.ask("post", count=count, senders=senders))


def run(progress: Progress = lambda line: None, sizes: Sizes = FULL, named: str | None = None) -> dict[str, Any]:
    """Measure everything. `named`: a broker without a hub on it; without, one is started."""
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="comity-bench-")))
        address = stack.enter_context(broker(named))
        partner = stack.enter_context(start("partner", scratch, address))
        progress(f"a broker at {address}; topics and partners")
        partner.ask("prepare")
        entries = partner.ask("count")[LEDGER]
        this = Run(address, scratch, sizes, progress, partner)
        relays_and_router(this)
        latency(this)
        two_routers(this)
        remembered(this)
        check(this, entries)
        return this.found


def relays_and_router(this: Run) -> None:
    """The three in turn, over the same notices: from one topic, and from six."""
    rounds: dict[str, dict[str, list[dict[str, float]]]] = {}
    with this.processes("plain", "tuned", "router") as (plain, tuned, router):
        for name, senders in world.SENDERS.items():
            for process in (tuned, router):
                process.ask("shard", name=name, senders=senders)
            rounds[name] = {"plain": [], "tuned": [], "router": []}
            one_round(this, name, this.sizes.warm_up, plain, tuned, router)  # every code path once, before it counts
        for number in range(this.sizes.rounds):
            for name in world.SENDERS:
                told = one_round(this, name, this.sizes.round, plain, tuned, router)
                for who, took in told.items():
                    rounds[name][who].append(took)
                rates = ", ".join(f"{who} {this.sizes.round / took['seconds']:,.0f}/s" for who, took in told.items())
                this.progress(f"round {number + 1}, partitions {name}: {rates}")
    parts = {name: figures(told, this.sizes.round) for name, told in rounds.items()}
    this.report(**parts["6"], partitions=parts)


def one_round(
    this: Run, name: str, count: int, plain: Process, tuned: Process, router: Process
) -> dict[str, dict[str, float]]:
    posted = this.post(count, world.SENDERS[name])
    settle()
    deliveries, ledger = world.relayed("plain")
    told = {
        "plain": plain.ask(
            "run", **posted, deliveries=deliveries, ledger=ledger, batch=world.BATCH, entry=world.LEDGER_BYTES
        ),
    }
    settle()
    told["tuned"] = tuned.ask("run", name=name, until=posted["until"])
    settle()
    router.ask("claim", names=[name])
    return told | {"router": router.ask("run", until=posted["until"])}


def settle() -> None:
    """What was written before must not be on its way to the disk while the next is measured."""
    os.sync()


def figures(rounds: dict[str, list[dict[str, float]]], count: int) -> dict[str, float]:
    rate = {who: count / median(took["seconds"] for took in told) for who, told in rounds.items()}
    cpu = {who: median(took["cpu"] for took in told) / count for who, told in rounds.items()}
    return {
        "plain_relay_per_s": round(rate["plain"]), "tuned_relay_per_s": round(rate["tuned"]),
        "router_per_s": round(rate["router"]),
        "router_to_relay": round(rate["router"] / rate["plain"], 3),
        "router_to_tuned": round(rate["router"] / rate["tuned"], 3),
        "cpu_us_per_notice": round(cpu["router"] * 1e6, 1),
        "plain_relay_cpu_us": round(cpu["plain"] * 1e6, 1), "tuned_relay_cpu_us": round(cpu["tuned"] * 1e6, 1),
    }  # fmt: skip


def latency(this: Run) -> None:
    """At half of what the router was measured at, from six topics."""
    rate = this.found["router_per_s"] / 2
    with this.processes("router") as [router]:
        router.ask("shard", name="paced", senders=world.SENDERS["6"])
        router.ask("claim", names=["paced"])
        router.ask("start")
        settle()
        this.progress(f"publishing {rate:,.0f} notices a second")
        told = this.partner.ask("pace", rate=rate, seconds=this.sizes.paced_s, senders=world.SENDERS["6"])
        router.ask("stop")
    this.posted += int(rate * (this.sizes.paced_s + 1.0))
    this.report(ack_to_delivery_ms={"p50": round(told["p50"], 1), "p99": round(told["p99"], 1)})


def two_routers(this: Run) -> None:
    """Two shards of three topics each: worked on by two processes, and by one."""
    took: dict[str, list[float]] = {"two": [], "one": []}
    with this.processes("router", "router") as processes:
        for process, own in zip(processes, SPLIT, strict=True):
            process.ask("shard", name="own", senders=own)
            for name, senders in zip(("first", "second"), SPLIT, strict=True):
                if process is processes[0]:
                    process.ask("shard", name=name, senders=senders)
        for number in range(-1, this.sizes.rounds):
            until = this.post(this.sizes.round if number >= 0 else this.sizes.warm_up, world.SENDERS["6"])["until"]
            two = together(processes, [["own"], ["own"]], until)
            # The same notices are no news to other shards' memories: each has judged none of them.
            one = together(processes[:1], [["first", "second"]], until)
            this.posted += this.sizes.round if number >= 0 else this.sizes.warm_up
            if number >= 0:
                took["two"].append(two)
                took["one"].append(one)
                rates = ", ".join(f"{who} {this.sizes.round / each[-1]:,.0f}/s" for who, each in took.items())
                this.progress(f"round {number + 1}, two shards: {rates}")
    this.report(two_routers_to_one=round(median(took["one"]) / median(took["two"]), 3))


def together(processes: list[Process], names: list[list[str]], until: dict[str, int]) -> float:
    """Seconds until the last of them is done."""
    for process, own in zip(processes, names, strict=True):
        process.ask("claim", names=own)
    settle()
    began = time.perf_counter()
    for process in processes:
        process.say("run", until=until)
    for process in processes:
        process.hear()
    return time.perf_counter() - began


def remembered(this: Run) -> None:
    this.progress(f"remembering {this.sizes.remembered:,} notices")
    with this.processes("memory") as [writer]:
        writer.ask("write", count=this.sizes.remembered)
    told = []
    for _ in range(this.sizes.rounds):
        with this.processes("memory") as [reader]:
            told.append(reader.ask("restore", count=this.sizes.remembered))
    middle = {name: median(each[name] for each in told) for name in told[0]}
    this.report(
        restore_s_1m=round(middle["restore_s"], 3), rss_mb_1m=round(middle["rss_mb"], 1),
        restore_s_1m_router=round(middle["restore_s"] + middle["memory_s"], 3),
        rss_mb_1m_router=round(middle["router_rss_mb"], 1), rss_mb_empty=round(middle["empty_mb"], 1),
    )  # fmt: skip


def check(this: Run, entries: int) -> None:
    """Every notice that a router had has its entry and its three deliveries, once; else no number means anything."""
    this.progress("counting what was written")
    counted = this.partner.ask("count")
    counted[LEDGER] -= entries
    wrong = {topic: count for topic, count in counted.items() if count != this.posted}
    if wrong:
        raise SystemExit(f"{this.posted} notices were routed, and there are: {wrong}")


def table(found: dict[str, Any]) -> str:
    parts = found["partitions"]
    names = [name for name in found if name != "partitions"]
    lines = [f"{'':24}" + "".join(f"{f'partitions {name}':>16}" for name in parts)]
    lines += [f"{name:24}" + "".join(f"{part[name]:>16,}" for part in parts.values()) for name in parts["6"]]
    rest = [name for name in names if name not in parts["6"]]
    return "\n".join([*lines, "", *(f"{name:24}{_shown(found[name]):>16}" for name in rest)])


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each:,}" for name, each in value.items())
    return f"{value:,}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="make bench-kafka", description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text")
    parser.add_argument("--small", action="store_true", help="too small to mean anything, for a first look")
    given = parser.parse_args()
    found = run(
        lambda line: print(line, file=sys.stderr, flush=True),
        SMALL if given.small else FULL,
        os.environ.get("COMITY_TEST_KAFKA"),
    )
    print(json.dumps(found) if given.output == "json" else table(found))


if __name__ == "__main__":
    main()
