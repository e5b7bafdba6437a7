"""The number of router shards, and how it changes without losing or doubling anything."""

import pytest

from hub import layout
from hub.layout import LayoutError
from hub.log import Fenced
from hub.log.embedded import EmbeddedLog
from hub.router import Router, ShardMoved
from tests.flow.test_router import A, B, C, Hub
from tests.world import agreement, clause, key_of

pytestmark = pytest.mark.usefixtures("hub")


@pytest.fixture
async def hub(tmp_path):
    log = EmbeddedLog.open(tmp_path / "comity.db")
    await log.create("comity.requests", "comity.registry", "comity.ledger", "comity.checkpoints")
    hub = Hub(log)
    await hub.registry.found("comity.test/ledger", key_of("operator/1"))
    await hub.enroll(A, B, C)
    await hub.publish(agreement("a-1", [A, B, C], [clause("c1", [A, B], [C]), clause("c2", [C], [A])]))
    yield hub
    await log.close()


def routers(hub, count):
    return [Router(hub.log, shard, hub.clock) for shard in layout.shards(count)]


async def route(hub, count):
    """Everything that waits, by the routers of a layout."""
    for router in routers(hub, count):
        while await router.step():
            pass
        await router.close()


async def numbers(hub, recipient):
    return [
        (s.record.headers["ce_source"].rpartition("/")[2], s.record.headers["ce_number"])
        for s in await hub.deliveries(recipient)
    ]


async def test_a_number_is_said_once_and_not_changed_by_a_setting(hub):
    assert await layout.settle(hub.log, 3, explicit=False) == 3
    assert await layout.settle(hub.log, 1, explicit=False) == 3
    assert await layout.settle(hub.log, 3, explicit=True) == 3
    with pytest.raises(LayoutError, match="has 3 router shards, not 2"):
        await layout.settle(hub.log, 2, explicit=True)


async def test_of_two_that_found_at_once_the_first_counts(hub):
    await hub.log.create(layout.LAYOUT)
    for count in (2, 5):
        await layout._say(hub.log, count, founding=True)
    assert await layout.current(hub.log) == 2
    await layout.change(hub.log, 4)
    assert await layout.current(hub.log) == 4


async def test_a_change_keeps_positions_numbers_and_what_was_seen(hub):
    """1 → 4 → 2 → 1 shards: every notice is delivered once, numbers have no gap, repeats are known."""
    await layout.settle(hub.log, 1, explicit=False)
    raws, before = [], 1
    for count in (4, 2, 1):
        for agency in (A, B, C):
            raws.append((agency, hub.world.notice(agency)))
            await hub.post(*raws[-1])
        await route(hub, before)
        assert await layout.change(hub.log, count) == before
        before = count
        for agency, raw in raws:  # the same bytes again, to routers that have only their predecessors' memory
            await hub.post(agency, raw)
        await route(hub, count)
    assert sorted(await numbers(hub, C)) == [(agency, str(n)) for agency in (A, B) for n in (1, 2, 3)]
    assert await numbers(hub, A) == [(C, str(n)) for n in (1, 2, 3)]
    assert sum(leaf["kind"] == "notice" for leaf, _ in await hub.ledger()) == 9


async def test_a_router_of_the_old_layout_does_not_go_on(hub):
    """One that worked is fenced by the change; whoever claims the old shard again hears that it was moved."""
    await layout.settle(hub.log, 1, explicit=False)
    [old] = routers(hub, 1)
    await hub.post(A, hub.world.notice(A))
    assert await old.step() == 1
    await hub.post(A, hub.world.notice(A))
    await layout.change(hub.log, 2)
    with pytest.raises(Fenced):
        await old.step()
    with pytest.raises(ShardMoved, match="2 shards"):
        await old.step()
    await route(hub, 2)
    assert [number for _, number in await numbers(hub, C)] == ["1", "2"]


async def test_an_interrupted_change_leaves_nothing_half_done_when_it_is_given_again(hub, monkeypatch):
    """It dies after the first new shard is written: no router works, and the second try ends it."""
    await layout.settle(hub.log, 1, explicit=False)
    await hub.post(A, hub.world.notice(A))
    await route(hub, 1)
    fill, calls = layout._fill, 0

    async def dying(*args):
        nonlocal calls
        calls += 1
        if calls == 2:
            raise ZeroDivisionError
        await fill(*args)

    with monkeypatch.context() as patch:
        patch.setattr(layout, "_fill", dying)
        with pytest.raises(ZeroDivisionError):
            await layout.change(hub.log, 3)
    assert await layout.current(hub.log) == 1
    with pytest.raises(ShardMoved):
        await route(hub, 1)
    await layout.change(hub.log, 3)
    await hub.post(A, hub.world.notice(A))
    await route(hub, 3)
    assert [number for _, number in await numbers(hub, C)] == ["1", "2"]


@pytest.mark.parametrize("count", [0, 257])
async def test_a_number_that_cannot_be_is_refused(hub, count):
    await layout.settle(hub.log, 1, explicit=False)
    with pytest.raises(LayoutError, match="choose 1 to 256"):
        await layout.change(hub.log, count)


async def test_a_hub_that_was_never_started_has_no_number_to_change(hub):
    with pytest.raises(LayoutError, match="never started"):
        await layout.change(hub.log, 2)
