"""Which fault when: drawn from a seed, so that a run that failed can be had again as far as machines allow."""

from __future__ import annotations

import random
from dataclasses import dataclass

TRANSACTION_SECONDS = 5.0  # in these runs: an abandoned transaction is aborted after it
BROKER = frozenset({"kill broker", "stop broker"})  # one of these at a time
WEIGHTS = {
    "kill router": 6, "stop router": 4, "stop router for long": 2, "abandon": 2, "kill notary": 2, "stop notary": 2,
    "kill broker": 2, "stop broker": 2, "shrink": 1, "rotate key": 3, "kill registry": 1, "stop registry": 1,
}  # fmt: skip
# How long each lasts, in seconds: until the process is started again or goes on, a topic takes large records again, or the
# key before a new one is revoked.
LASTS = {
    "kill router": (0.0, 1.5), "stop router": (0.2, 2.0), "abandon": (0.0, 0.0), "shrink": (1.0, 2.0),
    "stop router for long": (TRANSACTION_SECONDS + 1, TRANSACTION_SECONDS + 3), "kill notary": (0.0, 1.5),
    "stop notary": (0.5, TRANSACTION_SECONDS + 2), "kill broker": (0.0, 1.0), "stop broker": (0.5, 4.0),
    "rotate key": (1.0, 2.0), "kill registry": (0.0, 1.0), "stop registry": (0.2, TRANSACTION_SECONDS + 2),
}  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """at, seconds: when it begins, and how long it lasts. target: drawn, to be taken modulo what there is."""

    at: float
    kind: str
    target: int
    seconds: float


def schedule(seed: int, seconds: float, *kinds: str, pause: float = 1.0) -> list[Fault]:
    """Each kind once, in any order; then more, by weight, as time allows. pause: on average between two, in seconds."""
    rng = random.Random(seed)
    wanted = [kind for kind in WEIGHTS if not kinds or kind in kinds]
    first = rng.sample(wanted, len(wanted))
    found: list[Fault] = []
    at = rng.uniform(0.5, 1.5)
    while at < seconds:
        [drawn] = rng.choices(wanted, [WEIGHTS[kind] for kind in wanted])
        kind = first.pop() if first else drawn
        found.append(Fault(at, kind, rng.randrange(1_000), rng.uniform(*LASTS[kind])))
        at += min(rng.expovariate(1 / pause), 4 * pause)
    return found
