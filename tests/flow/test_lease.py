"""Who works on what: fair, steady, and handed over when a member falls silent or leaves."""

import asyncio
from contextlib import AsyncExitStack

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.lease import Leases, assign
from hub.log.embedded import EmbeddedLog

PARTS = [f"router-{n}-of-5" for n in range(5)]
names = st.sets(st.text("abcdef0123456789", min_size=4, max_size=8), min_size=1, max_size=7)


@given(names, st.integers(0, 40))
def test_every_part_has_one_member_and_shares_differ_by_one_at_most(members, count):
    parts = [f"router-{n}-of-{count}" for n in range(count)]
    owners = assign(parts, members)
    assert owners.keys() == set(parts)
    shares = [sum(owner == member for owner in owners.values()) for member in members]
    assert max(shares) <= -(-count // len(members))


@given(names, st.integers(1, 40), st.randoms())
def test_everybody_comes_to_the_same_answer_in_whatever_order_it_heard(members, count, random):
    parts = [f"router-{n}-of-{count}" for n in range(count)]
    mixed, others = list(members), list(parts)
    random.shuffle(mixed)
    random.shuffle(others)
    assert assign(parts, sorted(members)) == assign(others, mixed)


def test_without_members_nobody_works():
    assert assign(PARTS, []) == {}


def test_a_member_that_leaves_gives_its_parts_away_and_most_others_stay():
    parts, members = [f"router-{n}-of-30" for n in range(30)], ["a", "b", "c", "d", "e", "f"]
    before, after = assign(parts, members), assign(parts, members[:-1])
    moved = [part for part in parts if before[part] != "f" and before[part] != after[part]]
    assert len(moved) <= 10, "a third at most changes hands without need"


class Members:
    """Processes on one log, with short beats."""

    def __init__(self, log, stack):
        self.log, self.stack, self.tasks = log, stack, {}

    async def join(self, *roles):
        leases = Leases(self.log, roles or ("router",), lambda: [*PARTS, "notary"], beat=0.05, life=0.3)
        self.tasks[leases] = asyncio.create_task(leases.run())
        self.stack.callback(self.tasks[leases].cancel)
        return leases


def held(leases):
    return {part for part in [*PARTS, "notary"] if leases.holds(part)}


async def until(question, seconds=5.0):
    async with asyncio.timeout(seconds):
        while not question():
            await asyncio.sleep(0.01)


@pytest.fixture
async def members(tmp_path):
    async with AsyncExitStack() as stack:
        log = EmbeddedLog.open(tmp_path / "comity.db")
        stack.push_async_callback(log.close)
        yield Members(log, stack)


async def test_one_process_has_everything_it_offers_and_nothing_else(members):
    one = await members.join("router")
    assert held(one) == set(), "not before it has heard itself, and others had time to speak"
    await until(lambda: held(one) == set(PARTS))


async def test_two_share_and_one_takes_over_when_the_other_falls_silent(members):
    """Silence is a killed process: nothing is said any more."""
    one, two = await members.join(), await members.join()
    await until(lambda: held(one) | held(two) == set(PARTS) and not held(one) & held(two))
    assert {len(held(one)), len(held(two))} == {2, 3}
    members.tasks[two].cancel()
    await until(lambda: held(one) == set(PARTS))


async def test_who_leaves_is_not_waited_for(members):
    one, two = await members.join(), await members.join()
    await until(lambda: len(held(one)) + len(held(two)) == 5 and held(two))
    members.tasks[two].cancel()
    await two.leave()
    async with asyncio.timeout(0.25):  # less than a life
        while held(one) != set(PARTS):
            await asyncio.sleep(0.01)
    assert held(two) == set()


async def test_a_part_is_given_only_to_those_that_offer_its_role(members):
    routers, notary = await members.join("router"), await members.join("notary")
    await until(lambda: held(routers) == set(PARTS) and held(notary) == {"notary"})


async def test_a_process_cut_off_from_the_log_holds_nothing(members):
    """It cannot hear itself, so it is a member for nobody, itself included."""
    one = await members.join()
    await until(lambda: held(one) == set(PARTS))
    await members.log.close()
    await until(lambda: held(one) == set())
