"""Publishing natively: journal first, the same bytes again, and nothing is said to be more than it is."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event

from connectors import InvalidNotice, PartnerKey, Published, Refused, SignedNotice
from connectors import notices as drafts
from connectors.journal import Journal
from connectors.kafka import Writer
from hub.core import envelope
from tests.connectors.kafka_world import World, fresh, headers_of, records, signed
from tests.world import CYBER

pytestmark = pytest.mark.kafka


async def test_the_record_is_the_notice_as_the_api_writes_it(world: World, tmp_path: Path) -> None:
    async with world.client(world.sender, journal=tmp_path) as client:
        notice = signed(world.sender, "Lücke 7")
        published = await client.publish(notice)
        assert published == Published(notice.jti, notice.digest, "", f"kafka:{world.notices}/0/0")
        assert client.journal and await client.journal.counts() == {"pending": 0, "accepted": 1, "refused": 0}
    [record] = await records(world.bootstrap, world.notices)
    assert (record.key, record.value) == ("Lücke 7".encode(), notice.raw)
    headers = headers_of(record)
    assert headers.pop("ce_time").endswith("Z")
    assert headers == {
        "ce_specversion": "1.0", "ce_id": notice.jti, "ce_source": f"/agencies/{world.sender.agency}",
        "ce_type": "comity.notice.threat.cyber.v1", "ce_subject": "Lücke 7", "content-type": "application/sd-jwt",
    }  # fmt: skip
    event = from_binary_event(KafkaMessage(dict(record.headers), record.key, record.value))
    assert (event.get_id(), event.get_data()) == (notice.jti, notice.raw.decode())


async def test_the_same_notice_again_gets_the_same_answer_and_is_written_once(world: World, tmp_path: Path) -> None:
    notice = signed(world.sender)
    answers = []
    for _ in range(2):
        async with world.client(world.sender, journal=tmp_path) as client:
            answers += [await client.publish(notice), await client.publish(notice)]
    assert len(set(answers)) == 1 and len(await records(world.bootstrap, world.notices)) == 1


async def test_what_a_kill_left_pending_is_sent_again_as_the_same_bytes(world: World, tmp_path: Path) -> None:
    """Pending is what was never sent, and what was sent and not marked: nobody can tell the two apart."""
    notices = [signed(world.sender, f"s{n}") for n in range(3)]
    journal = Journal.open(tmp_path)
    for notice in notices:
        await journal.add(notice)
    await journal.close()
    async with world.client(world.sender) as unmarked:
        await unmarked.publish(notices[1])
    async with world.client(world.sender, journal=tmp_path) as client:
        results = await client.publish_pending()
        assert sorted(result.jti or "" for result in results) == sorted(notice.jti for notice in notices)
        assert await client.publish_pending() == []
    written = [record.value for record in await records(world.bootstrap, world.notices)]
    assert sorted(written) == sorted([notice.raw for notice in notices] + [notices[1].raw])


async def test_many_are_written_each_once_and_a_cancel_behind_its_notice(world: World, tmp_path: Path) -> None:
    notices = [signed(world.sender, f"s{n}") for n in range(300)]
    notices.insert(1, signed(world.sender, "s0", cancels=notices[0].jti))
    async with world.client(world.sender, journal=tmp_path) as client:
        results = [result async for result in client.publish_many(notices)]
        assert {result.jti for result in results if isinstance(result, Published)} == {each.jti for each in notices}
    written = [record.value for record in await records(world.bootstrap, world.notices)]
    assert sorted(written) == sorted(each.raw for each in notices)
    assert written.index(notices[0].raw) < written.index(notices[1].raw)


def faulty(key: PartnerKey) -> dict[str, SignedNotice]:
    """By the reason that a hub would give."""

    def said(**change: int | str) -> dict[str, Any]:
        fresh_claims = drafts.claims(key.agency, type="threat.cyber.v1", subject="s", tlp="TLP:GREEN", data=CYBER)
        return fresh_claims | change

    other, now = fresh(), said()["iat"]
    whole, broken = drafts.sign(said(), key).raw, bytearray(drafts.sign(said(), key).raw)
    broken[broken.index(b"~") - 3] ^= 1
    return {
        "expired": drafts.sign(said(iat=now - 1_000, exp=now - 10), key),
        "lifetime": drafts.sign(said(exp=now + 500 * 86_400), key),
        "not-yet-valid": drafts.sign(said(iat=now + 4_000), key),
        "schema": drafts.sign(said(tlp="TLP:PINK"), key),
        "disclosure": SignedNotice.read(envelope.withhold(envelope.split(whole), ["source_detail"])),
        "signature": SignedNotice.read(bytes(broken)),
        "wrong-sender": drafts.sign(said(iss=other.agency), other),
    }


async def test_what_no_hub_would_take_is_heard_at_once_and_neither_journaled_nor_sent(
    world: World, tmp_path: Path
) -> None:
    wrong = faulty(world.sender)
    async with world.client(world.sender, journal=tmp_path) as client:
        for code, notice in wrong.items():
            with pytest.raises(InvalidNotice, match=code) as invalid:
                await client.publish(notice)
            assert invalid.value.code == code
        good = signed(world.sender)
        results = {result.jti: result async for result in client.publish_many([*wrong.values(), good])}
        assert isinstance(results.pop(good.jti), Published)
        assert {result.code for result in results.values() if isinstance(result, Refused)} == wrong.keys()
        assert client.journal and await client.journal.counts() == {"pending": 0, "accepted": 1, "refused": 0}
    assert len(await records(world.bootstrap, world.notices)) == 1


async def test_a_notice_by_another_key_of_the_agency_is_for_the_hub_to_judge(world: World) -> None:
    elder = PartnerKey.generate(world.sender.agency, "2025-1")
    async with world.client(world.sender) as client:
        await client.publish(signed(elder))


async def test_what_expired_while_it_was_pending_is_sent_all_the_same(world: World, tmp_path: Path) -> None:
    """It may stand in the topic already, and be accepted; only the hub can say."""
    expired = faulty(world.sender)["expired"]
    unreadable = faulty(world.sender)["schema"]
    journal = Journal.open(tmp_path)
    for notice in (expired, unreadable):
        await journal.add(notice)
    await journal.close()
    async with world.client(world.sender, journal=tmp_path) as client:
        assert [type(result) for result in await client.publish_pending()] == [Published, Published]
    written = {record.value: record for record in await records(world.bootstrap, world.notices)}
    assert headers_of(written[unreadable.raw]) == {"content-type": "application/sd-jwt"}
    assert written[expired.raw].key == b"s"


async def test_a_topic_that_is_not_there_is_named_and_the_notice_stays_pending(
    kafka_bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connectors.kafka_link.REQUEST_SECONDS", 1.0)
    nobody = World(kafka_bootstrap, tmp_path)
    async with nobody.client(nobody.sender, journal=tmp_path) as client:
        with pytest.raises(Refused, match=nobody.notices) as refused:
            await client.publish(signed(nobody.sender))
        assert (refused.value.code, refused.value.status) == ("not-found", 404)
        assert client.journal and (await client.journal.counts())["pending"] == 1


async def test_a_client_that_did_nothing_closes_and_one_that_is_cancelled_too(world: World) -> None:
    async with world.client(world.sender):
        pass
    async with world.client(world.sender) as client:
        tasks = [asyncio.create_task(client.publish(signed(world.sender))) for _ in range(10)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert sum(isinstance(each, Published) for each in ended) >= 5


async def test_a_writer_counts_what_the_broker_has(world: World) -> None:
    writer = Writer(world.client(world.sender).address, world.sender.agency, 10)
    try:
        offsets = [await writer.append(b"x", None, {}) for _ in range(3)]
    finally:
        await writer.close()
    assert offsets == [0, 1, 2]
