"""What must be there on a Kafka cluster: topics, access lists and users, from a view of the registry. No I/O, no clock.

An agency *has access* while it has a key that is good now. It may write its notices and read its deliveries, commit offsets
in groups that begin with its own name, and nothing else: no topic of the hub's, no transactional id. Agencies are the same
principal by password and by certificate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hub import layout, notary, registry
from hub.core.registry import View
from hub.log.topics import DELIVERIES, HUB, NOTICES, PREFIX, STATE, configs

TRANSACTIONS = "comity-"  # the hub's transactional ids and groups begin so
_EVER = 1 << 62  # ms; later than every moment


@dataclass(frozen=True, slots=True, order=True)
class Acl:
    """One entry of an access list, in Kafka's words: resource TOPIC, GROUP, …; pattern LITERAL or PREFIXED."""

    principal: str
    resource: str
    pattern: str
    name: str
    operation: str
    permission: str = "ALLOW"
    host: str = "*"


@dataclass(frozen=True, slots=True)
class Settings:
    """replication: copies of a new topic. shards: of routers, until the hub has said how many it has. hub: the user that
    every process of the hub is.

    keeper: the principal that looks after the cluster; nothing is ever taken from it.
    """

    replication: int = 1
    shards: int = 1
    hub: str = "hub"
    keeper: str | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """agencies: everybody enrolled. access: those of them that have access."""

    settings: Settings
    topics: Mapping[str, Mapping[str, str]]
    acls: frozenset[Acl]
    agencies: frozenset[str]
    access: frozenset[str]

    @property
    def users(self) -> frozenset[str]:
        return self.access | {self.settings.hub}

    @property
    def principals(self) -> frozenset[str]:
        """Everybody whose access is ours to say, whether they have any or not."""
        return frozenset(map(principal, self.agencies | {self.settings.hub}))


def plan(view: View, at: int, settings: Settings) -> Wanted:
    """What must be there at the moment `at` (ms). With an empty registry: what the hub needs to begin."""
    # Topics come as soon as an agency is on record: the first notices for it are routed when its enrolment takes effect.
    agencies = frozenset(agency.id for agency in view.agencies(_EVER))
    access = frozenset(agency for agency in agencies if has_access(view, agency, at))
    names = [*HUB, *(f"{kind}{agency}" for agency in sorted(agencies) for kind in (NOTICES, DELIVERIES))]
    names += [STATE + shard for shard in shards(settings.shards)]
    acls = frozenset(_of_hub(settings.hub)) | {acl for agency in access for acl in _of_agency(agency)}
    topics = {name: configs(name, settings.replication) for name in names}
    return Wanted(settings, topics, acls, agencies, access)


def has_access(view: View, agency: str, at: int) -> bool:
    return any(key.problem(view.position, at) is None for key in view.keys(agency))


def next_moment(view: View, at: int) -> int | None:
    """The first moment after `at` (ms) at which a key that is on record begins or ends; None when there is none."""
    moments: set[int] = set()
    for agency in view.agencies(_EVER):
        for key in view.keys(agency.id):
            moments |= {key.effective, key.not_before, key.not_after}
            for end in key.ends:
                moments |= {end.effective, end.moment}
    return min((moment for moment in moments if moment > at), default=None)


def shards(count: int) -> list[str]:
    """Names of everything that claims: their state is kept in a topic each."""
    return [shard.name for shard in (registry.SHARD, notary.SHARD, *layout.shards(count))]


def principal(user: str) -> str:
    return f"User:{user}"


def _of_hub(user: str) -> Iterable[Acl]:
    """A stolen password of the hub's must not be able to delete the ledger.

    Kafka has one permission for deleting records and for deleting the topic, so the hub has it for its state alone.
    """
    topics = ("READ", "WRITE", "CREATE", "DESCRIBE", "DESCRIBE_CONFIGS")
    yield from _prefixed(user, "TOPIC", PREFIX, *topics)
    yield from _prefixed(user, "TOPIC", STATE, "DELETE")
    yield from _prefixed(user, "TRANSACTIONAL_ID", TRANSACTIONS, "WRITE", "DESCRIBE")
    yield from _prefixed(user, "GROUP", TRANSACTIONS, "READ", "DESCRIBE")


def _of_agency(agency: str) -> Iterable[Acl]:
    """The dot ends the name: what us-ab may, us-abc may not. No agency id has a dot."""
    yield from _literal(agency, NOTICES + agency, "WRITE", "DESCRIBE")
    yield from _literal(agency, DELIVERIES + agency, "READ", "DESCRIBE")
    yield from _prefixed(agency, "GROUP", f"{agency}.", "READ")


def _literal(user: str, topic: str, *operations: str) -> Iterable[Acl]:
    return (Acl(principal(user), "TOPIC", "LITERAL", topic, operation) for operation in operations)


def _prefixed(user: str, resource: str, prefix: str, *operations: str) -> Iterable[Acl]:
    return (Acl(principal(user), resource, "PREFIXED", prefix, operation) for operation in operations)
