"""Conditions: what each operator lets pass, for every kind of field it can be put on."""

from __future__ import annotations

from typing import Any

import pytest

from hub.core.agreement import compile_condition, moment
from hub.core.judging import judge
from schemas.agreement import Condition
from tests.world import FAR, T0, World, agreement, clause

CYBER, PORT, EXERCISE, ALERT = (
    "threat.cyber.v1",
    "infrastructure.disruption.v1",
    "defense.exercise.v1",
    "trade.product-alert.v1",
)
BOX = {"box": [3.0, 51.0, 7.0, 54.0]}
PACIFIC = {"box": [170.0, -10.0, -170.0, 10.0]}
WEEK = {"from": "2026-03-01T00:00:00Z", "until": "2026-03-08T00:00:00Z"}

CASES: list[tuple[str, str, str, Any, dict[str, Any], bool]] = [
    (CYBER, "severity", "at_least", "high", {"severity": "critical"}, True),
    (CYBER, "severity", "at_least", "high", {"severity": "high"}, True),
    (CYBER, "severity", "at_least", "high", {"severity": "medium"}, False),
    (CYBER, "severity", "at_least", "high", {}, False),
    (CYBER, "cvss", "at_least", 7, {"cvss": 7}, True),
    (CYBER, "cvss", "at_least", 7, {"cvss": 6.9}, False),
    (CYBER, "cvss", "at_least", 0, {"cvss": None}, False),
    (CYBER, "kind", "one_of", ["malware", "phishing"], {"kind": "phishing"}, True),
    (CYBER, "kind", "one_of", ["malware"], {"kind": "phishing"}, False),
    (CYBER, "exploited", "one_of", [True], {"exploited": True}, True),
    (CYBER, "exploited", "one_of", [True], {"exploited": False}, False),
    (CYBER, "sectors", "includes", "energy", {"sectors": ["water", "energy"]}, True),
    (CYBER, "sectors", "includes", ["energy", "ports"], {"sectors": ["ports"]}, True),
    (CYBER, "sectors", "includes", "energy", {"sectors": []}, False),
    (
        CYBER,
        "products.vendor",
        "includes",
        "Git",
        {"products": [{"product": "x"}, {"product": "y", "vendor": "Git"}]},
        True,
    ),
    (CYBER, "products.vendor", "includes", "Git", {"products": [{"product": "x"}]}, False),
    (CYBER, "products.vendor", "includes", "Git", {"products": "not an object"}, False),
    (CYBER, "cves", "starts_with", "CVE-2025-", {"cves": ["CVE-2021-44228", "CVE-2025-48384"]}, True),
    (CYBER, "cves", "starts_with", ["CVE-2024-", "CVE-2025-"], {"cves": ["CVE-2021-44228"]}, False),
    (ALERT, "hs_codes", "starts_with", ["07", "12"], {"hs_codes": ["120740"]}, True),
    (PORT, "location", "within", BOX, {"location": {"lat": 51.96, "lon": 4.0}}, True),
    (PORT, "location", "within", BOX, {"location": {"lat": 50.0, "lon": 4.0}}, False),
    (PORT, "location", "within", BOX, {"location": {"lat": 51.96, "lon": 8.0}}, False),
    (PORT, "location", "within", BOX, {"location": {"name": "nowhere"}}, False),
    (PORT, "location", "within", BOX, {"location": {"lat": 51.96}}, False),
    (PORT, "location", "within", PACIFIC, {"location": {"lat": 0, "lon": 179.0}}, True),
    (PORT, "location", "within", PACIFIC, {"location": {"lat": 0, "lon": -179.0}}, True),
    (PORT, "location", "within", PACIFIC, {"location": {"lat": 0, "lon": 0}}, False),
    (EXERCISE, "area", "within", BOX, {"area": [{"lat": 0, "lon": 0}, {"lat": 52, "lon": 4}]}, True),
    (EXERCISE, "from", "within", WEEK, {"from": "2026-03-01T00:00:00Z"}, True),
    (EXERCISE, "from", "within", WEEK, {"from": "2026-03-07T23:59:59.999Z"}, True),
    (EXERCISE, "from", "within", WEEK, {"from": "2026-03-08T00:00:00Z"}, False),
    (EXERCISE, "from", "within", WEEK, {}, False),
    (CYBER, "due_date", "within", WEEK, {"due_date": "2026-03-07"}, True),
    (CYBER, "due_date", "within", WEEK, {"due_date": "2026-03-08"}, False),
]


@pytest.mark.parametrize(("type_", "field", "op", "value", "data", "passes"), CASES)
def test_a_condition_lets_pass_what_it_says(
    type_: str, field: str, op: str, value: Any, data: dict, passes: bool
) -> None:
    condition = Condition.model_validate({"field": field, "op": op, "value": value})
    assert compile_condition(condition, type_).passes(data) is passes


def test_a_word_of_another_vocabulary_lets_nothing_pass() -> None:
    """A clause over several types may name a level that only one of them has."""
    condition = Condition.model_validate({"field": "severity", "op": "at_least", "value": "critical"})
    assert not compile_condition(condition, "threat.military.v1").passes({"severity": "extreme"})


def test_a_moment_is_read_in_utc_whether_or_not_it_says_so() -> None:
    assert moment("1970-01-01T00:00:01Z") == moment("1970-01-01T00:00:01") == 1_000
    assert moment("1970-01-02") == 86_400_000


class TestKeys:
    def test_a_key_says_what_is_wrong_with_it(self) -> None:
        world = World("at-cert")
        world.record(
            {"statement": "key.add", "agency": "at-cert",
             "key": {**_claim("at-cert/2"), "not_before": T0 + 10, "not_after": T0 + 20}}, "at-cert/1", "at-cert/2",
        )  # fmt: skip
        key = world.registry.keys["at-cert/2"]
        now = world.registry.position
        assert key.problem(now - 1, T0 + 15) == "unknown-key"
        assert key.problem(now, T0 + 9) == "key-not-yet-valid"
        assert key.problem(now, T0 + 10) is None
        assert key.problem(now, T0 + 20) == "key-expired"
        assert key.retires_at(now) == T0 + 20


def _claim(kid: str) -> dict[str, Any]:
    from tests.world import key_claim

    return key_claim(kid, not_after=FAR)


class TestRegistryDetails:
    def test_a_key_may_be_added_without_replacing_another(self) -> None:
        world = World("at-cert")
        world.record(
            {"statement": "key.add", "agency": "at-cert", "key": _claim("at-cert/2")}, "at-cert/1", "at-cert/2"
        )
        assert [key.kid for key in world.registry.view().keys("at-cert")] == ["at-cert/1", "at-cert/2"]
        assert world.registry.keys["at-cert/1"].ends == ()

    def test_a_long_key_id_is_shortened_in_the_refusal(self) -> None:
        from hub.core.errors import Refusal

        with pytest.raises(Refusal) as caught:
            World().registry.view().key("at-cert/" + "x" * 200, T0)
        assert len(caught.value.detail) < 250

    def test_the_same_kid_cannot_sign_twice(self) -> None:
        from hub.core import jws, statements, strict
        from hub.core.errors import Refusal
        from tests.world import key_of

        world = World("at-cert", "ch-ncsc")
        payload = {"statement": "agreement.publish", "id": world.id(), "iat": T0 // 1000,
                   "agreement": agreement("a-1", ["at-cert", "ch-ncsc"], [clause("c1", ["at-cert"], ["ch-ncsc"])])}  # fmt: skip
        signers = [(kid, key_of(kid)) for kid in ("at-cert/1", "at-cert/1", "ch-ncsc/1")]
        document = jws.sign_general(strict.dumps(payload), signers, statements.TYP)
        with pytest.raises(Refusal):
            judge(world.registry, strict.dumps(document), T0)
