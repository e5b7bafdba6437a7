"""OAuth client credentials with a signed assertion: what is accepted, and every way that it is not."""

import secrets
import time

import pytest

from hub.api.replay import UsedAssertions
from hub.core import jws
from tests.api.rig import AUDITOR, URL, A, B, assertion, now_s, problem, token_form
from tests.world import key_of

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def ask(rig, signed, **change):
    return await rig.http.post("/oauth/token", data=token_form(signed) | change)


async def test_a_signed_assertion_buys_a_token_that_opens_the_interface(rig):
    answer = await ask(rig, assertion(A))
    assert answer.status_code == 200
    said = answer.json()
    assert said["token_type"] == "Bearer" and said["expires_in"] == 600
    assert answer.headers["cache-control"] == "no-store" and answer.headers["pragma"] == "no-cache"
    headers = {"authorization": f"Bearer {said['access_token']}"}
    assert (await rig.http.get("/v1/agencies", headers=headers)).status_code == 200


@pytest.mark.parametrize("aud", ["comity.local/ledger", URL, f"{URL}/oauth/token", ["https://other.example", URL]])
async def test_each_name_of_the_hub_is_an_audience(rig, aud):
    assert (await ask(rig, assertion(A, aud=aud))).status_code == 200


@pytest.mark.parametrize("alg", ["Ed25519", "EdDSA"])
async def test_both_names_of_the_algorithm_are_accepted(rig, alg):
    """RFC 9864 renamed it; libraries write either."""
    assert (await ask(rig, assertion(A, header={"alg": alg}))).status_code == 200


async def test_the_operator_and_an_auditor_get_tokens_with_their_roles(rig):
    for name, role in (("operator", "operator"), (AUDITOR, "auditor"), (B, "partner")):
        token = (await ask(rig, assertion(name))).json()["access_token"]
        payload = jws.read_compact(token.encode(), typ="at+jwt").payload
        assert (payload["sub"], payload["role"]) == (name, role)


UNSIGNED = [
    ("a key nobody registered", {"kid": f"{A}/9"}),
    ("another's key", {"kid": f"{B}/1"}),
    ("a forged signature", {"key": "someone else"}),
    ("sub differs from iss", {"sub": B}),
    ("no kid", {"header": {"kid": None}}),
    ("the hub's own key", {"iss": "hub", "sub": "hub", "kid": "hub/1"}),
    ("alg none", {"header": {"alg": "none"}}),
    ("alg HS256", {"header": {"alg": "HS256"}}),
    ("an unknown critical header", {"header": {"crit": ["x"], "x": 1}}),
]


@pytest.mark.parametrize("change", [change for _, change in UNSIGNED], ids=[name for name, _ in UNSIGNED])
async def test_before_the_signature_holds_every_refusal_reads_the_same(rig, change):
    """Nobody without a key may ask which keys and agencies exist."""
    answer = await ask(rig, assertion(A, **change))
    detail = problem(answer, 401, "invalid_client")
    assert detail == problem(await ask(rig, "not.a.jwt"), 401, "invalid_client")
    assert answer.json()["error"] == "invalid_client" and answer.headers["www-authenticate"]


CLAIMS = [
    ("aud", {"aud": "https://other.example"}),
    ("aud", {"aud": None}),
    ("aud", {"aud": 7}),
    ("exp", {"exp": now_s() + 3600}),
    ("exp", {"exp": now_s() - 1, "iat": now_s() - 60}),
    ("exp", {"exp": None}),
    ("exp", {"iat": True}),
    ("exp", {"iat": now_s() + 1000, "exp": now_s() + 1100}),
    ("jti", {"jti": None}),
    ("jti", {"jti": "x" * 129}),
]


@pytest.mark.parametrize(("name", "change"), CLAIMS)
async def test_wrong_claims_are_named(rig, name, change):
    detail = problem(await ask(rig, assertion(A, **change)), 401, "invalid_client")
    assert detail.startswith(f"{name}:")


async def test_an_assertion_is_used_once_and_stays_used_after_a_restart(rig, tmp_path):
    signed = assertion(A)
    assert (await ask(rig, signed)).status_code == 200
    assert "used before" in problem(await ask(rig, signed), 401, "invalid_client")
    used = UsedAssertions(tmp_path / "used.db")
    assert await used.spend(A, "one", 200, 100) and not await used.spend(A, "one", 200, 101)
    used.close()
    again = UsedAssertions(tmp_path / "used.db")
    assert not await again.spend(A, "one", 200, 102)
    assert await again.spend(B, "one", 200, 102), "a jti is the client's own"
    assert await again.spend(A, "one", 300, 200), "and forgotten when no assertion with it could be accepted"
    again.close()


FORMS = [
    ("unsupported_grant_type", {"grant_type": "password"}),
    ("invalid_request", {"client_assertion_type": "urn:x"}),
    ("invalid_request", {"client_assertion": ""}),
]


@pytest.mark.parametrize(("code", "change"), FORMS)
async def test_a_form_that_is_not_a_client_credentials_request_is_refused(rig, code, change):
    answer = await ask(rig, assertion(A), **change)
    problem(answer, 400, code)
    assert answer.json()["error"] == code


async def test_the_form_is_read_strictly(rig):
    form = {"content-type": "application/x-www-form-urlencoded"}
    for body in (b"grant_type=a&grant_type=b", b"\xff=1", b"", b"x" * 10):
        problem(await rig.http.post("/oauth/token", content=body, headers=form), 400, "invalid_request")
    problem(await rig.http.post("/oauth/token", content=b"a=" + b"x" * 20_000, headers=form), 413, "too-large")
    problem(await rig.http.post("/oauth/token", json={}), 415, "unsupported-media-type")


@pytest.mark.parametrize("header", [None, "Basic YTpi", "Bearer", "Bearer x", "Bearer a.b.c", "Bearer ü"])
async def test_what_is_no_token_answers_401_with_a_challenge(rig, header):
    headers = {"authorization": header.encode()} if header else {}
    for method, path in (("GET", "/v1/agencies"), ("POST", "/v1/notices"), ("GET", "/v1/deliveries?limit=wrong")):
        answer = await rig.http.request(method, path, headers=headers)
        problem(answer, 401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_no_other_signature_of_the_hub_is_a_token(rig):
    """A receipt is signed with the same key; the typ keeps them apart."""
    claims = {"iss": "x", "sub": A, "role": "auditor", "kid": f"{A}/1", "exp": now_s() + 600}
    receipt = jws.sign_compact(claims, typ="receipt+jwt", kid="hub", key=rig.hub.hub_key).decode()
    forged = jws.sign_compact(claims, typ="at+jwt", kid="hub", key=key_of("someone else")).decode()
    for token in (receipt, forged):
        answer = await rig.http.get("/v1/agencies", headers={"authorization": f"Bearer {token}"})
        problem(answer, 401, "unauthorized")


async def test_a_token_ends(rig):
    claims = {"iss": "x", "sub": A, "role": "partner", "kid": f"{A}/1", "iat": now_s(), "exp": now_s() + 1}
    token = jws.sign_compact(claims, typ="at+jwt", kid="hub", key=rig.hub.hub_key).decode()
    headers = {"authorization": f"Bearer {token}"}
    assert (await rig.http.get("/v1/agencies", headers=headers)).status_code == 200
    time.sleep(1.1)
    assert "expired" in problem(await rig.http.get("/v1/agencies", headers=headers), 401, "unauthorized")


async def test_a_revoked_key_is_cut_off_at_once_and_buys_nothing_more(rig):
    await rig.enroll("nl-ncsc")
    headers = await rig.auth("nl-ncsc")
    assert (await rig.http.get("/v1/agencies", headers=headers)).status_code == 200
    revoke = {"statement": "key.revoke", "agency": "nl-ncsc", "kid": "nl-ncsc/1", "reason": "lost"}
    assert (await rig.state(revoke, "operator/1")).status_code == 201
    assert "key-revoked" in problem(await rig.http.get("/v1/agencies", headers=headers), 401, "unauthorized")
    problem(await ask(rig, assertion("nl-ncsc", jti=secrets.token_hex(4))), 401, "invalid_client")
