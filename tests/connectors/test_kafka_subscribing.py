"""Subscribing natively: everything committed comes once and verified, from our own position; what is lost is said."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiokafka.admin import NewTopic

from connectors import ConnectorError, DeliveriesLost, Delivery, Inbox, InvalidDelivery
from connectors.deliveries import Numbering
from connectors.kafka import KafkaClient
from hub.core import jws
from tests.connectors.kafka_world import (
    World,
    admin,
    delete_before,
    fresh,
    headers_of,
    hub_writer,
    listed,
    records,
    signed,
    write,
)
from tests.connectors.stand_in import StandIn

pytestmark = pytest.mark.kafka


async def test_what_was_delivered_is_stored_once_acknowledged_and_marked(world: World, tmp_path: Path) -> None:
    await world.deliver_notices(3)
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        assert await inbox.fetch(client) == 3
        assert await inbox.fetch(client) == 0
        stored = await inbox.notices()
        assert [(each.notice.subject, each.number, each.gap) for each in stored] == [
            ("s0", 1, None), ("s1", 2, None), ("s2", 3, None)
        ]  # fmt: skip
        assert all(each.acknowledged for each in stored)
        digests = [each.digest for each in stored]
    [said] = await records(world.bootstrap, f"comity.notices.{world.recipient.agency}")
    assert headers_of(said)["content-type"] == "application/jwt" and said.key is None
    acknowledgement = jws.read_compact(said.value, typ="ack+jwt").payload
    assert acknowledgement["iss"] == world.recipient.agency and acknowledgement["jti"] == headers_of(said)["ce_id"]
    assert [each["digest"] for each in acknowledgement["stored"]] == digests


async def test_an_aborted_transaction_is_not_seen_and_holes_in_the_offsets_are_no_gaps(
    world: World, tmp_path: Path
) -> None:
    first = await world.deliver_notices(2)
    await world.deliver(world.delivery(signed(world.sender, "never").raw, number=3), abort=True)
    world.numbers = 2
    later = await world.deliver_notices(1)
    await world.deliver(world.delivery(signed(world.sender, "never").raw, number=4), abort=True)
    assert later[0] > first[-1] + 2
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        assert await inbox.fetch(client) == 3
        assert [(each.offset, each.gap) for each in await inbox.notices()] == [(n, None) for n in (*first, *later)]
        assert await inbox.fetch(client) == 0


async def test_what_belongs_to_an_open_transaction_waits_until_it_is_committed(world: World) -> None:
    async with hub_writer(world.bootstrap) as producer, world.client(world.recipient) as client:
        await producer.begin_transaction()
        await producer.send_and_wait(world.deliveries, partition=0, **world.delivery(signed(world.sender).raw))
        numbering = Numbering(complete=True)
        assert await client.receiver.fetch(-1, numbering, wait=0.5) == ([], -1)
        await producer.commit_transaction()
        page, after = await client.receiver.fetch(-1, numbering, wait=10)
        assert [each.offset for each in page] == [after] == [0]


async def test_a_delivery_that_comes_later_is_there_at_once(world: World) -> None:
    async with world.client(world.recipient) as client, hub_writer(world.bootstrap) as producer:
        stream = client.subscribe()
        coming = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(1)
        rows = [world.delivery(signed(world.sender).raw)]
        await write(producer, world.deliveries, rows)
        began = asyncio.get_running_loop().time()
        assert (await coming).number == 1
        assert asyncio.get_running_loop().time() - began < 1.0


async def test_an_inbox_goes_on_where_it_was_and_repeats_nothing(world: World, tmp_path: Path) -> None:
    for round_ in range(3):
        await world.deliver_notices(2)
        async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
            assert await inbox.fetch(client, wait=5) == 2
            assert len(await inbox.notices()) == 2 * (round_ + 1)


async def test_many_deliveries_come_in_pages_in_their_order(world: World, tmp_path: Path) -> None:
    await world.deliver_notices(450)
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        assert await inbox.fetch(client) == 450
        stored = await inbox.notices(limit=1_000)
        assert [each.number for each in stored] == list(range(1, 451)) and not any(each.gap for each in stored)


async def test_two_readers_of_one_client_each_have_their_own_position(world: World, tmp_path: Path) -> None:
    await world.deliver_notices(250)
    async with (
        world.client(world.recipient) as client,
        Inbox.open(tmp_path / "one") as one,
        Inbox.open(tmp_path / "two") as two,
    ):
        assert await asyncio.gather(one.fetch(client), two.fetch(client)) == [250, 250]


async def test_a_missing_number_shows_as_a_gap_also_across_a_restart(world: World, tmp_path: Path) -> None:
    await world.deliver_notices(2)
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        await inbox.fetch(client)
    await world.deliver(world.delivery(signed(world.sender).raw, number=5))
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        await inbox.fetch(client)
        assert [each.gap for each in await inbox.notices()] == [None, None, (3, 5)]


async def test_what_does_not_verify_goes_to_quarantine_and_is_in_nobodys_way(world: World, tmp_path: Path) -> None:
    stranger = fresh("us")
    forged = world.delivery(signed(stranger).raw, number=1)
    bytes_ = {"value": b"\xff\xfe", "key": None, "headers": [("x", b"\xff"), ("ce_number", b"1")]}
    empty = {"value": b"", "key": b"k", "headers": []}
    good = world.delivery(signed(world.sender).raw, number=1)
    lying = world.delivery(signed(world.sender).raw, number=2, ce_withheld="")
    await world.deliver(forged, bytes_, empty, good, lying)
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        assert await inbox.fetch(client) == 1
        assert [(each.offset, each.reason) for each in await inbox.quarantine()] == [
            (0, "unknown-key"), (1, "malformed"), (2, "malformed"), (4, "withheld")
        ]  # fmt: skip
        assert await inbox.position() == 4 and (await inbox.quarantine())[1].raw == b"\xff\xfe"
        stream = client.subscribe()
        with pytest.raises(InvalidDelivery) as invalid:
            await anext(stream)
        assert invalid.value.offset == 0
        assert (await anext(client.subscribe(2, {}))).offset == 3


async def test_a_notice_delivered_twice_is_stored_once(world: World, tmp_path: Path) -> None:
    raw = signed(world.sender).raw
    await world.deliver(world.delivery(raw, 1), world.delivery(raw, 1))
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        assert await inbox.fetch(client) == 1 and await inbox.position() == 1


async def test_deliveries_deleted_before_they_were_fetched_are_told_and_can_be_passed_over(
    world: World, tmp_path: Path
) -> None:
    await world.deliver_notices(2)
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        await inbox.fetch(client)
    offsets = await world.deliver_notices(6)
    await delete_before(world.bootstrap, world.deliveries, offsets[3])
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        for _ in range(2):  # said every time: nothing goes on by itself
            with pytest.raises(DeliveriesLost, match=f"offsets 2 to {offsets[3] - 1} were deleted") as lost:
                await inbox.fetch(client)
        assert len(await inbox.notices()) == 2
        await inbox.pass_over(lost.value)
        assert await inbox.fetch(client) == 3
        assert [each.gap for each in await inbox.notices()] == [None, None, (3, 6), None, None]


async def test_a_first_start_begins_with_what_is_there(world: World, tmp_path: Path) -> None:
    offsets = await world.deliver_notices(3)
    await delete_before(world.bootstrap, world.deliveries, offsets[2])
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        assert await inbox.fetch(client) == 1
        assert [each.gap for each in await inbox.notices()] == [(1, 3)]


async def test_a_topic_that_was_made_anew_is_told_and_never_read_from_its_beginning(
    world: World, tmp_path: Path
) -> None:
    await world.deliver_notices(4)
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        await inbox.fetch(client)
    async with admin(world.bootstrap) as asked:
        await asked.delete_topics([world.deliveries])
        async with asyncio.timeout(20):
            while world.deliveries in await asked.list_topics():
                await asyncio.sleep(0.1)
        await asked.create_topics([NewTopic(world.deliveries, 1, 1)])
    await world.deliver_notices(1)
    async with world.client(world.recipient) as client, Inbox.open(tmp_path) as inbox:
        with pytest.raises(DeliveriesLost, match="made anew") as lost:
            await inbox.fetch(client)
        with pytest.raises(DeliveriesLost):
            await inbox.pass_over(lost.value)
        assert await inbox.position() == 3 and len(await inbox.notices()) == 4


async def test_the_others_keys_may_come_from_the_hub_over_http(world: World, stand_in: StandIn) -> None:
    asked: list[str] = []

    def agencies(target: str) -> dict[str, Any]:
        asked.append(target)
        return listed(world.sender)

    stand_in.routes["/v1/agencies"] = agencies
    await world.deliver_notices(2)
    address = f"kafka://{world.bootstrap}?api={stand_in.url}"
    async with KafkaClient(address, world.recipient, patience=5) as client:
        page, _ = await client.receiver.fetch(-1, Numbering(complete=True))
        assert [type(each) for each in page] == [Delivery, Delivery] and len(asked) == 1


async def test_without_the_others_keys_it_is_said_at_once_how_to_name_them(world: World, tmp_path: Path) -> None:
    async with KafkaClient(f"kafka://{world.bootstrap}", world.recipient) as client, Inbox.open(tmp_path) as inbox:
        with pytest.raises(ConnectorError, match="agencies=FILE"):
            await inbox.fetch(client)
        with pytest.raises(ConnectorError, match="agencies=FILE"):
            await anext(client.subscribe())


@pytest.mark.parametrize("content", [None, "", "[]", '{"agencies": 7}', '{"agencies": [{}]}'])
async def test_a_file_of_keys_that_is_none_is_named(world: World, content: str | None) -> None:
    if content is None:
        world.agencies.unlink()
    else:
        world.agencies.write_text(content)
    async with world.client(world.recipient) as client:
        with pytest.raises(ConnectorError, match=r"agencies\.json|agency list"):
            await client.receiver.fetch(-1, Numbering(complete=True))
