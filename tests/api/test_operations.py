"""Health, metrics, version, the descriptions, headers on every answer."""

import json

import jsonschema
import pytest

from hub.api import docs
from tests.api.rig import URL, A, B, problem

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBLIC = ["/livez", "/readyz", "/metrics", "/version", "/openapi.json", "/asyncapi.json", "/docs", "/docs/style.css"]


@pytest.mark.parametrize("path", PUBLIC)
async def test_operational_routes_need_no_token(rig, path):
    assert (await rig.http.get(path)).status_code == 200


async def test_readiness_names_the_parts_and_fails_when_the_hub_drains(rig):
    said = (await rig.http.get("/readyz")).json()
    assert said["status"] == "ready" and said["parts"]["notary"] == "running"
    rig.app.state.drain.set()
    try:
        answer = await rig.http.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "draining")
        assert (await rig.http.get("/livez")).status_code == 200
    finally:
        rig.app.state.drain.clear()


async def test_a_part_that_is_down_makes_the_hub_unready(rig):
    rig.hub._supervisor.states["notary"].state = "failed"
    try:
        answer = await rig.http.get("/readyz")
        assert (answer.status_code, answer.json()["status"]) == (503, "not-ready")
    finally:
        rig.hub._supervisor.states["notary"].state = "running"


async def test_metrics_count_by_route_and_name_nobody(rig):
    raw = rig.now().notice(A)
    jti = (await rig.publish(A, raw)).json()["jti"]
    await rig.settled(jti)
    await rig.http.get(f"/{A}/secret-path")
    text = (await rig.http.get("/metrics")).text
    assert 'comity_http_requests_total{method="POST",route="/v1/notices",status="202"}' in text
    assert 'route="/v1/notices/{iss}/{jti}"' in text and 'route="none",status="404"' in text
    assert not any(name in text for name in (A, B, jti, "secret-path"))


@pytest.mark.parametrize("path", [*PUBLIC, "/v1/agencies", "/nowhere"])
async def test_every_answer_has_the_security_headers(rig, path):
    answer = await rig.http.get(path)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "no-referrer" and answer.headers["cache-control"]
    assert "server" not in answer.headers


async def test_unknown_paths_and_methods_are_problems(rig):
    problem(await rig.http.get("/nowhere"), 404, "not-found")
    answer = await rig.http.delete("/v1/notices")
    problem(answer, 405, "method-not-allowed")
    assert answer.headers["allow"] == "POST"


async def test_a_fault_of_ours_is_a_problem_and_tells_nothing(rig, monkeypatch):
    def broken():
        raise RuntimeError("secret detail")

    monkeypatch.setattr(rig.hub.index._follower.registry, "view", broken)
    answer = await rig.http.get("/v1/agencies", headers=await rig.auth(A))
    problem(answer, 500, "internal")
    assert "secret" not in answer.text and answer.headers["x-content-type-options"] == "nosniff"


async def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing(rig):
    answer = await rig.http.get("/docs")
    assert "<script" not in answer.text and "style=" not in answer.text
    assert 'src="' not in answer.text and 'href="http' not in answer.text
    assert "/v1/notices/{iss}/{jti}/explain" in answer.text and "equivocation" in answer.text
    assert "script-src" not in answer.headers["content-security-policy"]


async def test_openapi_describes_every_route_its_security_and_its_problems(rig):
    api = (await rig.http.get("/openapi.json")).json()
    assert api["openapi"].startswith("3.1") and api["servers"] == [{"url": URL}]
    routes = {(method.upper(), path) for path, item in api["paths"].items() for method in item}
    assert {("POST", "/v1/notices"), ("GET", "/v1/notices/{iss}/{jti}"), ("GET", "/v1/notices/{iss}/{jti}/explain"),
            ("POST", "/v1/notices/preview"), ("GET", "/v1/deliveries"), ("POST", "/v1/deliveries/acks"), ("GET", "/v1/agencies"),
            ("GET", "/v1/agreements"), ("GET", "/v1/agreements/{id}"), ("POST", "/v1/registry"), ("GET", "/v1/registry/{id}"),
            ("GET", "/v1/ledger/checkpoint"), ("GET", "/v1/ledger/proof"), ("GET", "/v1/ledger/entries"), ("POST", "/oauth/token"),
            ("GET", "/livez"), ("GET", "/readyz"), ("GET", "/metrics"), ("GET", "/version")} == routes  # fmt: skip
    for path, item in api["paths"].items():
        for operation in item.values():
            assert ("security" in operation) == path.startswith("/v1/"), path
            assert (operation["summary"] and "422" not in operation["responses"]) or path.startswith("/v1/")
            for status, answer in operation["responses"].items():
                if int(status) >= 400 and path != "/readyz":
                    assert list(answer["content"]) == ["application/problem+json"], (path, status)
    assert "HTTPValidationError" not in api["components"]["schemas"]
    check_references(api)


async def test_asyncapi_describes_the_topics_from_the_models(rig):
    api = (await rig.http.get("/asyncapi.json")).json()
    assert api["asyncapi"] == "3.0.0"
    assert api["channels"]["deliveries"]["address"] == "comity.deliveries.{agency}"
    assert api["components"]["schemas"]["threat.cyber.v1"]["x-withholdable"] == ["source_detail"]
    check_references(api)
    for schema in api["components"]["schemas"].values():
        jsonschema.Draft202012Validator.check_schema(schema)
    await rig.publish(A, rig.now().notice(A))

    async def delivered():
        return await rig.hub.log.read(f"comity.deliveries.{B}", limit=1, wait=10)

    [stored] = await delivered()
    jsonschema.validate(dict(stored.record.headers), api["components"]["messages"]["delivery"]["headers"])
    [posted] = await rig.hub.log.read(f"comity.notices.{A}", limit=1)
    jsonschema.validate(dict(posted.record.headers), api["components"]["messages"]["notice"]["headers"])


def check_references(document):
    """Every $ref of the document leads somewhere in it."""
    pending = [document]
    while pending:
        node = pending.pop()
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                target = document
                for part in node["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
            pending += node.values()
        elif isinstance(node, list):
            pending += node


async def test_the_description_is_the_same_for_every_request(rig):
    first, second = [await rig.http.get("/openapi.json") for _ in range(2)]
    assert (
        first.content
        == second.content
        == json.dumps(json.loads(first.content), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )
    assert docs.describe(rig.app, URL) == first.json()
