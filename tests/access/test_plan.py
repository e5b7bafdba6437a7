"""What must be on a cluster, held against lists written by hand."""

from __future__ import annotations

import pytest

from hub.access.plan import Acl, Settings, has_access, next_moment, plan, shards
from hub.core.registry import Registry
from tests.world import FAR, T0, World, key_claim

HUB_TOPICS = {
    "comity.ledger", "comity.registry", "comity.requests", "comity.checkpoints", "comity.layout", "comity.leases",
    "comity.assertions",
}  # fmt: skip
HUB_ACLS = {
    ("User:hub", "TOPIC", "PREFIXED", "comity.", "READ"),
    ("User:hub", "TOPIC", "PREFIXED", "comity.", "WRITE"),
    ("User:hub", "TOPIC", "PREFIXED", "comity.", "CREATE"),
    ("User:hub", "TOPIC", "PREFIXED", "comity.", "DESCRIBE"),
    ("User:hub", "TOPIC", "PREFIXED", "comity.", "DESCRIBE_CONFIGS"),
    ("User:hub", "TOPIC", "PREFIXED", "comity.state.", "DELETE"),
    ("User:hub", "TRANSACTIONAL_ID", "PREFIXED", "comity-", "WRITE"),
    ("User:hub", "TRANSACTIONAL_ID", "PREFIXED", "comity-", "DESCRIBE"),
    ("User:hub", "GROUP", "PREFIXED", "comity-", "READ"),
    ("User:hub", "GROUP", "PREFIXED", "comity-", "DESCRIBE"),
}


def of_us_ab() -> set[tuple[str, ...]]:
    return {
        ("User:us-ab", "TOPIC", "LITERAL", "comity.notices.us-ab", "WRITE"),
        ("User:us-ab", "TOPIC", "LITERAL", "comity.notices.us-ab", "DESCRIBE"),
        ("User:us-ab", "TOPIC", "LITERAL", "comity.deliveries.us-ab", "READ"),
        ("User:us-ab", "TOPIC", "LITERAL", "comity.deliveries.us-ab", "DESCRIBE"),
        ("User:us-ab", "GROUP", "PREFIXED", "us-ab.", "READ"),
    }


def said(acls: frozenset[Acl]) -> set[tuple[str, ...]]:
    assert {(acl.permission, acl.host) for acl in acls} == {("ALLOW", "*")}
    return {(acl.principal, acl.resource, acl.pattern, acl.name, acl.operation) for acl in acls}


@pytest.fixture
def world() -> World:
    return World("us-ab", "us-abc")


def revoke(world: World, kid: str) -> None:
    agency = kid.partition("/")[0]
    world.record({"statement": "key.revoke", "agency": agency, "kid": kid, "reason": "stolen"}, kid)


def test_before_a_registry_exists_the_hub_gets_what_it_begins_with() -> None:
    wanted = plan(Registry().view(), T0, Settings(shards=2))
    assert set(wanted.topics) == HUB_TOPICS | {
        "comity.state.registry", "comity.state.notary", "comity.state.router-0-of-2", "comity.state.router-1-of-2",
    }  # fmt: skip
    assert said(wanted.acls) == HUB_ACLS
    assert wanted.users == {"hub"}


def test_an_agency_gets_its_two_topics_and_groups_of_its_own_and_nothing_else() -> None:
    world = World("us-ab")
    wanted = plan(world.registry.view(), world.at, Settings())
    assert said(wanted.acls) == HUB_ACLS | of_us_ab()
    assert set(wanted.topics) - HUB_TOPICS == {
        "comity.notices.us-ab", "comity.deliveries.us-ab",
        "comity.state.registry", "comity.state.notary", "comity.state.router-0-of-1",
    }  # fmt: skip


def test_the_group_prefix_of_one_agency_is_not_that_of_one_whose_name_goes_on(world: World) -> None:
    wanted = plan(world.registry.view(), world.at, Settings())
    prefixes = {acl.principal: acl.name for acl in wanted.acls if acl.resource == "GROUP"}
    assert prefixes["User:us-ab"] == "us-ab." and not "us-abc.readers".startswith(prefixes["User:us-ab"])


def test_an_agency_without_a_good_key_keeps_its_topics_and_nothing_else(world: World) -> None:
    revoke(world, "us-abc/1")
    wanted = plan(world.registry.view(), world.at, Settings())
    assert wanted.agencies == {"us-ab", "us-abc"} and wanted.access == {"us-ab"}
    assert said(wanted.acls) == HUB_ACLS | of_us_ab()
    assert "comity.deliveries.us-abc" in wanted.topics


def test_another_good_key_keeps_the_access(world: World) -> None:
    world.record({"statement": "key.add", "agency": "us-ab", "key": key_claim("us-ab/2")}, "us-ab/1", "us-ab/2")
    revoke(world, "us-ab/1")
    assert has_access(world.registry.view(), "us-ab", world.at)


def test_access_begins_and_ends_at_the_moment_that_the_key_does() -> None:
    world = World(grace=5000)
    world.at += 10_000
    claim = key_claim("us-ab/1", not_before=T0, not_after=world.at + 60_000)
    world.record({"statement": "agency.enroll", "agency": {"id": "us-ab", "name": "AB", "role": "partner"}, "key": claim},
                 "operator/1", "us-ab/1")  # fmt: skip
    view, enrolled = world.registry.view(), world.at
    moments = []
    at = enrolled
    while (moment := next_moment(view, at)) is not None and moment < FAR:
        moments.append(moment - enrolled)
        at = moment
    assert moments == [5000, 60_000]
    told = [has_access(view, "us-ab", enrolled + ms) for ms in (0, 4999, 5000, 59_999, 60_000)]
    assert told == [False, False, True, True, False]
    # Its topics are there before, so that what is routed to it at that moment has a place.
    assert "comity.deliveries.us-ab" in plan(view, enrolled, Settings()).topics


def test_no_moment_is_left_when_every_key_is_as_it_will_be() -> None:
    assert next_moment(Registry().view(), T0) is None
    assert next_moment(World("us-ab").registry.view(), FAR) is None


def test_the_hub_is_who_the_settings_say() -> None:
    wanted = plan(Registry().view(), T0, Settings(hub="comity"))
    assert {acl.principal for acl in wanted.acls} == {"User:comity"}


def test_nobody_but_the_hub_may_use_a_transactional_id(world: World) -> None:
    wanted = plan(world.registry.view(), world.at, Settings())
    assert {acl.principal for acl in wanted.acls if acl.resource == "TRANSACTIONAL_ID"} == {"User:hub"}


def test_the_hub_cannot_delete_anything_but_its_state(world: World) -> None:
    wanted = plan(world.registry.view(), world.at, Settings())
    assert [acl.name for acl in wanted.acls if acl.operation in ("DELETE", "ALTER", "ALTER_CONFIGS", "ALL")] == [
        "comity.state."
    ]


def test_shards_are_named_with_their_number() -> None:
    assert shards(3) == ["registry", "notary", "router-0-of-3", "router-1-of-3", "router-2-of-3"]
