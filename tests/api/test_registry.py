"""Registry views and signed statements over HTTP."""

import asyncio
import json

import pytest

from hub.core import statements, strict
from tests.api.rig import AUDITOR, JOSE, OUT, A, B, C, problem, rigged
from tests.world import agreement, clause, key_claim

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_agencies_and_their_keys_are_for_every_caller(rig):
    for who in (A, OUT, AUDITOR, "operator"):
        said = (await rig.get(who, "/v1/agencies")).json()
        agencies = {each["id"]: each for each in said["agencies"]}
        assert {A, B, C, OUT, AUDITOR} <= agencies.keys()
        assert agencies[AUDITOR]["role"] == "auditor"
        [key] = agencies[A]["keys"]
        assert key == {**key_claim(f"{A}/1"), "revoked": None}
        assert said["registry"] == rig.hub.index.registry.position


async def test_agreements_are_shown_to_their_parties_auditors_and_the_operator(rig):
    for who in (A, B, C, AUDITOR, "operator"):
        [shown] = (await rig.get(who, "/v1/agreements")).json()["agreements"]
        assert (shown["id"], shown["version"], shown["status"]) == ("alpine-security", 1, "in-force")
        assert shown["clauses"][1]["withhold"] == ["source_detail"] and shown["clauses"][0]["from"] == [A]
        assert (await rig.get(who, "/v1/agreements/alpine-security")).json() == {"agreements": [shown]}
    assert (await rig.get(OUT, "/v1/agreements")).json() == {"agreements": []}
    absent = await rig.get(OUT, "/v1/agreements/no-such-agreement")
    foreign = await rig.get(OUT, "/v1/agreements/alpine-security")
    problem(foreign, 404, "not-found")
    assert foreign.content == absent.content


async def test_an_accepted_statement_answers_with_its_event_and_is_in_effect(rig):
    event = await rig.enroll("nl-ncsc")
    assert event.keys() == {"position", "recorded", "effective", "statement"}
    assert event["position"] == rig.hub.index.registry.position - 1
    assert (await rig.get("nl-ncsc", "/v1/agreements")).status_code == 200


async def test_the_same_statement_again_gets_the_same_answer(rig):
    kid = "it-acn/1"
    payload = {
        "statement": "agency.enroll",
        "agency": {"id": "it-acn", "name": "ACN", "role": "partner"},
        "key": key_claim(kid),
    }
    document = rig.now().document(payload, "operator/1", kid)
    headers = await rig.auth("operator") | JOSE
    first = await rig.http.post("/v1/registry", content=document, headers=headers)
    again = await rig.http.post("/v1/registry", content=document, headers=headers)
    assert (first.status_code, again.status_code) == (201, 201) and first.content == again.content
    id_ = json.loads(strict.unb64(json.loads(document)["payload"]))["id"]
    other = rig.now().document(
        payload | {"id": id_, "agency": payload["agency"] | {"name": "other"}}, "operator/1", kid
    )
    problem(await rig.http.post("/v1/registry", content=other, headers=headers), 422, "duplicate-statement")


async def test_a_partner_brings_its_own_statements(rig):
    """Rotation without the operator: the token is the agency's, and so are the signatures."""
    added = await rig.state({"statement": "key.add", "agency": C, "key": key_claim(f"{C}/2")}, f"{C}/1", f"{C}/2", by=C)
    assert added.status_code == 201, added.text
    answer = await rig.publish(C, rig.now().notice(C, kid=f"{C}/2"))
    assert answer.status_code == 202


async def test_a_refused_statement_says_why_and_its_status_remembers(rig):
    payload = {"statement": "key.revoke", "agency": A, "kid": f"{A}/1", "reason": "spite"}
    document = rig.now().document(payload, f"{B}/1")
    answer = await rig.http.post("/v1/registry", content=document, headers=await rig.auth(B) | JOSE)
    detail = problem(answer, 422, "unknown-key")
    id_ = json.loads(strict.unb64(json.loads(document)["payload"]))["id"]
    said = (await rig.get(B, f"/v1/registry/{id_}")).json()
    assert said == {
        "id": id_,
        "status": "refused",
        "position": None,
        "effective": None,
        "reason": "unknown-key",
        "detail": detail,
    }


async def test_a_statement_is_shown_to_those_it_concerns(rig):
    document = agreement("bilateral", [A, B], [clause("c1", [A], [B])])
    payload = {"statement": "agreement.publish", "agreement": document, "id": rig.now().id()}
    answer = await rig.state(payload, f"{A}/1", f"{B}/1")
    assert answer.status_code == 201
    for who in (A, B, AUDITOR, "operator"):
        said = (await rig.get(who, f"/v1/registry/{payload['id']}")).json()
        assert said["status"] == "accepted" and said["position"] == answer.json()["position"]
    foreign = await rig.get(C, f"/v1/registry/{payload['id']}")
    absent = await rig.get(C, f"/v1/registry/{rig.now().id()}")
    problem(foreign, 404, "not-found")
    assert foreign.content == absent.content


FORMS = [
    (b"", 400, "malformed"),
    (b"{}", 400, "malformed"),
    (b'{"payload":"e30","signatures":[]}', 400, "malformed"),
    (b'{"payload":"!","signatures":[{"protected":"e30","signature":"AA"}]}', 400, "malformed"),
    (b"x" * 200_000, 413, "too-large"),
]


@pytest.mark.parametrize(
    ("body", "status", "code"), FORMS, ids=["empty", "no members", "unsigned", "not base64", "too large"]
)
async def test_what_is_no_statement_is_refused_at_once(rig, body, status, code):
    problem(await rig.http.post("/v1/registry", content=body, headers=await rig.auth(A) | JOSE), status, code)


async def test_statements_of_unknown_shape_are_refused_with_their_faults(rig):
    problem(await rig.state({"statement": "hub.rename", "name": "x"}, "operator/1"), 422, "schema")
    answer = await rig.http.post("/v1/registry", json={}, headers=await rig.auth(A))
    problem(answer, 415, "unsupported-media-type")


async def test_an_agreement_that_needs_more_than_the_body_limit_is_told_so(tmp_path):
    """The registry itself would take it: the operator raises COMITY_MAX_BODY."""
    async with rigged(tmp_path, max_body=400_000) as rig:
        many = [clause(f"c{n}", [A], [B], note="n" * 900) for n in range(100)]
        await rig.agree(agreement("wordy", [A, B], many))
    assert statements.MAX_BYTES > 400_000


async def test_a_statement_that_is_not_judged_in_time_stays_pending_and_can_be_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr("hub.api.registry.JUDGEMENT_SECONDS", 0.5)
    async with rigged(tmp_path) as rig:
        process = rig.hub.parts["registry"]
        step = process.step

        async def stalled(wait=0.0):
            await asyncio.sleep(0.02)
            return 0

        process.step = stalled
        await asyncio.sleep(1.2)  # the step under way ends
        payload = {"statement": "key.add", "agency": A, "key": key_claim(f"{A}/2"), "id": rig.now().id()}
        answer = await rig.state(payload, f"{A}/1", f"{A}/2", by=A)
        assert answer.status_code == 202 and answer.json()["status"] == "pending"
        assert answer.headers["location"] == f"/v1/registry/{payload['id']}"
        assert (await rig.get(A, answer.headers["location"])).json()["status"] == "pending"
        problem(await rig.get(B, answer.headers["location"]), 404, "not-found")
        process.step = step
        async with asyncio.timeout(10):
            while (await rig.get("operator", answer.headers["location"])).json()["status"] == "pending":
                await asyncio.sleep(0.02)
        assert (await rig.get(A, answer.headers["location"])).json()["status"] == "accepted"
