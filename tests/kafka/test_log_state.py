"""The state topic: a sequence of settings that is said again, a part each commit, so that it can be cut off behind.

Held against a plain dict, with passes so short that hundreds of them happen.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping
from contextlib import suppress

import pytest

from hub.log import Fenced, Shard
from hub.log.kafka import KafkaClaim, KafkaLog
from hub.log.kafka import claim as claims
from hub.log.kafka import state as states
from hub.log.kafka.claim import state_topic
from hub.log.kafka.state import Cleaner
from tests.kafka.logs import Place, fill, values

pytestmark = pytest.mark.kafka


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass begins after a few commits and takes several."""
    monkeypatch.setattr(states, "SPARE", 2_000)
    monkeypatch.setattr(states, "PASS_BYTES", 400)
    monkeypatch.setattr(states, "RECORD_BYTES", 1_000)


class Model:
    """What the state must be, and what becomes of the claim: it is lost, released, or left open now and then."""

    def __init__(self, place: Place, seed: int) -> None:
        self.place, self.rng = place, random.Random(seed)
        self.state: dict[str, bytes] = {}

    def changes(self) -> dict[str, bytes | None]:
        some: dict[str, bytes | None] = {}
        for _ in range(self.rng.randrange(0, 6)):
            some[f"k{self.rng.randrange(80)}"] = self.rng.choice(
                [None, b"", self.rng.randbytes(self.rng.randrange(60))]
            )
        return some

    def apply(self, changes: Mapping[str, bytes | None]) -> None:
        for key, value in changes.items():
            if value is None:
                self.state.pop(key, None)
            else:
                self.state[key] = value

    async def step(self, claim: KafkaClaim, log: KafkaLog) -> tuple[KafkaClaim, KafkaLog]:
        changes, chance = self.changes(), self.rng.random()
        if chance < 0.04:  # it fails when all is written: nothing of it counts
            with pytest.raises(Fenced):
                await claim.commit([], [], changes | {"gone": b""}, confirm=_no)
        else:
            await claim.commit(await claim.batch(1), [], changes)
            self.apply(changes)
        assert dict(claim.state) == self.state or claim.over
        if chance < 0.08:  # a crash: nobody says goodbye
            log = await self.place.open()
            claim = await log.claim(claim.shard)
            assert dict(claim.state) == self.state
        elif chance < 0.10:
            await claim.release()
            claim = await log.claim(claim.shard)
        return claim, log


def _no() -> None:
    raise Fenced("not to be")


async def walk(place: Place, seed: int, steps: int) -> int:
    """Random commits, deletions, crashes and takings; the first offset that the topic holds in the end."""
    log = await place.open()
    shard, source, _ = await place.shard(log)
    await fill(log, source, *(b"%d" % n for n in range(40)))
    model, claim, routed = Model(place, seed), await log.claim(shard), 0
    for _ in range(steps):
        claim, log = await model.step(claim, log)
    await claim.settled()
    fresh = await place.open()
    again = await fresh.claim(shard)
    assert dict(again.state) == model.state
    rest = await again.batch(100)
    routed = 40 - len(rest)
    assert values(rest) == [b"%d" % n for n in range(routed, 40)]
    first, _ = await fresh._cluster.bounds(state_topic(shard))
    return first


@pytest.mark.parametrize("seed", range(3))
async def test_a_state_that_is_cut_off_again_and_again_is_what_was_committed(
    place: Place, short: None, seed: int
) -> None:
    first = await walk(place, seed, steps=150)
    assert first > 100, "the topic was cut off behind at least a hundred records"


@pytest.mark.parametrize(
    "fault", ["a pass leaves keys out", "cut before the pass is complete", "positions are not said again"]
)
async def test_a_faulty_pass_loses_settings(
    place: Place, short: None, fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutants of the pass: the walk above must see each."""
    again, committed = Cleaner.again, Cleaner.committed

    def forgetful(self: Cleaner) -> dict[str, bytes | None]:
        part = again(self)
        return {key: value for key, value in part.items() if not key.endswith("7")}

    def hasty(self: Cleaner, first: int, size: int) -> int | None:
        cut = committed(self, first, size)
        return self._start if self._keys is not None else cut

    def placeless(self: Cleaner) -> dict[str, bytes | None]:
        part = again(self)
        return {key: value for key, value in part.items() if not key.startswith(states.POSITION)}

    match fault:
        case "a pass leaves keys out":
            monkeypatch.setattr(Cleaner, "again", forgetful)
        case "cut before the pass is complete":
            monkeypatch.setattr(Cleaner, "committed", hasty)
        case _:
            monkeypatch.setattr(Cleaner, "again", placeless)
    with pytest.raises(AssertionError):
        for seed in range(3):
            await walk(place, seed, steps=150)


async def test_a_crash_in_the_middle_of_a_pass_loses_nothing(place: Place, short: None) -> None:
    """After its first commit, in the next pass after its second, and so on: the next claim knows everything."""
    log = await place.open()
    shard, source, _ = await place.shard(log)
    await fill(log, source, b"routed", b"next")
    claim = await log.claim(shard)
    expected = {f"k{n:02}": b"%d" % n * 20 for n in range(60)}
    await claim.commit(await claim.batch(1, wait=5), [], expected)
    crashes, said = 0, 0
    for n in range(100, 200):
        expected["k00"] = b"%d" % n * 150
        await claim.commit([], [], {"k00": expected["k00"]})
        said = said + 1 if claim._cleaner._keys is not None else 0
        if said > crashes:
            crashes, said = crashes + 1, 0
            claim = await (await place.open()).claim(shard)
            assert dict(claim.state) == expected
            assert values(await claim.batch(1, wait=1)) == [b"next"]
    assert crashes > 3


async def test_a_state_that_is_cut_while_it_is_restored_is_restored_anew(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The holder before cuts behind a pass that it has just completed. What was deleted in the part that is gone must not
    come back from what was read before."""
    log, other = await place.open(), await place.open()
    shard, _, _ = await place.shard(log)
    claim = await log.claim(shard)
    await claim.commit([], [], {"deleted": b"1", "kept": b"1"})
    await claim.commit([], [], {"deleted": None})
    await claim.commit([], [], {"kept": b"2"})
    topic, fetch, cut = state_topic(shard), other._cluster.fetch, []

    async def cut_between(wanted: dict[str, int], **options: object) -> object:
        if not cut and wanted.get(topic, 0) >= 3:  # the first commit is read, the deletion at 4 is not
            cut.append(wanted[topic])
            await place.delete_before(topic, 6)
        return await fetch(wanted, **options)

    monkeypatch.setattr(claims, "RESTORE_BYTES", 1)
    monkeypatch.setattr(other._cluster, "fetch", cut_between)
    again = await other.claim(shard)
    assert cut
    assert dict(again.state) == {"kept": b"2"}


@pytest.mark.slow
async def test_two_hundred_thousand_entries_are_restored_in_seconds(place: Place) -> None:
    """As a router keeps them: a day of a busy agency. Measured, and held to ten times what it takes."""
    log = await place.open()
    shard, _, _ = await place.shard(log)
    claim = await log.claim(shard)
    for part in range(20):
        await claim.commit([], [], {f"n/us-cisa/{part}-{n:036}": bytes(90) for n in range(10_000)})
    fresh = await place.open()
    begun = time.monotonic()
    again = await fresh.claim(shard)
    took = time.monotonic() - begun
    assert len(again.state) == 200_000
    print(f"200,000 entries were restored in {took:.2f} s")
    assert took < 15


async def test_rivals_in_a_pass_leave_a_state_that_can_be_restored(place: Place, short: None) -> None:
    """Two holders, one after the other, cut the same topic; who lost hears so, and never restores a half."""
    logs = [await place.open(), await place.open()]
    shard, _, _ = await place.shard(logs[0])
    counted = await asyncio.gather(*(count(log, shard, 25) for log in logs))
    claim = await (await place.open()).claim(shard)
    assert sum(counted) == 50
    assert {key: int(value) for key, value in claim.state.items() if key != "total"} == {f"w{n}": 0 for n in range(30)}
    assert int(claim.state["total"]) == 50


async def count(log: KafkaLog, shard: Shard, times: int) -> int:
    """Add one, so often: each commit builds on what the claim has restored."""
    done, claim = 0, await log.claim(shard)
    while done < times:
        total = int(claim.state.get("total", b"0"))
        with suppress(Fenced):
            await claim.commit([], [], {"total": b"%d" % (total + 1)} | {f"w{n}": b"0" for n in range(30)})
            done += 1
            continue
        claim = await log.claim(shard)
    return done
