"""An agency that is party to nothing tries to learn of others' traffic: absent and foreign answer alike, byte for byte."""

import pytest

from hub.core import strict
from tests.api.rig import OUT, A, B, C

pytestmark = pytest.mark.asyncio(loop_scope="module")

IGNORED = {"date", "content-length"}


def seen(answer):
    return answer.status_code, {k: v for k, v in answer.headers.items() if k not in IGNORED}, answer.content


async def test_every_question_about_others_is_answered_like_one_about_nothing(rig):
    answer = (await rig.publish(A, rig.now().notice(A))).json()
    await rig.settled(answer)
    refused = rig.now().notice(A, tlp="TLP:PURPLE")
    await rig.publish(A, refused)
    nothing = rig.now().id()
    pairs = [
        (f"/v1/notices/{A}/{answer['jti']}", f"/v1/notices/{A}/{nothing}"),
        (f"/v1/notices/{A}/{answer['jti']}", f"/v1/notices/xx-nobody/{nothing}"),
        (f"/v1/notices/{A}/{answer['jti']}", f"/v1/notices/{OUT}/{answer['jti']}"),
        (f"/v1/notices/{A}/{answer['jti']}/explain?agency={OUT}", f"/v1/notices/{A}/{nothing}/explain?agency={OUT}"),
        (f"/v1/notices/{A}/{answer['jti']}/explain?agency={B}", f"/v1/notices/{A}/{nothing}/explain?agency=xx-nobody"),
        (f"/v1/ledger/proof?digest={answer['digest']}", f"/v1/ledger/proof?digest={strict.b64(bytes(32))}"),
        ("/v1/agreements/alpine-security", "/v1/agreements/no-such-agreement"),
    ]
    for foreign, absent in pairs:
        got = seen(await rig.get(OUT, foreign))
        assert got[0] == 404 and got == seen(await rig.get(OUT, absent)), foreign


async def test_others_traffic_changes_nothing_that_an_outsider_can_read(rig):
    """Own offsets, own pages, agreements: the same before and after others exchanged notices."""

    async def view():
        answers = [
            await rig.get(OUT, path) for path in ("/v1/deliveries", "/v1/agreements", "/v1/agencies", "/version")
        ]
        return [seen(answer) for answer in answers]

    before = await view()
    for _ in range(3):
        await rig.settled((await rig.publish(A, rig.now().notice(A))).json())
    assert await view() == before


async def test_a_foreign_jti_of_ones_own_is_no_oracle(rig):
    """Posting under a jti that another agency used says nothing of the other's notice: a jti belongs to its sender."""
    jti = (await rig.publish(A, rig.now().notice(A))).json()["jti"]
    assert (await rig.publish(OUT, rig.now().notice(OUT, jti=jti))).status_code == 202
    status = (await rig.get(OUT, f"/v1/notices/{OUT}/{jti}")).json()
    assert status["iss"] == OUT


async def test_cancelling_anothers_notice_reaches_nobody(rig):
    jti = (await rig.publish(A, rig.now().notice(A))).json()["jti"]
    await rig.settled(jti)
    mine = (await rig.publish(OUT, rig.now().notice(OUT, cancels=jti))).json()["jti"]
    assert (await rig.settled(mine, OUT))["deliveries"] == []


async def test_one_recipient_cannot_tell_who_else_received(rig):
    """C's whole view of a notice is the same whether B received it or not, but for ids, times and salts."""
    views = []
    for rel_to in ([C], [B, C]):
        jti = (await rig.publish(A, rig.now().notice(A, rel_to=rel_to))).json()["jti"]
        await rig.settled(jti)
        status = (await rig.get(C, f"/v1/notices/{A}/{jti}")).json()
        page = await rig.get(C, "/v1/deliveries", after=await rig.hub.log.end(f"comity.deliveries.{C}") - 1)
        [delivery] = page.json()["deliveries"]
        views.append((status.keys(), status["ledger"].keys(), len(status["ledger"]["leaf"]), len(status["deliveries"]),
                      delivery["headers"].keys()))  # fmt: skip
        assert B not in str(status) and B not in str(delivery["headers"])
    assert views[0] == views[1]
