"""Topics on Kafka: their names, and how each is set. One table for whoever makes topics and for whoever looks after them.

A topic has one partition: order depends on it. Records are deleted by nobody but us, except what is old by its nature.
"""

from __future__ import annotations

from hub.log import MAX_RECORD

PREFIX = "comity."
NOTICES = "comity.notices."
DELIVERIES = "comity.deliveries."
STATE = "comity.state."
# Without these nothing can start.
HUB = (
    "comity.assertions", "comity.checkpoints", "comity.layout", "comity.leases", "comity.ledger", "comity.registry",
    "comity.requests",
)  # fmt: skip
SHORT_LIVED = ("comity.assertions", "comity.leases")

PARTITIONS = 1
RECORD_LIMIT = MAX_RECORD
MESSAGE_LIMIT = RECORD_LIMIT + 131_072  # bytes of a batch: a record of the largest size, and what Kafka puts around it

_ALWAYS = {
    "cleanup.policy": "delete",  # never compact: a ledger without its old records proves nothing
    "retention.ms": "-1",
    "retention.bytes": "-1",
    "max.message.bytes": str(MESSAGE_LIMIT),
    "message.timestamp.type": "CreateTime",
}
_HOUR, _TEN_MINUTES = 3_600_000, 600_000  # ms


def configs(topic: str, replication: int) -> dict[str, str]:
    """What is set for a topic that has `replication` copies. With three, two must have a record before it counts."""
    wanted = _ALWAYS | {"min.insync.replicas": "2" if replication >= 3 else "1"}
    if topic.startswith(STATE):
        wanted["segment.bytes"] = (
            "67108864"  # only whole segments are deleted: 64 MiB is what restoring may read too much
        )
    if topic in SHORT_LIVED:
        wanted |= {"retention.ms": str(_HOUR), "segment.ms": str(_TEN_MINUTES)}
    return wanted
