"""What is changed, in which order, and what is left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hub.access.changes import UNSUPPORTED, Difference, There, Topic, differ
from hub.access.plan import Acl, Settings, Wanted, plan
from hub.log.topics import configs
from tests.world import World

SHA512 = frozenset({"SCRAM_SHA_512"})


def wanted(*, replication: int = 1, revoked: str | None = None, keeper: str | None = None) -> Wanted:
    world = World("us-ab", "us-abc")
    if revoked:
        payload = {"statement": "key.revoke", "agency": revoked, "kid": f"{revoked}/1", "reason": "stolen"}
        world.record(payload, f"{revoked}/1")
    return plan(world.registry.view(), world.at, Settings(replication, keeper=keeper))


def agreeing(plan: Wanted) -> There:
    """A cluster that is as planned."""
    copies = plan.settings.replication
    topics = {name: Topic(1, copies, settings) for name, settings in plan.topics.items()}
    return There(topics, plan.acls, dict.fromkeys((*plan.users, "admin"), SHA512))


def lines(difference: Difference) -> list[str]:
    return [f"{change.sign} {change}" for change in difference.changes]


def with_acl(there: There, *acls: Acl) -> There:
    assert there.acls is not None
    return replace(there, acls=there.acls | set(acls))


def with_topic(there: There, name: str, topic: Topic) -> There:
    return replace(there, topics=dict(there.topics) | {name: topic})


def allow(principal: str, resource: str, name: str, operation: str = "READ", pattern: str = "LITERAL") -> Acl:
    return Acl(principal, resource, pattern, name, operation)


def test_a_cluster_that_is_as_planned_is_left_alone() -> None:
    assert differ(wanted(), agreeing(wanted()), passwords=True) == Difference(())


def test_an_empty_cluster_gets_topics_then_access_then_users() -> None:
    told = lines(differ(wanted(), There({}, frozenset(), {}), passwords=True))
    assert [line.split()[1] for line in told] == ["topic"] * 14 + ["access"] * 10 + ["user"] * 3
    assert "+ topic comity.deliveries.us-abc" in told
    assert "+ access User:us-ab Describe, Write on topic comity.notices.us-ab" in told
    assert "+ access User:us-ab Read on group us-ab.…" in told
    assert told[-3:] == ["+ user hub", "+ user us-ab", "+ user us-abc"]


def test_without_passwords_no_user_is_made() -> None:
    there = replace(agreeing(wanted()), users={})
    assert lines(differ(wanted(), there)) == []


def test_who_lost_access_loses_its_entries_first_then_its_user_and_only_then_comes_the_rest() -> None:
    there = agreeing(wanted())
    there = with_acl(there, allow("User:us-ab", "TOPIC", "comity.ledger"))
    del there.topics["comity.layout"]  # type: ignore[attr-defined]
    assert lines(differ(wanted(revoked="us-abc"), there, passwords=True)) == [
        "- access User:us-abc Read on group us-abc.…",
        "- access User:us-abc Describe, Read on topic comity.deliveries.us-abc",
        "- access User:us-abc Describe, Write on topic comity.notices.us-abc",
        "- user us-abc",
        "- access User:us-ab Read on topic comity.ledger",
        "+ topic comity.layout",
    ]


def test_who_gets_access_again_gets_a_new_password() -> None:
    without = agreeing(wanted(revoked="us-abc"))
    assert lines(differ(wanted(), without, passwords=True))[-1] == "+ user us-abc"


def test_a_password_is_made_anew_on_demand() -> None:
    assert lines(differ(wanted(), agreeing(wanted()), passwords=True, rotate="us-ab")) == [
        "~ user us-ab: a new password"
    ]
    nobody = replace(agreeing(wanted()), users={"hub": SHA512, "us-abc": SHA512})
    assert lines(differ(wanted(), nobody, passwords=True, rotate="us-ab")) == ["+ user us-ab"]


SURPLUS = [
    allow("User:stranger", "TOPIC", "comity.ledger"),
    allow("User:*", "TOPIC", "comity.notices.us-ab", "WRITE"),
    allow("User:us-ab", "TOPIC", "comity.deliveries.us-abc"),
    allow("User:us-ab", "TOPIC", "comity.deliveries.us-ab", "WRITE"),
    allow("User:us-ab", "TOPIC", "comity.deliveries.", pattern="PREFIXED"),
    replace(allow("User:us-ab", "TOPIC", "comity.deliveries.us-ab"), host="10.0.0.1"),
    allow("User:us-ab", "TRANSACTIONAL_ID", "comity-router-0", "WRITE"),
    allow("User:us-ab", "TRANSACTIONAL_ID", "us-ab.", "WRITE", "PREFIXED"),
    allow("User:us-ab", "GROUP", "us-abc.readers"),
    allow("User:stranger", "GROUP", "us-ab.", pattern="PREFIXED"),
    allow("User:us-ab", "GROUP", "comity-", pattern="PREFIXED"),
    allow("User:us-ab", "GROUP", "*"),
    allow("User:us-ab", "TOPIC", "*"),
    allow("User:us-ab", "TOPIC", "com", pattern="PREFIXED"),
    allow("User:us-ab", "CLUSTER", "kafka-cluster", "ALTER"),
    allow("User:hub", "CLUSTER", "kafka-cluster", "ALTER"),
    allow("User:hub", "TOPIC", "comity.", "ALTER_CONFIGS", "PREFIXED"),
]


@pytest.mark.parametrize(
    "acl", SURPLUS, ids=lambda acl: f"{acl.principal[5:]} {acl.operation} {acl.resource} {acl.name}"
)
def test_access_to_ours_that_nobody_planned_is_taken_away(acl: Acl) -> None:
    [line] = lines(differ(wanted(), with_acl(agreeing(wanted()), acl)))
    assert line.startswith(f"- access {acl.principal} ")


OTHERS = [
    allow("User:payroll", "TOPIC", "payroll.salaries"),
    allow("User:us-ab", "TOPIC", "weather"),
    allow("User:us-ab", "GROUP", "weather"),
    allow("User:payroll", "TRANSACTIONAL_ID", "payroll-1", "WRITE"),
    allow("User:operations", "CLUSTER", "kafka-cluster", "ALTER"),
    allow("User:payroll", "TOPIC", "comityx"),
]


@pytest.mark.parametrize("acl", OTHERS, ids=lambda acl: f"{acl.principal[5:]} {acl.resource} {acl.name}")
def test_access_to_what_is_not_ours_is_not_touched(acl: Acl) -> None:
    assert differ(wanted(), with_acl(agreeing(wanted()), acl)) == Difference(())


@pytest.mark.parametrize(
    "acl", [allow("User:metrics", "TOPIC", "*", "DESCRIBE"), allow("User:metrics", "TOPIC", "c", pattern="PREFIXED"),
            allow("User:metrics", "GROUP", "us-", pattern="PREFIXED")], ids=str,
)  # fmt: skip
def test_access_of_others_to_everything_is_left_and_told(acl: Acl) -> None:
    difference = differ(wanted(), with_acl(agreeing(wanted()), acl))
    [note] = difference.notes
    assert difference.changes == () and "User:metrics" in note and "narrow it" in note


def test_a_denial_set_by_hand_stays_and_is_told() -> None:
    denial = replace(allow("User:us-ab", "TOPIC", "comity.notices.us-ab", "WRITE"), permission="DENY")
    difference = differ(wanted(), with_acl(agreeing(wanted()), denial))
    assert difference.changes == () and "User:us-ab is denied WRITE" in difference.notes[0]


def test_nothing_is_taken_from_whoever_looks_after_the_cluster() -> None:
    own = allow("User:ops", "TOPIC", "comity.", "ALL", "PREFIXED")
    assert differ(wanted(keeper="User:ops"), with_acl(agreeing(wanted()), own)) == Difference(())
    assert len(differ(wanted(), with_acl(agreeing(wanted()), own)).changes) == 1


def test_users_that_are_not_ours_are_not_touched() -> None:
    there = replace(agreeing(wanted()), users={"admin": SHA512, "payroll": SHA512, "xx-unknown": SHA512})
    assert lines(differ(wanted(), there)) == []


def test_a_changed_setting_is_mended_and_others_stay() -> None:
    settings = configs("comity.ledger", 1) | {"max.message.bytes": "1000", "retention.ms": "5"}
    there = with_topic(agreeing(wanted()), "comity.ledger", Topic(1, 1, settings))
    assert lines(differ(wanted(), there)) == [
        "~ topic comity.ledger: max.message.bytes 1000 → 1179648, retention.ms 5 → -1"
    ]


def test_settings_of_a_state_topic_that_no_shard_has_now_are_mended_too() -> None:
    there = with_topic(agreeing(wanted()), "comity.state.router-0-of-9", Topic(1, 1, configs("comity.ledger", 1)))
    assert lines(differ(wanted(), there)) == ["~ topic comity.state.router-0-of-9: segment.bytes ? → 67108864"]


def test_topics_of_others_are_not_looked_at() -> None:
    there = with_topic(agreeing(wanted()), "payroll.salaries", Topic(12, 1, {}))
    assert differ(wanted(), there) == Difference(())


def test_a_topic_with_more_partitions_is_a_fault_and_nothing_is_changed_there() -> None:
    there = with_topic(agreeing(wanted()), "comity.ledger", Topic(3, 1, {"retention.ms": "5"}))
    difference = differ(wanted(), there)
    assert difference.changes == ()
    assert "comity.ledger has 3 partitions" in difference.faults[0]


def test_a_topic_with_too_few_copies_is_a_fault_and_is_not_asked_for_more_in_sync_than_it_has() -> None:
    three = wanted(replication=3)
    there = with_topic(agreeing(three), "comity.ledger", Topic(1, 1, configs("comity.ledger", 1)))
    difference = differ(three, there)
    assert difference.changes == ()
    assert "comity.ledger has 1 of 3 copies" in difference.faults[0]


def test_where_nobody_is_checked_topics_are_made_and_the_rest_is_told_once() -> None:
    difference = differ(wanted(), There({}), passwords=True)
    assert len(difference.changes) == 14 and difference.notes == (UNSUPPORTED,)
