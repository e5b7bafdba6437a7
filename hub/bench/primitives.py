"""What the pure parts do on one core: verify, decide, the tree."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from hub.bench import partners
from hub.core import envelope, strict
from hub.core.decision import decide
from hub.core.merkle import Tree, leaf_hash
from hub.core.registry import Registry, View
from hub.core.statements import HUB, OPERATOR
from schemas.notice import Notice, validate
from schemas.statement import RegistryEvent

SLICES = 5
SENDER, *OTHERS = partners.SENDERS
OWN_AGREEMENTS = 3  # of the sender whose notices are decided, in a small registry and in a large one


def verify_per_s(seconds: float) -> float:
    """Signatures of whole notices verified in a second: the median of some slices of `seconds` each."""
    kid = partners.kid_of(SENDER)
    public = partners.key_of(kid).public_key().public_bytes_raw()
    split = [envelope.split(raw) for _, _, raw in partners.notices(100, [SENDER])]
    work = [(public, env.signature, env.signing_input) for env in split]

    def one_round() -> int:
        if not all(envelope.verify(*each) for each in work):
            raise AssertionError("a good signature did not verify")
        return len(work)

    return median(_rate(one_round, seconds) for _ in range(SLICES))


def decide_us(few: int, many: int, count: int) -> tuple[float, float]:
    """Median time (µs) to decide a notice by a registry of `few` agreements, and by one of `many`.

    Both are asked about every notice in turn, so that a change of the machine's pace shows in both.
    """
    views = registry_of(few).view(), registry_of(many).view()
    found = [validate(envelope.read(envelope.split(raw))[0]) for _, _, raw in partners.notices(100, [SENDER])]
    at = int(time.time() * 1000)
    times: tuple[list[int], list[int]] = [], []
    for number in range(count):
        notice = found[number % len(found)]
        for view, spent in zip(views, times, strict=True):
            spent.append(_decision_ns(notice, view, at))
    return median(times[0]) / 1000, median(times[1]) / 1000


def registry_of(agreements: int) -> Registry:
    """`OWN_AGREEMENTS` of the sender whose notices are decided, the rest among 200 other agencies."""
    registry = Registry()
    strangers = [f"be-other-{number}" for number in range(200)]
    found = partners.statement(
        {"statement": "hub.found", "origin": "bench/ledger", "hub": partners.key_claim(f"{HUB}/1"),
         "operator": partners.key_claim(f"{OPERATOR}/1")}, f"{HUB}/1", f"{OPERATOR}/1"
    )  # fmt: skip
    enrolments = map(partners.enrolment, (*partners.SENDERS, *partners.RECIPIENTS, *strangers))
    publications = (partners.publication(_agreement(number, strangers)) for number in range(agreements))
    for document in (found, *enrolments, *publications):
        _apply(registry, document)
    return registry


def _agreement(number: int, strangers: Sequence[str]) -> dict[str, Any]:
    if number < OWN_AGREEMENTS:
        return partners.agreement(f"own-{number}", partners.SENDERS, partners.RECIPIENTS)
    one, step = number % len(strangers), 1 + number // len(strangers) % (len(strangers) - 1)
    return partners.agreement(f"other-{number}", [strangers[one]], [strangers[(one + step) % len(strangers)]])


def tree_append_per_s(count: int) -> float:
    """Ledger leaves hashed and appended, one at a time, in a second."""
    leaf = b'{"at":1800000000000,"digest":"%043d","kind":"notice","outcome":"accepted","v":1}'
    leaves = [leaf % number + bytes(160) for number in range(count)]
    tree = Tree()
    began = time.perf_counter()
    for each in leaves:
        tree.append(leaf_hash(each))
    return count / (time.perf_counter() - began)


def proof_ms(size: int) -> float:
    """Median time (ms) to make an inclusion proof for some leaf of a tree of `size`."""
    tree = Tree(number.to_bytes(32, "big") for number in range(size))
    draw = random.Random(1)  # noqa: S311  the same leaves every time
    times = []
    for _ in range(2_000):
        index = draw.randrange(size)
        began = time.perf_counter_ns()
        tree.inclusion(index)
        times.append(time.perf_counter_ns() - began)
    return median(times) / 1e6


def _decision_ns(notice: Notice, view: View, at: int) -> int:
    began = time.perf_counter_ns()
    decision = decide(notice, view, at)
    spent = time.perf_counter_ns() - began
    if len(decision.grants) != len(partners.RECIPIENTS):
        raise AssertionError(f"{len(decision.grants)} grants, not {len(partners.RECIPIENTS)}")
    return spent


def _apply(registry: Registry, document: bytes) -> None:
    """As the registry process does, but unjudged: ten thousand judgements would take longer than all the rest."""
    now = max(int(time.time() * 1000), registry.recorded)
    registry.apply(
        RegistryEvent(position=registry.position, recorded=now, effective=now, statement=strict.loads(document))
    )


def _rate(work: Callable[[], int], seconds: float) -> float:
    began, done = time.perf_counter(), 0
    while (spent := time.perf_counter() - began) < seconds:
        done += work()
    return done / spent
