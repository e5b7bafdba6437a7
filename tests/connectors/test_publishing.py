"""Publishing against a hub that misbehaves: what is sent again, what is final, and what is believed."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from connectors import (
    AuthenticationFailed,
    Client,
    ConnectorError,
    PartnerKey,
    Published,
    Refused,
    StoreError,
    UnexpectedAnswer,
    Unreachable,
)
from connectors import notices as drafts
from hub.core.errors import VerificationFailed
from tests.connectors.partners import cyber
from tests.connectors.stand_in import DROP, StandIn

KEY = PartnerKey.generate("us-cisa", "2026-1")


def client(hub: StandIn, journal: Path | None = None, patience: float = 10.0) -> Client:
    return Client(hub.url, KEY, journal=journal, vkey=hub.vkey, patience=patience)


@pytest.mark.parametrize(
    "script",
    [[DROP], [(503, "busy")], [(500, "internal")], [(502, {})], [DROP, (503, "draining"), (429, "rate-limited"), DROP]],
    ids=["dropped", "busy", "broken", "proxy", "all"],
)
async def test_what_decides_nothing_is_sent_again_as_the_same_bytes(
    stand_in: StandIn, tmp_path: Path, script: list[object]
) -> None:
    stand_in.script = list(script)
    async with client(stand_in, tmp_path) as partner:
        notice = cyber(partner)
        published = await partner.publish(notice)
        assert stand_in.posted == [notice.raw] * (len(script) + 1)
        assert published.receipt == stand_in.answered[notice.jti].decode()
        assert partner.journal and await partner.journal.counts() == {"pending": 0, "accepted": 1, "refused": 0}


async def test_a_pause_that_the_hub_asks_for_is_kept_by_every_request(stand_in: StandIn) -> None:
    stand_in.script = [(503, {"retry-after": "1"})]
    async with client(stand_in) as partner:
        first = asyncio.create_task(partner.publish(cyber(partner)))
        while not stand_in.posted:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        began = time.monotonic()
        await partner.publish(cyber(partner))
        assert time.monotonic() - began > 0.7
        await first


async def test_a_hub_that_never_decides_leaves_the_notice_pending_and_a_later_one_takes_it(
    stand_in: StandIn, tmp_path: Path
) -> None:
    stand_in.script = [(503, "busy")] * 50
    async with client(stand_in, tmp_path, patience=0.5) as partner:
        notice = cyber(partner)
        with pytest.raises(Unreachable, match="busy"):
            await partner.publish(notice)
        assert partner.journal and (await partner.journal.counts())["pending"] == 1
    stand_in.script = []
    async with client(stand_in, tmp_path) as partner:
        [result] = await partner.publish_pending()
        assert isinstance(result, Published) and result.jti == notice.jti
        assert set(stand_in.posted) == {notice.raw}


async def test_no_hub_at_all_is_unreachable(tmp_path: Path) -> None:
    async with Client("http://127.0.0.1:9", KEY, journal=tmp_path, patience=0.3) as partner:
        with pytest.raises(Unreachable, match="ConnectError"):
            await partner.publish(cyber(partner))
        assert partner.journal and (await partner.journal.counts())["pending"] == 1


@pytest.mark.parametrize(
    ("status", "code"), [(409, "equivocation"), (422, "schema"), (413, "too-large"), (403, "wrong-sender")]
)
async def test_a_refusal_is_final_and_not_sent_again(stand_in: StandIn, tmp_path: Path, status: int, code: str) -> None:
    stand_in.script = [(status, code)]
    async with client(stand_in, tmp_path) as partner:
        notice = cyber(partner)
        for _ in range(2):
            with pytest.raises(Refused) as refused:
                await partner.publish(notice)
            assert (refused.value.code, refused.value.status, refused.value.jti) == (code, status, notice.jti)
        assert stand_in.posted == [notice.raw]


@pytest.mark.parametrize(("status", "code"), [(403, "forbidden"), (404, "not-found")])
async def test_a_no_to_the_caller_leaves_the_notice_pending(
    stand_in: StandIn, tmp_path: Path, status: int, code: str
) -> None:
    stand_in.script = [(status, code)]
    async with client(stand_in, tmp_path) as partner:
        with pytest.raises(Refused):
            await partner.publish(cyber(partner))
        [result] = await partner.publish_pending()
        assert isinstance(result, Published)


async def test_a_no_of_somebody_else_is_no_refusal(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.script = [(403, {"content-type": "text/html"})]
    async with client(stand_in, tmp_path) as partner:
        with pytest.raises(UnexpectedAnswer, match="proxies"):
            await partner.publish(cyber(partner))
        assert partner.journal and (await partner.journal.counts())["pending"] == 1


async def test_an_expired_token_is_renewed_once_and_a_refused_key_ends_it(stand_in: StandIn) -> None:
    async with client(stand_in) as partner:
        await partner.publish(cyber(partner))
        stand_in.valid.clear()
        await partner.publish(cyber(partner))
        assert stand_in.tokens == 2
        stand_in.valid.clear()
        stand_in.token_script = [(401, "invalid_client")]
        with pytest.raises(AuthenticationFailed, match="us-cisa/2026-1"):
            await partner.publish(cyber(partner))


async def test_a_busy_token_endpoint_is_asked_again_and_concurrent_requests_share_one_token(stand_in: StandIn) -> None:
    stand_in.token_script = [(429, {"retry-after": "0"}), DROP]
    async with client(stand_in) as partner:
        await asyncio.gather(*(partner.publish(cyber(partner)) for _ in range(20)))
        assert stand_in.tokens == 1


async def test_a_receipt_of_another_hub_or_for_another_notice_is_not_believed(
    stand_in: StandIn, tmp_path: Path
) -> None:
    async with Client(stand_in.url, KEY, journal=tmp_path, vkey=StandIn().vkey) as partner:
        with pytest.raises(VerificationFailed, match="not signed by"):
            await partner.publish(cyber(partner))
        assert partner.journal and (await partner.journal.counts())["pending"] == 1
    async with Client(stand_in.url, KEY) as partner:  # even a client that knows no hub key reads what it is given
        first = cyber(partner)
        await partner.publish(first)
        stand_in.accept = lambda body: (202, {}, b'{"receipt":"%b"}' % stand_in.answered[first.jti])  # type: ignore[method-assign]
        with pytest.raises(VerificationFailed, match="another notice"):
            await partner.publish(cyber(partner))


async def test_a_cancel_is_not_sent_before_the_notice_it_cancels_is_decided(stand_in: StandIn) -> None:
    stand_in.script = [(503, "busy"), (503, "busy")]
    async with client(stand_in) as partner:
        first = cyber(partner)
        cancel = cyber(partner, cancels=first.jti)
        results = [result async for result in partner.publish_many([first, cancel])]
    assert [result.jti for result in results] == [first.jti, cancel.jti]
    assert stand_in.posted == [first.raw, first.raw, first.raw, cancel.raw]


async def test_a_refusal_among_many_is_a_result_and_a_dead_hub_ends_them(stand_in: StandIn, tmp_path: Path) -> None:
    stand_in.script = [(422, "schema")]
    async with client(stand_in, tmp_path, patience=0.3) as partner:
        results = [result async for result in partner.publish_many([cyber(partner) for _ in range(5)], concurrency=1)]
        assert [type(result) for result in results] == [Refused] + [Published] * 4
        stand_in.script = [(503, "busy")] * 100
        with pytest.raises(Unreachable):
            async for _ in partner.publish_many([cyber(partner) for _ in range(5)], concurrency=2):
                pass
        assert partner.journal and (await partner.journal.counts())["pending"] == 2


async def test_other_bytes_under_a_known_jti_stop_at_the_journal(stand_in: StandIn, tmp_path: Path) -> None:
    async with client(stand_in, tmp_path) as partner:
        first = cyber(partner)
        await partner.publish(first)
        fields = {"type": "threat.cyber.v1", "subject": "s", "tlp": "TLP:RED", "data": {"kind": "other", "title": "t"}}
        other = drafts.sign(drafts.claims("us-cisa", **fields) | {"jti": first.jti}, KEY)  # type: ignore[arg-type]
        with pytest.raises(StoreError, match="other bytes"):
            await partner.publish(other)
        assert stand_in.posted == [first.raw]


async def test_an_address_that_is_none_is_told_at_once() -> None:
    with pytest.raises(ConnectorError, match="no address of a hub"):
        Client("hub.example", KEY)


async def test_neither_key_nor_token_shows_in_a_repr_or_an_error(
    stand_in: StandIn, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "connectors")
    stand_in.script = [(401, "unauthorized"), (401, "unauthorized")]
    async with client(stand_in) as partner:
        with pytest.raises(AuthenticationFailed) as failed:
            await partner.publish(cyber(partner))
        told = f"{partner!r} {KEY!r} {failed.value!r} {caplog.text}"
        assert "token-" not in told and "PRIVATE" not in told and "Ed25519PrivateKey" not in told
