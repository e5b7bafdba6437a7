"""The connectors against a real hub, over real HTTP."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from connectors import AuthenticationFailed, Client, Inbox, PartnerKey, Published, Refused, notices, statements
from connectors.evidence import check_proof
from connectors.ids import now_ms
from connectors.session import read_json
from hub.core.checkpoint import Verifier
from hub.core.errors import VerificationFailed
from tests.connectors.partners import Running, agree, cyber, enroll, fresh, pair
from tests.world import CYBER


async def test_a_notice_goes_from_a_publisher_to_a_subscriber_and_back_as_an_acknowledgement(
    hub: Running, tmp_path: Path
) -> None:
    sender, recipient = await pair(hub)
    async with hub.client(sender, tmp_path / "out") as client, hub.client(recipient) as other:
        published = await client.publish(cyber(client))
        delivery = await anext(other.subscribe())
        assert (delivery.sender, delivery.digest, delivery.number, delivery.gap) == (
            sender.agency,
            published.digest,
            1,
            None,
        )
        assert delivery.withheld == ("source_detail",)
        assert "source_detail" not in delivery.notice.data
        assert (delivery.agreement, delivery.clause) == (f"{sender.agency}-{recipient.agency}", "c1")
        await other.acknowledge([delivery])
        status = await client.status(published.jti)
        while status["deliveries"][0]["acknowledged"] is None:
            await asyncio.sleep(0.02)
            status = await client.status(published.jti)
        assert status["status"] == "accepted"


async def test_the_same_bytes_get_the_same_receipt_from_another_journal(hub: Running, tmp_path: Path) -> None:
    sender, recipient = await pair(hub)
    async with (
        hub.client(sender, tmp_path / "a") as one,
        hub.client(sender, tmp_path / "b") as two,
        Inbox.open(tmp_path) as inbox,
    ):
        notice = cyber(one)
        first, second = await one.publish(notice), await two.publish(notice.raw)
        assert first == second
        async with hub.client(recipient) as client:
            await inbox.fetch(client, wait=5)
            await two.publish(cyber(two))
            await inbox.fetch(client, wait=5)
        assert [each.number for each in await inbox.notices()] == [1, 2]


async def test_thousands_are_published_and_stored_once_each_in_order(hub: Running, tmp_path: Path) -> None:
    sender, recipient = await pair(hub)
    async with hub.client(sender, tmp_path) as client, hub.client(recipient) as other, Inbox.open(tmp_path) as inbox:
        signed = [cyber(client, f"s{n % 7}") for n in range(1_000)]
        results = [result async for result in client.publish_many(signed)]
        assert {result.jti for result in results if isinstance(result, Published)} == {notice.jti for notice in signed}
        stored = 0
        while stored < len(signed):
            stored += await inbox.fetch(other, wait=5)
        found = await inbox.notices(limit=2_000)
        assert [each.number for each in found] == list(range(1, len(signed) + 1))
        assert {each.notice.jti for each in found} == {notice.jti for notice in signed}
        assert all(each.gap is None for each in found)
        assert not await inbox.quarantine()


async def test_a_proof_verifies_for_sender_and_recipient_and_for_nobody_elses_hub(hub: Running, tmp_path: Path) -> None:
    sender, recipient = await pair(hub)
    async with hub.client(sender) as client, hub.client(recipient) as other, Inbox.open(tmp_path) as inbox:
        published = await client.publish(cyber(client))
        await inbox.fetch(other, wait=5)
        ours, theirs = await client.proof(published.digest), await other.proof(published.digest)
        assert ours.sealed and ours.sealed["jti"] == published.jti
        assert theirs.sealed is None
        assert theirs.delivery and theirs.delivery["recipient"] == recipient.agency
        other.hub = Verifier(other.hub.name, fresh("de").public) if other.hub else None
        with pytest.raises(VerificationFailed):
            await other.proof(published.digest)


async def test_no_part_of_a_proof_can_be_exchanged(hub: Running, tmp_path: Path) -> None:
    sender, recipient = await pair(hub)
    async with hub.client(sender) as client, hub.client(recipient) as other, Inbox.open(tmp_path) as inbox:
        first, second = await client.publish(cyber(client)), await client.publish(cyber(client))
        while len(await inbox.notices()) < 2:
            await inbox.fetch(other, wait=5)
        vkey = Verifier.parse(hub.vkey.strip())
        for asking in (client, other):
            answers = []
            for published in (first, second):
                await asking.proof(published.digest)  # waits for the checkpoint
                answers.append(read_json(await asking._session.get("/v1/ledger/proof", digest=published.digest)))
            for name in answers[0].keys() - {"checkpoint"}:
                mixed = answers[0] | {name: answers[1][name]}
                with pytest.raises(VerificationFailed):
                    check_proof(mixed, first.digest, asking.key.agency, vkey)
            with pytest.raises(VerificationFailed):
                check_proof(answers[0], second.digest, asking.key.agency, vkey)
        with pytest.raises(VerificationFailed, match="another's"):
            check_proof(answers[0], first.digest, "de-somebody", vkey)


async def test_a_refusal_is_final_and_told_with_its_code(hub: Running, tmp_path: Path) -> None:
    sender, _ = await pair(hub)
    impostor = replace(sender, private=fresh("us").private)
    async with hub.client(sender, tmp_path) as client:
        client.key, key = impostor, client.key
        forged = cyber(client)
        client.key = key
        for _ in range(2):
            with pytest.raises(Refused) as refused:
                await client.publish(forged)
            assert (refused.value.code, refused.value.jti) == ("signature", forged.jti)
        assert client.journal and await client.journal.counts() == {"pending": 0, "accepted": 0, "refused": 1}
        assert await client.publish_pending() == []


async def test_another_notice_under_the_same_jti_is_equivocation(hub: Running, tmp_path: Path) -> None:
    sender, _ = await pair(hub)
    async with hub.client(sender) as client:
        first = await client.publish(cyber(client))
        usual = {"type": "threat.cyber.v1", "subject": "s", "tlp": "TLP:GREEN", "data": CYBER}
        said = notices.claims(sender.agency, **usual) | {"jti": first.jti}  # type: ignore[arg-type]
        with pytest.raises(Refused, match="equivocation"):
            await client.publish(notices.sign(said, sender))


async def test_a_preview_says_who_receives_and_an_explanation_why_not(hub: Running) -> None:
    sender, recipient = await pair(hub)
    async with hub.client(sender) as client:
        notice = cyber(client, tlp="TLP:RED")
        assert (await client.preview(notice))["grants"] == []
        granted = await client.preview(cyber(client))
        assert [grant["recipient"] for grant in granted["grants"]] == [recipient.agency]
        published = await client.publish(notice)
        why = await client.explain(published.jti, recipient.agency)
        assert why["granted"] is None and why["reasons"][0]["clause"] == "c1"


async def test_a_cancel_reaches_who_received_what_it_cancels(hub: Running, tmp_path: Path) -> None:
    sender, recipient = await pair(hub)
    async with hub.client(sender) as client, hub.client(recipient) as other, Inbox.open(tmp_path) as inbox:
        first = cyber(client)
        cancel = cyber(client, cancels=first.jti, tlp="TLP:RED")
        results = [result async for result in client.publish_many([first, cancel])]
        assert all(isinstance(result, Published) for result in results)
        while await inbox.fetch(other, wait=5) and len(await inbox.notices()) < 2:
            pass
        stored = await inbox.notices()
        assert [each.notice.cancels for each in stored] == [None, first.jti]
        assert stored[1].headers["ce_reason"] == "recall"


async def test_a_key_is_rotated_and_the_subscriber_learns_the_new_one(hub: Running, tmp_path: Path) -> None:
    sender, recipient = await pair(hub)
    new = PartnerKey.generate(sender.agency, "2026-2")
    async with hub.client(recipient) as other, Inbox.open(tmp_path) as inbox:
        async with hub.client(sender) as client:
            await client.publish(cyber(client))
            assert await inbox.fetch(other, wait=5) == 1
            await client.statement(statements.add_key(sender, new))
            await client.statement(statements.revoke_key(new, sender.kid, "rotated"))
            with pytest.raises((AuthenticationFailed, Refused)):
                await client.publish(cyber(client))
        async with hub.client(new) as client:
            await client.publish(cyber(client))
        assert await inbox.fetch(other, wait=5) == 1
        assert not await inbox.quarantine()


async def test_an_unknown_key_gets_no_token(hub: Running) -> None:
    async with hub.client(fresh("fr")) as client:
        with pytest.raises(AuthenticationFailed, match="no token for key fr-test"):
            await client.agencies()


async def test_a_token_is_asked_of_the_address_itself_unless_the_hub_is_named(hub: Running) -> None:
    sender, _ = await pair(hub)
    other_name = hub.url.replace("127.0.0.1", "localhost")
    async with Client(other_name, sender, patience=5) as client:
        with pytest.raises(AuthenticationFailed, match="aud"):
            await client.agencies()
    async with Client(other_name, sender, audience=hub.vkey.split("+")[0]) as client:
        assert sender.agency in {agency["id"] for agency in (await client.agencies())["agencies"]}


async def test_statements_collect_signatures_and_a_terminated_agreement_grants_nothing(hub: Running) -> None:
    sender, recipient = await pair(hub)
    async with hub.client(recipient) as client:
        await client.statement(statements.terminate(f"{sender.agency}-{recipient.agency}", "ended", recipient))
    async with hub.client(sender) as client:
        assert (await client.preview(cyber(client)))["grants"] == []
        assert [each["status"] for each in await client.agreements()] == ["terminated"]
        with pytest.raises(Refused, match="missing-signature"):
            agreement = {
                "id": "one-sided", "version": 1, "title": "t", "parties": sorted([sender.agency, recipient.agency]),
                "in_force": {"from": "2020-01-01T00:00:00Z", "until": "2090-01-01T00:00:00Z"},
                "clauses": [{"id": "c1", "from": [recipient.agency], "to": [sender.agency], "areas": ["trade"],
                             "ceiling": "TLP:RED"}],
            }  # fmt: skip
            await client.statement(statements.propose(agreement, sender))


async def test_a_subscriber_that_begins_late_flags_no_gap_unless_it_says_what_it_knows(hub: Running) -> None:
    sender, recipient = await pair(hub)
    async with hub.client(sender) as client, hub.client(recipient) as other:
        for _ in range(3):
            await client.publish(cyber(client))
        seen = []
        async for delivery in other.subscribe(after=0):
            seen.append((delivery.number, delivery.gap))
            if len(seen) == 2:
                break
        assert seen == [(2, None), (3, None)]
        assert (await anext(other.subscribe(after=0, numbers={}))).gap == (1, 2)


async def test_notices_of_two_senders_are_numbered_apart(hub: Running, tmp_path: Path) -> None:
    sender, recipient = await pair(hub)
    second = fresh("de")
    await enroll(hub, second)
    await agree(hub, second, recipient)
    async with (
        hub.client(sender) as one,
        hub.client(second) as two,
        hub.client(recipient) as other,
        Inbox.open(tmp_path) as inbox,
    ):
        for client in (one, two, one):
            await client.publish(cyber(client))
        while len(await inbox.notices()) < 3:
            await inbox.fetch(other, wait=5)
        assert sorted((each.notice.iss, each.number) for each in await inbox.notices()) == sorted(
            [(sender.agency, 1), (sender.agency, 2), (second.agency, 1)]
        )
        assert all(each.acknowledged and each.acknowledged <= now_ms() for each in await inbox.notices())
