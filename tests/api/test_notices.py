"""Publishing notices and asking about them, against a real hub."""

import asyncio
import hashlib

import pytest

from hub.core import envelope, jws, strict
from tests.api.rig import AUDITOR, OUT, SD_JWT, A, B, C, now_s, problem, rigged
from tests.world import CYBER

pytestmark = pytest.mark.asyncio(loop_scope="module")


def digest_of(raw):
    return strict.b64(hashlib.sha256(raw.partition(b"~")[0]).digest())


async def in_topic(rig, agency):
    """How often each message stands in the agency's topic."""
    stored = await rig.hub.log.read(f"comity.notices.{agency}", limit=10_000)
    values = [each.record.value for each in stored]
    return {value: values.count(value) for value in values}


async def test_an_accepted_notice_is_durable_and_its_receipt_says_so(rig):
    raw = rig.now().notice(A)
    answer = await rig.publish(A, raw)
    said = answer.json()
    assert answer.status_code == 202, said
    assert answer.headers["location"] == f"/v1/notices/{A}/{said['jti']}"
    assert said["digest"] == digest_of(raw) and said["iss"] == A
    assert (await in_topic(rig, A))[raw] == 1
    receipt = jws.read_compact(said["receipt"].encode(), typ="receipt+jwt")
    public = rig.hub.hub_key.public_key().public_bytes_raw()
    assert receipt.kid == "hub" and envelope.verify(public, receipt.signature, receipt.signing_input)
    assert {name: receipt.payload[name] for name in ("sub", "jti", "digest")} == {
        "sub": A, "jti": said["jti"], "digest": said["digest"]}  # fmt: skip
    assert abs(receipt.payload["iat"] - now_s()) < 60 and receipt.payload["iss"] == rig.hub.origin


async def test_the_same_bytes_get_the_same_answer_and_stand_in_the_log_once(rig):
    raw = rig.now().notice(A)
    first = await rig.publish(A, raw)
    await rig.settled(first.json())
    await asyncio.sleep(1.1)  # a receipt dated by the second answer would differ now
    again = await rig.publish(A, raw)
    assert (again.status_code, again.content) == (202, first.content)
    assert (await in_topic(rig, A))[raw] == 1


async def test_identical_posts_at_the_same_time_share_one_append(rig):
    raw = rig.now().notice(A)
    await rig.auth(A)
    answers = await asyncio.gather(*(rig.publish(A, raw) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert (await in_topic(rig, A))[raw] == 1


async def test_the_same_jti_with_other_bytes_is_equivocation_and_recorded(rig):
    first = rig.now().notice(A)
    jti = (await rig.publish(A, first)).json()["jti"]
    other = rig.now().notice(A, jti=jti, subject="something else")
    problem(await rig.publish(A, other), 409, "equivocation")
    status = await rig.settled(jti)
    assert status["status"] == "accepted" and status["digest"] == digest_of(first)

    async def recorded():
        await rig.hub.index.catch_up(A)
        return await rig.hub.index.by_digest(hashlib.sha256(other.partition(b"~")[0]).digest(), A)

    found = await recorded()
    assert found and found.status == "refused"


async def test_equivocation_is_noticed_while_the_first_is_on_its_way(rig):
    jti = rig.now().id()
    rivals = [rig.now().notice(A, jti=jti, subject=f"version {n}") for n in range(5)]
    await rig.auth(A)
    answers = await asyncio.gather(*(rig.publish(A, raw) for raw in rivals))
    assert sorted(answer.status_code for answer in answers) == [202, 409, 409, 409, 409]


REFUSED = [
    ("schema", 422, {"data": CYBER | {"severity": "hgh"}}),
    ("schema", 422, {"tlp": "TLP:PURPLE"}),
    ("expired", 422, {"iat": 1_700_000_000, "exp": 1_700_000_100}),
    ("not-yet-valid", 422, {"iat": now_s() + 100_000, "exp": now_s() + 200_000}),
    ("lifetime", 422, {"iat": now_s(), "exp": now_s() + 10**9}),
    ("unknown-key", 422, {"kid": f"{A}/9"}),
    ("signature", 422, {"key": "someone else"}),
    ("wrong-sender", 403, {"kid": f"{B}/1"}),
]


@pytest.mark.parametrize(("code", "status", "change"), REFUSED)
async def test_a_refusal_names_its_reason_and_is_written_to_the_ledger_once(rig, code, status, change):
    raw = rig.now().notice(A, **change)
    first = problem(await rig.publish(A, raw), status, code)
    assert problem(await rig.publish(A, raw), status, code) == first
    assert (await in_topic(rig, A))[raw] == 1

    async def recorded():
        await rig.hub.index.catch_up(A)
        found = await rig.hub.index.by_digest(hashlib.sha256(raw.partition(b"~")[0]).digest(), A)
        return found if found and found.entry else None

    async with asyncio.timeout(10):
        while not (found := await recorded()):
            await asyncio.sleep(0.02)
    assert found.entry.sealed["reason"] == code and found.entry.sealed["by"] == "api"


async def test_the_sender_must_be_the_caller(rig):
    """B's good notice, posted by A: it goes nowhere, and B can still post it."""
    raw = rig.now().notice(B)
    problem(await rig.publish(A, raw), 403, "wrong-sender")
    assert (await rig.publish(B, raw)).status_code == 202


MALFORMED = [b"~", b"a.b.c~", b"\xff\xfe~", b"", b"hello", b"." * 100 + b"~"]


@pytest.mark.parametrize("raw", MALFORMED)
async def test_what_is_no_sd_jwt_is_malformed(rig, raw):
    problem(await rig.publish(A, raw), 400, "malformed")


async def test_too_large_is_told_from_the_length_and_from_the_stream_and_not_recorded(rig):
    raw = b"x" * 70_000 + b"~"
    problem(await rig.publish(A, raw), 413, "too-large")

    async def stream():
        for _ in range(70):
            yield b"x" * 1000

    headers = await rig.auth(A) | SD_JWT
    problem(await rig.http.post("/v1/notices", content=stream(), headers=headers), 413, "too-large")
    assert raw not in await in_topic(rig, A)


async def test_media_types_are_checked(rig):
    raw = rig.now().notice(A)
    headers = await rig.auth(A)
    for media in ("application/json", "text/plain", ""):
        answer = await rig.http.post("/v1/notices", content=raw, headers=headers | {"content-type": media})
        problem(answer, 415, "unsupported-media-type")
    for accept in ("text/html", "application/json;q=0, text/plain"):
        problem(await rig.publish(A, raw, accept=accept), 406, "not-acceptable")
    assert (await rig.publish(A, raw, accept="text/html, application/*;q=0.1")).status_code == 202


async def test_auditors_and_the_operator_publish_nothing(rig):
    for who in (AUDITOR, "operator"):
        problem(await rig.publish(who, b"~"), 403, "forbidden")


async def test_sender_and_auditor_see_the_decision_a_recipient_its_own_delivery(rig):
    jti = (await rig.publish(A, rig.now().notice(A))).json()["jti"]
    whole = await rig.settled(jti)
    assert whole["status"] == "accepted" and whole["ledger"]["sealed"]
    assert [(d["recipient"], d["clause"], d["withheld"]) for d in whole["deliveries"]] == [
        (B, "open", []), (C, "narrow", ["source_detail"])]  # fmt: skip
    assert all(each["acknowledged"] is None for each in whole["deliveries"])
    assert (await rig.get(AUDITOR, f"/v1/notices/{A}/{jti}")).json() == whole
    own = (await rig.get(C, f"/v1/notices/{A}/{jti}")).json()
    assert [each["recipient"] for each in own["deliveries"]] == [C]
    assert own["ledger"]["sealed"] is None and B not in str(own)
    for who in (OUT, "operator"):
        problem(await rig.get(who, f"/v1/notices/{A}/{jti}"), 404, "not-found")


async def test_a_notice_just_accepted_is_found_at_once(rig):
    jti = (await rig.publish(A, rig.now().notice(A))).json()["jti"]
    answer = await rig.get(A, f"/v1/notices/{A}/{jti}")
    assert answer.status_code == 200 and answer.json()["status"] in ("pending", "accepted")


async def test_explain_says_why_and_why_not(rig):
    jti = (await rig.publish(A, rig.now().notice(A))).json()["jti"]
    await rig.settled(jti)
    granted = (await rig.get(A, f"/v1/notices/{A}/{jti}/explain", agency=C)).json()
    assert granted["granted"]["clause"] == "narrow" and granted["reasons"] == []
    denied = (await rig.get(AUDITOR, f"/v1/notices/{A}/{jti}/explain", agency=OUT)).json()
    assert denied["granted"] is None and [each["code"] for each in denied["reasons"]] == ["no-agreement"]
    for who in (B, OUT, "operator"):
        problem(await rig.get(who, f"/v1/notices/{A}/{jti}/explain", agency=B), 404, "not-found")
    problem(await rig.get(A, f"/v1/notices/{A}/{jti}/explain", agency="xx-nobody"), 404, "not-found")
    problem(await rig.get(A, f"/v1/notices/{A}/{jti}/explain"), 400, "bad-request")


async def test_explain_of_a_refused_notice_gives_the_refusal(rig):
    raw = rig.now().notice(A, tlp="TLP:PURPLE")
    problem(await rig.publish(A, raw), 422, "schema")
    jti = envelope.split(raw).payload["jti"]
    await rig.settled(jti)
    said = (await rig.get(A, f"/v1/notices/{A}/{jti}/explain", agency=B)).json()
    assert said["granted"] is None and said["reasons"][0]["code"] == "schema"


async def test_preview_is_what_the_router_then_decides_and_stores_nothing(rig):
    raw = rig.now().notice(A)
    before = await in_topic(rig, A)
    headers = await rig.auth(A)
    signed = await rig.http.post("/v1/notices/preview", content=raw, headers=headers | SD_JWT)
    assert signed.status_code == 200, signed.text
    assert await in_topic(rig, A) == before
    status = await rig.settled((await rig.publish(A, raw)).json())
    decided = [
        {n: d[n] for n in ("recipient", "agreement", "version", "clause", "withheld", "reason")}
        for d in status["deliveries"]
    ]
    assert signed.json()["grants"] == decided
    assert {each["agency"] for each in signed.json()["denied"]} == {OUT, AUDITOR}
    claims = rig.now().claims(A, tlp="TLP:RED")
    unsigned = await rig.http.post("/v1/notices/preview", json=claims, headers=headers)
    assert unsigned.json()["grants"] == []
    reasons = {each["agency"]: {r["code"] for r in each["reasons"]} for each in unsigned.json()["denied"]}
    assert "tlp-above-ceiling" in reasons[B]


async def test_preview_refuses_what_the_router_would_refuse(rig):
    headers = await rig.auth(A)
    forged = rig.now().notice(A, key="someone else")
    problem(await rig.http.post("/v1/notices/preview", content=forged, headers=headers | SD_JWT), 422, "signature")
    foreign = rig.now().claims(B)
    problem(await rig.http.post("/v1/notices/preview", json=foreign, headers=headers), 403, "wrong-sender")
    problem(await rig.http.post("/v1/notices/preview", json=[1], headers=headers), 422, "schema")
    problem(
        await rig.http.post(
            "/v1/notices/preview", content=b"{", headers=headers | {"content-type": "application/json"}
        ),
        400,
        "malformed",
    )
    problem(await rig.http.post("/v1/notices/preview", content=b"x", headers=headers | SD_JWT), 400, "malformed")


async def test_preview_of_a_cancel_names_those_who_are_recalled(rig):
    jti = (await rig.publish(A, rig.now().notice(A, rel_to=[C]))).json()["jti"]
    await rig.settled(jti)
    claims = rig.now().claims(A, cancels=jti, tlp="TLP:RED")
    answer = await rig.http.post("/v1/notices/preview", json=claims, headers=await rig.auth(A))
    assert [(g["recipient"], g["reason"]) for g in answer.json()["grants"]] == [(C, "recall")]


async def test_answers_survive_a_restart(tmp_path):
    async with rigged(tmp_path) as rig:
        raw = rig.now().notice(A)
        first = await rig.publish(A, raw)
        settled = rig.now().notice(A)
        second = await rig.publish(A, settled)
        await rig.settled(second.json())
    await asyncio.sleep(1.1)
    async with rigged(tmp_path, found=False) as rig:
        assert (await rig.publish(A, raw)).content == first.content
        assert (await rig.publish(A, settled)).content == second.content
        topic = await in_topic(rig, A)
        assert topic[raw] == topic[settled] == 1


async def test_a_full_queue_turns_away_with_503_and_takes_again_when_it_empties(tmp_path):
    async with rigged(tmp_path, max_pending=5) as rig:
        router = rig.hub.parts["router-0-of-1"]
        advance = router._advance

        async def stalled(wait=0.0):
            await asyncio.sleep(0.02)
            return 0

        router._advance = stalled
        await asyncio.sleep(1.2)  # the step under way ends
        answers = [await rig.publish(A, rig.now().notice(A)) for _ in range(8)]
        codes = [answer.status_code for answer in answers]
        assert 202 in codes and codes[-1] == 503
        problem(answers[-1], 503, "busy")
        assert answers[-1].headers["retry-after"] == "1"
        router._advance = advance
        raw = rig.now().notice(A)

        async def taken():
            return (await rig.publish(A, raw)).status_code == 202

        async with asyncio.timeout(10):
            while not await taken():
                await asyncio.sleep(0.05)


async def test_a_client_above_its_rate_waits_and_others_do_not_notice(tmp_path):
    async with rigged(tmp_path, rate={"posts_per_second": 5, "burst": 12}) as rig:
        await rig.auth(A)
        answers = [await rig.publish(A, rig.now().notice(A)) for _ in range(20)]
        limited = [answer for answer in answers if answer.status_code == 429]
        assert limited and {answer.status_code for answer in answers} == {202, 429}
        problem(limited[0], 429, "rate-limited")
        assert int(limited[0].headers["retry-after"]) >= 1
        assert (await rig.publish(B, rig.now().notice(B))).status_code == 202
