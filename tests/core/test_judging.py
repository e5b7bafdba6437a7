"""Statements are judged: the right signatures, the right order, and every refusal with its reason."""

from __future__ import annotations

from typing import Any

import pytest

from hub.core import strict
from hub.core.errors import Refusal, VerificationFailed
from hub.core.judging import follow, judge
from hub.core.registry import Registry
from tests.world import FAR, T0, World, agreement, clause, key_claim

A, B, C = "at-cert", "ch-ncsc", "de-bsi"
ENROLL = {"statement": "agency.enroll", "agency": {"id": C, "name": "C", "role": "partner"}, "key": key_claim(f"{C}/1")}
ADD = {"statement": "key.add", "agency": A, "key": key_claim(f"{A}/2")}
REVOKE = {"statement": "key.revoke", "agency": A, "kid": f"{A}/1", "reason": "lost"}
AGREEMENT = agreement("a-1", [A, B], [clause("c1", [A], [B])])
PUBLISH = {"statement": "agreement.publish", "agreement": AGREEMENT}
TERMINATE = {"statement": "agreement.terminate", "agreement": "a-1", "party": B, "reason": "over"}


@pytest.fixture
def world() -> World:
    return World(A, B)


def refusal(world: World, payload: dict[str, Any], *kids: str) -> str:
    before = world.registry.position
    with pytest.raises(Refusal) as caught:
        world.record(payload, *kids)
    assert world.registry.position == before
    return caught.value.code


@pytest.mark.parametrize(
    ("payload", "kids", "code"),
    [
        (ENROLL, ["operator/1"], "missing-signature"),
        (ENROLL, [f"{C}/1"], "missing-signature"),
        (ENROLL, [f"{A}/1", f"{C}/1"], "unknown-key"),
        (ENROLL | {"agency": {"id": A, "name": "A", "role": "partner"}}, ["operator/1", f"{C}/1"], "agency-exists"),
        (ENROLL | {"key": key_claim(f"{A}/7")}, ["operator/1", f"{A}/7"], "schema"),
        (ENROLL | {"key": key_claim(f"{C}/1", not_after=T0)}, ["operator/1", f"{C}/1"], "schema"),
        (ENROLL | {"key": key_claim(f"{A}/1")}, ["operator/1", f"{A}/1"], "key-exists"),
        (ENROLL | {"key": key_claim(f"{A}/1") | {"kid": f"{C}/1"}}, ["operator/1", f"{C}/1"], "key-exists"),
        (ADD, [f"{A}/2"], "missing-signature"),
        (ADD, [f"{A}/1"], "missing-signature"),
        (ADD, [f"{B}/1", f"{A}/2"], "unknown-key"),
        (ADD | {"agency": C, "key": key_claim(f"{C}/1")}, [f"{C}/1"], "unknown-agency"),
        (ADD | {"replaces": {"kid": f"{B}/1", "retire_at": T0}}, [f"{A}/1", f"{A}/2"], "unknown-key"),
        (REVOKE, [f"{B}/1"], "unknown-key"),
        (REVOKE | {"agency": C}, ["operator/1"], "unknown-agency"),
        (REVOKE | {"kid": f"{B}/1"}, ["operator/1"], "unknown-key"),
        (REVOKE | {"compromised_from": T0 + 1}, ["operator/1"], "schema"),
        (PUBLISH, [f"{A}/1"], "missing-signature"),
        (PUBLISH, [f"{A}/1", f"{B}/1", "operator/1"], "unknown-key"),
        (PUBLISH | {"agreement": AGREEMENT | {"version": 2}}, [f"{A}/1", f"{B}/1"], "version"),
        (PUBLISH | {"agreement": AGREEMENT | {"parties": [A, B, C]}}, [f"{A}/1", f"{B}/1"], "unknown-agency"),
        (TERMINATE, [f"{B}/1"], "unknown-agreement"),
        ({"statement": "agreement.lapse", "agreement": "a-1", "version": 1}, ["hub/1"], "unknown-agreement"),
        ({"statement": "something.else"}, ["operator/1"], "schema"),
        (ENROLL | {"iat": T0 // 1000 + 301}, ["operator/1", f"{C}/1"], "not-yet-valid"),
        ({"statement": "hub.found", "origin": "o.example/l", "hub": key_claim("hub/1"), "operator": key_claim("operator/1")},
         ["hub/1", "operator/1"], "hub-found"),
    ],
)  # fmt: skip
def test_refused_with_its_reason_and_nothing_changes(world: World, payload: dict, kids: list[str], code: str) -> None:
    assert refusal(world, payload, *kids) == code


def test_unknown_operators_fields_and_types_are_refused_when_proposed(world: World) -> None:
    for change in (
        {"when": [{"field": "severity", "op": "sounds_like", "value": "high"}]},
        {"when": [{"field": "no_such_field", "op": "one_of", "value": ["x"]}]},
        {"types": ["threat.weather.v1"]},
        {"withhold": ["title"]},
        {"to": [C]},
        {"ceiling": "TLP:PURPLE"},
    ):
        bad = agreement("a-1", [A, B], [clause("c1", [A], [B]) | change])
        assert refusal(world, PUBLISH | {"agreement": bad}, f"{A}/1", f"{B}/1") == "schema"


def test_the_first_statement_founds_the_hub() -> None:
    world = World(A)
    document = world.document(ENROLL, "operator/1", f"{C}/1")
    with pytest.raises(Refusal, match="hub-found"):
        judge(Registry(), document, T0)


def test_the_same_statement_is_recorded_once(world: World) -> None:
    id_ = world.id()
    world.record(ENROLL | {"id": id_}, "operator/1", f"{C}/1")
    assert refusal(world, ENROLL | {"id": id_}, "operator/1", f"{C}/1") == "duplicate-statement"


def test_a_signature_by_the_wrong_key_is_refused(world: World) -> None:
    document = strict.loads(world.document(ENROLL, "operator/1", f"{C}/1"))
    document["signatures"][0]["signature"] = document["signatures"][1]["signature"]
    with pytest.raises(Refusal, match="does not verify"):
        judge(world.registry, strict.dumps(document), T0)


def test_a_revoked_key_signs_nothing_more_even_within_the_grace(world: World) -> None:
    world.grace = 5_000
    world.record(REVOKE, f"{A}/1")
    assert refusal(world, ADD, f"{A}/1", f"{A}/2") == "unknown-key"
    assert refusal(world, REVOKE, "operator/1") == "already-ended"


def test_compromised_from_is_remembered(world: World) -> None:
    world.record(REVOKE | {"compromised_from": T0 - 5}, f"{A}/1")
    key = world.registry.keys[f"{A}/1"]
    assert key.compromised_from(world.registry.position) == T0 - 5
    assert key.compromised_from(world.registry.position - 1) is None
    assert key.retires_at(world.registry.position) == T0
    assert key.retires_at(world.registry.position - 1) == FAR


def test_a_new_version_needs_the_parties_of_both(world: World) -> None:
    world.enroll(C)
    world.publish(AGREEMENT)
    without_b = agreement("a-1", [A, C], [clause("c1", [A], [C])], version=2)
    assert refusal(world, PUBLISH | {"agreement": without_b}, f"{A}/1", f"{C}/1") == "missing-signature"
    world.publish(without_b, f"{A}/1", f"{B}/1", f"{C}/1")
    assert world.registry.agreements["a-1"][0].ends[0][2] == "superseded"


def test_a_terminated_agreement_ends_once_and_may_be_made_anew_without_who_left(world: World) -> None:
    world.enroll(C)
    world.publish(AGREEMENT)
    assert refusal(world, TERMINATE | {"party": C}, f"{C}/1") == "not-a-party"
    world.record(TERMINATE, f"{B}/1")
    assert refusal(world, TERMINATE, f"{B}/1") == "already-ended"
    world.publish(agreement("a-1", [A, C], [clause("c1", [A], [C])], version=2))


def test_a_lapse_is_recorded_once_and_only_when_it_is_so(world: World) -> None:
    short = AGREEMENT | {"in_force": {"from": "2026-01-01T00:00:00Z", "until": "2027-02-01T00:00:00Z"}}
    world.publish(short)
    lapse = {"statement": "agreement.lapse", "agreement": "a-1", "version": 1}
    assert not list(world.registry.lapsing(T0))
    assert refusal(world, lapse, "hub/1") == "not-lapsed"
    world.at = T0 + 10 * 86_400_000 * 3 + 86_400_000
    [lapsing] = world.registry.lapsing(world.at)
    assert lapsing.agreement.id == "a-1"
    assert refusal(world, lapse, "operator/1") == "unknown-key"
    world.record(lapse, "hub/1")
    assert not list(world.registry.lapsing(world.at))
    assert refusal(world, lapse, "hub/1") == "not-lapsed"


class TestFollowing:
    """A reader of the registry topic believes nothing that it has not judged again."""

    def test_the_same_events_make_the_same_registry(self, world: World) -> None:
        world.publish(AGREEMENT)
        copy = Registry()
        for event in world.events:
            follow(copy, event)
        assert copy.position == world.registry.position
        assert copy.keys == world.registry.keys
        assert copy.agencies == world.registry.agencies

    @pytest.mark.parametrize(
        "change", [{"position": 7}, {"recorded": T0 - 1, "effective": T0}, {"effective": T0 - 1}, {"statement": {}}]
    )
    def test_a_doubtful_event_stops_the_reader(self, world: World, change: dict) -> None:
        copy = Registry()
        follow(copy, world.events[0])
        with pytest.raises(VerificationFailed):
            follow(copy, world.events[1].model_copy(update=change))

    def test_an_unsigned_change_of_a_statement_stops_the_reader(self, world: World) -> None:
        copy = Registry()
        follow(copy, world.events[0])
        statement = dict(world.events[1].statement)
        statement["payload"] = world.events[2].statement["payload"]
        with pytest.raises(VerificationFailed, match="signature"):
            follow(copy, world.events[1].model_copy(update={"statement": statement}))


def test_a_view_lists_what_its_reader_knew(world: World) -> None:
    then = world.registry.position
    world.enroll(C)
    world.publish(agreement("a-1", [A, B, C], [clause("c1", [A], [B])]))
    view, past = world.registry.view(), world.registry.view(then)
    assert [agency.id for agency in view.agencies(T0)] == [A, B, C]
    assert [agency.id for agency in past.agencies(T0)] == [A, B]
    assert (view.enrolled(), past.enrolled()) == (3, 2)
    assert view.agency(C, T0) and not past.agency(C, T0)
    assert [key.kid for key in view.keys(C)] == [f"{C}/1"]
    assert past.keys(C) == []
    assert [version.agreement.id for version in view.agreements(T0)] == ["a-1"]
    assert past.agreements(T0) == []
    assert [version.agreement.id for version in view.versions(A, C)] == ["a-1"]
    assert past.versions(A, C) == []
    assert view.agencies(T0 - 1) == []
    assert world.registry.view(10_000).position == world.registry.position
