"""What differs between what must be on a cluster and what is there, in the order to mend it. No I/O.

Taking access away comes first, and the access lists before the users: a deleted user's open connections go on until they must
prove themselves again, an access list is looked at for every request. Topics come before who may use them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from hub.access.ours import is_ours, warnings
from hub.access.plan import Acl, Wanted, principal
from hub.log.topics import PARTITIONS, PREFIX, configs

UNSUPPORTED = "this cluster has no authorizer: access lists and users are not supported there, and were left out"


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic as it is. configs: those that we have an opinion about."""

    partitions: int
    replication: int
    configs: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class There:
    """What is there. acls, users: None on a cluster without an authorizer. users: each with its SCRAM mechanisms."""

    topics: Mapping[str, Topic]
    acls: frozenset[Acl] | None = None
    users: Mapping[str, frozenset[str]] | None = None


@dataclass(frozen=True, slots=True)
class NewTopic:
    sign: ClassVar[str] = "+"
    name: str
    replication: int
    configs: Mapping[str, str]

    def __str__(self) -> str:
        return f"topic {self.name}"


@dataclass(frozen=True, slots=True)
class Reset:
    """Settings of a topic that somebody changed. before: None for one that is not told."""

    sign: ClassVar[str] = "~"
    name: str
    before: Mapping[str, str | None]
    configs: Mapping[str, str]

    def __str__(self) -> str:
        told = (f"{name} {self.before[name] or '?'} → {value}" for name, value in sorted(self.configs.items()))
        return f"topic {self.name}: {', '.join(told)}"


@dataclass(frozen=True, slots=True)
class Allow:
    """Entries that say the same of one principal and one resource, for several operations."""

    sign: ClassVar[str] = "+"
    acls: tuple[Acl, ...]

    def __str__(self) -> str:
        return told(self.acls)


@dataclass(frozen=True, slots=True)
class Disallow:
    sign: ClassVar[str] = "-"
    acls: tuple[Acl, ...]

    def __str__(self) -> str:
        return told(self.acls)


@dataclass(frozen=True, slots=True)
class NewUser:
    """A new password, for a new user or, with `rotated`, for one that is there."""

    name: str
    rotated: bool = False

    @property
    def sign(self) -> str:
        return "~" if self.rotated else "+"

    def __str__(self) -> str:
        return f"user {self.name}" + (": a new password" if self.rotated else "")


@dataclass(frozen=True, slots=True)
class NoUser:
    sign: ClassVar[str] = "-"
    name: str
    mechanisms: tuple[str, ...]

    def __str__(self) -> str:
        return f"user {self.name}"


Change = NewTopic | Reset | Allow | Disallow | NewUser | NoUser


@dataclass(frozen=True, slots=True)
class Difference:
    """changes: to be made, in order. notes: what somebody should know. faults: what only somebody can mend."""

    changes: tuple[Change, ...]
    notes: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()


def differ(wanted: Wanted, there: There, *, passwords: bool = False, rotate: str | None = None) -> Difference:
    """passwords: users are made where they are missing. rotate: whose password is made anew."""
    topics, faults = list(_topics(wanted, there)), list(_faults(wanted, there))
    if there.acls is None or there.users is None:
        return Difference(tuple(topics), (UNSUPPORTED,), tuple(faults))
    gone = wanted.principals - {principal(user) for user in wanted.users}
    surplus = {acl for acl in there.acls - wanted.acls if is_ours(acl, wanted)}
    revoked = {acl for acl in surplus if acl.principal in gone}
    changes: list[Change] = [Disallow(acls) for acls in group(revoked)]
    changes += _no_users(wanted, there.users)
    changes += [Disallow(acls) for acls in group(surplus - revoked)]
    changes += topics
    changes += [Allow(acls) for acls in group(wanted.acls - there.acls)]
    if passwords:
        missing = {user for user in wanted.users if "SCRAM_SHA_512" not in there.users.get(user, ())}
        changes += [NewUser(user) for user in sorted(missing)]
        changes += [NewUser(rotate, rotated=True)] if rotate in wanted.users - missing else []
    return Difference(tuple(changes), tuple(warnings(there.acls, wanted)), tuple(faults))


def _no_users(wanted: Wanted, users: Mapping[str, frozenset[str]]) -> Iterable[NoUser]:
    for agency in sorted(wanted.agencies - wanted.access):
        if agency in users:
            yield NoUser(agency, tuple(sorted(users[agency])))


def _topics(wanted: Wanted, there: There) -> Iterable[Change]:
    replication = wanted.settings.replication
    yield from (
        NewTopic(name, replication, settings)
        for name, settings in wanted.topics.items()
        if name not in there.topics
    )  # fmt: skip
    for name, topic in sorted(there.topics.items()):
        # Also topics that nobody asks for now, such as the state of a former number of routers: they may be needed again.
        if not name.startswith(PREFIX) or topic.partitions != PARTITIONS:
            continue
        # By the copies it has: two in sync can never be had of a topic with one, and nothing could be written.
        off = {key: value for key, value in configs(name, topic.replication).items() if topic.configs.get(key) != value}
        if off:
            yield Reset(name, {key: topic.configs.get(key) for key in off}, off)


def _faults(wanted: Wanted, there: There) -> Iterable[str]:
    for name, topic in sorted(there.topics.items()):
        if name.startswith(PREFIX) and topic.partitions != PARTITIONS:
            yield (
                f"topic {name} has {topic.partitions} partitions; the order of its records needs exactly {PARTITIONS}, "
                "and partitions cannot be taken away: delete it if it is empty, and apply again"
            )
        elif name in wanted.topics and topic.replication < wanted.settings.replication:
            yield (
                f"topic {name} has {topic.replication} of {wanted.settings.replication} copies: "
                "add them with kafka-reassign-partitions.sh, and apply again"
            )


def group(acls: Iterable[Acl]) -> list[tuple[Acl, ...]]:
    """Those that differ in the operation only, together."""
    ordered = sorted(acls, key=_subject)
    return [tuple(sorted(found)) for _, found in groupby(ordered, key=_subject)]


def _subject(acl: Acl) -> tuple[str, ...]:
    return acl.principal, acl.resource, acl.pattern, acl.name, acl.permission, acl.host


def told(acls: tuple[Acl, ...]) -> str:
    """`access User:at-cert Write, Describe on topic comity.notices.at-cert`."""
    one = acls[0]
    operations = ", ".join(acl.operation.replace("_", " ").title().replace(" ", "") for acl in acls)
    resource = one.resource.replace("_", " ").lower() + f" {one.name}" + ("…" if one.pattern == "PREFIXED" else "")
    host = "" if one.host == "*" else f" from {one.host}"
    return f"access {one.principal} {operations} on {resource}{host}"
