"""A long run by hand: `python -m tests.faults --seconds 600 --seed 7`."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.mutants import MUTANTS
from tests.faults.run import Plan, Report, Run
from tests.kafka.private import Nodes


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of faults; healing and checking come on top")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--routers", type=int, default=3, help="processes, each of which wants every shard")
    parser.add_argument("--nodes", type=int, choices=(1, 3), default=1, help="brokers; of three, one at a time is hit")
    parser.add_argument("--rate", type=float, default=120.0, help="notices a second, at most")
    parser.add_argument("--pause", type=float, default=1.0, help="seconds between two faults, on average")
    parser.add_argument("--mutant", choices=MUTANTS, help="the hub without one of its protections")
    given = parser.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    look = max(6.0, given.seconds / 20)
    plan = Plan(given.seconds, given.seed, given.routers, rate=given.rate, pause=given.pause, look=look,
                mutant=given.mutant, quick=given.mutant is not None)  # fmt: skip
    home = Path(tempfile.mkdtemp(prefix=f"comity-faults-{given.seed}-"))
    nodes = Nodes.launch(home / "broker", nodes=given.nodes)
    try:
        report = asyncio.run(Run(plan, nodes, home).live())
    finally:
        nodes.wipe()
    show(report)
    if report.wrong:
        print(f"history: {home}")
        return 1
    shutil.rmtree(home)
    return 0


def show(report: Report) -> None:
    for what, count in sorted(report.counts.items()):
        print(f"{count:8}  {what}")
    print(f"{report.healed:8}  seconds until nothing waited")
    print(f"{len(report.wrong):8}  broken promises")
    for text in report.wrong[:50]:
        print("         ", text)


if __name__ == "__main__":
    sys.exit(main())
