"""The inbox: what does not verify is kept apart, what comes twice is stored once, what fails to be acknowledged waits."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from connectors import Client, Inbox, InvalidDelivery, PartnerKey, StoreError, Unreachable
from connectors import notices as drafts
from connectors.deliveries import KeyRing
from connectors.receiving import HttpReceiver
from connectors.store import Store
from hub.core import jws
from tests.connectors.stand_in import StandIn
from tests.connectors.test_delivery_checks import ME, SENDER, claims, item, listed
from tests.world import CYBER

KEY = PartnerKey.generate(ME, "1")


def signed(number: int, **change: Any) -> dict[str, Any]:
    return item(drafts.sign(claims(subject=f"s{number}"), SENDER).raw, ce_number=str(number)) | change


def serve(hub: StandIn, topic: list[dict[str, Any]]) -> None:
    """The deliveries of a topic, with their places in it as offsets; keys; acknowledgements."""
    hub.routes["/v1/agencies"] = listed(SENDER)

    def page(target: str) -> dict[str, Any]:
        asked = {name: float(value[0]) for name, value in parse_qs(urlsplit(target).query).items()}
        after, limit = int(asked["after"]), int(asked["limit"])
        found = [each | {"offset": place} for place, each in enumerate(topic)][after + 1 :][:limit]
        return {"deliveries": found, "next": found[-1]["offset"] if found else after}

    hub.routes["/v1/deliveries"] = page
    hub.accept = lambda body: (202, {}, b'{"digest":"x"}')  # type: ignore[method-assign]


def acknowledged(hub: StandIn) -> list[tuple[str, int, str]]:
    bodies = [jws.read_compact(body, typ="ack+jwt").payload for body in hub.posted]
    assert all(body["iss"] == ME for body in bodies)
    return [(each["sender"], each["number"], each["digest"]) for body in bodies for each in body["stored"]]


async def test_what_does_not_verify_is_quarantined_with_its_reason_and_never_acknowledged(
    stand_in: StandIn, tmp_path: Path
) -> None:
    good, bad = signed(1), signed(2, headers={"ce_number": "no"})
    unsigned = {"notice": "hello", "headers": {}}
    serve(stand_in, [bad, good, unsigned])
    async with Client(stand_in.url, KEY) as client, Inbox.open(tmp_path) as inbox:
        assert await inbox.fetch(client) == 1
        assert await inbox.position() == 2
        quarantined = await inbox.quarantine()
        assert [(each.offset, each.reason) for each in quarantined] == [(0, "headers"), (2, "malformed")]
        assert quarantined[1].raw == b"hello"
        assert [number for _, number, _ in acknowledged(stand_in)] == [1]


async def test_subscribe_stops_at_what_does_not_verify_and_can_go_on_after_it(stand_in: StandIn) -> None:
    serve(stand_in, [signed(1), {"notice": "hello", "headers": {}}, signed(2)])
    async with Client(stand_in.url, KEY) as client:
        stream = client.subscribe()
        assert (await anext(stream)).number == 1
        with pytest.raises(InvalidDelivery) as invalid:
            await anext(stream)
        delivery = await anext(client.subscribe(invalid.value.offset, {SENDER.agency: 1}))
        assert (delivery.number, delivery.gap) == (2, None)


async def test_a_gap_is_flagged_also_when_it_opens_across_a_restart(stand_in: StandIn, tmp_path: Path) -> None:
    topic = [signed(1), signed(2)]
    serve(stand_in, topic)
    async with Client(stand_in.url, KEY) as client:
        async with Inbox.open(tmp_path) as inbox:
            await inbox.fetch(client)
        topic += [signed(4), signed(5)]
        async with Inbox.open(tmp_path) as inbox:
            await inbox.fetch(client)
            assert [each.gap for each in await inbox.notices()] == [None, None, (3, 4), None]


async def test_a_notice_delivered_twice_is_stored_once_and_other_bytes_under_its_jti_are_quarantined(
    stand_in: StandIn, tmp_path: Path
) -> None:
    said = claims()
    once = item(drafts.sign(said, SENDER).raw)
    other = item(drafts.sign(said | {"subject": "changed"}, SENDER).raw, ce_number="2")
    serve(stand_in, [once, once, other])
    async with Client(stand_in.url, KEY) as client, Inbox.open(tmp_path) as inbox:
        assert await inbox.fetch(client) == 1
        assert [each.notice.subject for each in await inbox.notices()] == ["s"]
        assert [(each.offset, each.reason) for each in await inbox.quarantine()] == [(2, "equivocation")]
        assert await inbox.position() == 2


async def test_an_acknowledgement_that_fails_leaves_the_notice_stored_and_is_made_later(
    stand_in: StandIn, tmp_path: Path
) -> None:
    serve(stand_in, [signed(1), signed(2)])
    stand_in.script = [(422, "schema"), (422, "schema")]  # after the page, and after the empty one
    async with Client(stand_in.url, KEY) as client:
        async with Inbox.open(tmp_path) as inbox:
            assert await inbox.fetch(client) == 2
            assert [each.acknowledged for each in await inbox.notices()] == [None, None]
        async with Inbox.open(tmp_path) as inbox:
            assert await inbox.acknowledge(client) == 2
            assert all(each.acknowledged for each in await inbox.notices())
            assert await inbox.acknowledge(client) == 0


async def test_acknowledgements_are_batched_below_the_size_a_hub_takes(stand_in: StandIn, tmp_path: Path) -> None:
    serve(stand_in, [signed(number) for number in range(1, 701)])
    async with Client(stand_in.url, KEY) as client, Inbox.open(tmp_path) as inbox:
        await inbox.fetch(client)
        assert sorted(number for _, number, _ in acknowledged(stand_in)) == list(range(1, 701))
        assert max(len(body) for body in stand_in.posted) < 65_536


async def test_run_survives_a_hub_that_is_away_and_stores_what_comes_after(stand_in: StandIn, tmp_path: Path) -> None:
    topic = [signed(1)]
    serve(stand_in, topic)
    async with Client(stand_in.url, KEY, patience=0.2) as client, Inbox.open(tmp_path) as inbox:
        running = asyncio.create_task(inbox.run(client))
        async with asyncio.timeout(20):
            while await inbox.position() < 0:
                await asyncio.sleep(0.02)
            stand_in.valid.clear()
            stand_in.token_script = [(503, {})] * 5
            topic.append(signed(2))
            while await inbox.position() < 1:
                await asyncio.sleep(0.02)
        assert not stand_in.token_script
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert [each.number for each in await inbox.notices()] == [1, 2]


async def test_a_page_whose_keys_cannot_be_looked_up_half_way_is_counted_once(
    stand_in: StandIn, tmp_path: Path
) -> None:
    other = PartnerKey.generate("de-bsi", "1")
    said = drafts.claims("de-bsi", type="threat.cyber.v1", subject="s", tlp="TLP:GREEN", data=CYBER)
    serve(stand_in, [signed(1), signed(2), item(drafts.sign(said, other).raw)])
    answers: list[Any] = [listed(SENDER), Unreachable("not now"), listed(SENDER, other)]

    async def fetch() -> dict[str, Any]:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer  # type: ignore[no-any-return]

    async with Client(stand_in.url, KEY) as client, Inbox.open(tmp_path) as inbox:
        client.receiver = HttpReceiver(client._session, KEY, KeyRing(fetch))
        running = asyncio.create_task(inbox.run(client))
        async with asyncio.timeout(20):
            while await inbox.position() < 2:
                await asyncio.sleep(0.02)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert [(each.number, each.gap) for each in await inbox.notices()] == [(1, None), (2, None), (1, None)]


async def test_two_runs_of_one_inbox_store_each_notice_once(stand_in: StandIn, tmp_path: Path) -> None:
    unsigned = {"notice": "hello", "headers": {}}
    serve(stand_in, [signed(number) for number in range(1, 101)] + [unsigned])
    async with (
        Client(stand_in.url, KEY) as client,
        Inbox.open(tmp_path) as one,
        Inbox.open(tmp_path) as two,
    ):
        stored = await asyncio.gather(one.fetch(client), two.fetch(client))
        assert sum(stored) == 100
        assert [each.number for each in await one.notices()] == list(range(1, 101))
        assert [each.offset for each in await two.quarantine()] == [100]


async def test_one_bad_write_of_a_group_does_not_undo_the_others(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "s.db", "CREATE TABLE t (n INTEGER PRIMARY KEY) STRICT;", 1)

    def insert(*numbers: int) -> Any:
        return store.write(lambda connection: [connection.execute("INSERT INTO t VALUES (?)", (n,)) for n in numbers])

    results = await asyncio.gather(insert(1), insert(3, 1), insert(2), return_exceptions=True)
    assert [isinstance(result, Exception) for result in results] == [False, True, False]
    assert await store.read(lambda connection: connection.execute("SELECT n FROM t").fetchall()) == [(1,), (2,)]
    await store.close()


async def test_a_file_that_is_no_inbox_or_of_another_layout_is_refused(tmp_path: Path) -> None:
    (tmp_path / "inbox.db").write_bytes(b"hello" * 1_000)
    with pytest.raises(StoreError, match="cannot use"):
        Inbox.open(tmp_path)
    newer = Store.open(tmp_path / "newer.db", "CREATE TABLE t (n INTEGER) STRICT;", 9)
    await newer.close()
    with pytest.raises(StoreError, match="layout 9"):
        Inbox.open(tmp_path / "newer.db")
