"""The benchmark: what one machine does, measured in one run, in numbers that mean the same every time.

`run` measures, prints nothing, and leaves nothing behind. What each number is, and what bounds it, stands in
docs/performance.md. Everything runs on the product's own parts: the same primitives, router, log, application and
server; only the partners, and one endpoint that does nothing, are made here.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from hub.bench import primitives, routing, serving

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured. `seconds`: of one phase under load; counts are of notices, agreements and leaves."""

    verify_s: float = 0.5
    routed: int = 12_000
    agreements: int = 10_000
    decided: int = 4_000
    leaves: int = 1_000_000
    appended: int = 300_000
    rounds: int = 2
    accepted: int = 7_000
    empty_s: float = 2.0
    paced_s: float = 8.0


FULL = Sizes()
SMALL = Sizes(
    verify_s=0.02, routed=300, agreements=60, decided=50, leaves=1_000, appended=1_000, rounds=1, accepted=300,
    empty_s=0.2, paced_s=1.0,
)  # fmt: skip


def run(progress: Progress = lambda line: None, sizes: Sizes = FULL) -> dict[str, Any]:
    """Measure everything; `progress` is told a line at a time. Takes over a minute on two cores.

    Works in a directory of its own beside the working directory, on the disk that a hub here would use, and removes
    it. OSError when it cannot be made there; BenchError when the server or the client fails.
    """
    with tempfile.TemporaryDirectory(prefix=".comity-bench-", dir=Path.cwd()) as scratch:
        found: dict[str, Any] = {}

        def report(**numbers: Any) -> None:
            for name, number in numbers.items():
                found[name] = number
                progress(f"{name} = {number}")

        progress("signatures, and one router on the embedded log")
        before = primitives.verify_per_s(sizes.verify_s)
        routed = asyncio.run(routing.measure(Path(scratch) / "comity.db", sizes.routed))
        verified = mean((before, primitives.verify_per_s(sizes.verify_s)))  # around it: the machine may slow down
        report(
            verify_per_s=round(verified), routed_per_s=round(routed.per_s),
            routed_to_verify=round(routed.per_s / verified, 3), bytes_per_notice=round(routed.bytes_per_notice),
        )  # fmt: skip
        progress(f"deciding by 10 and by {sizes.agreements} agreements")
        few, many = primitives.decide_us(10, sizes.agreements, sizes.decided)
        report(decide_us_10=round(few, 2), decide_us_10k=round(many, 2), decide_ratio=round(many / few, 3))
        progress(f"a tree of {sizes.leaves} leaves")
        report(tree_append_per_s=round(primitives.tree_append_per_s(sizes.appended)))
        report(proof_ms_1m=round(primitives.proof_ms(sizes.leaves), 4))
        progress("a whole hub in its own process, a client in another")
        report(**serving.measure(Path(scratch) / "hub", serving.Load(
            rounds=sizes.rounds, accepted=sizes.accepted, empty_s=sizes.empty_s, paced_s=sizes.paced_s
        ), progress))  # fmt: skip
        return found
