"""How topics are set, held against a table written by hand."""

from __future__ import annotations

import pytest

from hub.log.topics import HUB, configs

USUAL = {
    "cleanup.policy": "delete", "retention.ms": "-1", "retention.bytes": "-1", "max.message.bytes": "1179648",
    "message.timestamp.type": "CreateTime", "min.insync.replicas": "1",
}  # fmt: skip


@pytest.mark.parametrize(
    "topic",
    ["comity.ledger", "comity.registry", "comity.requests", "comity.checkpoints", "comity.layout",
     "comity.notices.us-ab", "comity.deliveries.us-ab"],
)  # fmt: skip
def test_what_is_kept_for_ever(topic: str) -> None:
    assert configs(topic, 1) == USUAL


@pytest.mark.parametrize("topic", ["comity.leases", "comity.assertions"])
def test_what_is_kept_for_an_hour(topic: str) -> None:
    assert configs(topic, 1) == USUAL | {"retention.ms": "3600000", "segment.ms": "600000"}


def test_state_is_in_short_segments_so_that_it_can_be_cut_off() -> None:
    assert configs("comity.state.router-0-of-1", 1) == USUAL | {"segment.bytes": "67108864"}


@pytest.mark.parametrize(("replication", "insync"), [(1, "1"), (2, "1"), (3, "2"), (5, "2")])
def test_two_copies_must_have_a_record_where_there_are_three(replication: int, insync: str) -> None:
    assert configs("comity.ledger", replication) == USUAL | {"min.insync.replicas": insync}


def test_the_hub_begins_with_these() -> None:
    assert set(HUB) == {
        "comity.ledger", "comity.registry", "comity.requests", "comity.checkpoints", "comity.layout", "comity.leases",
        "comity.assertions",
    }  # fmt: skip
