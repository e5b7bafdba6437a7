"""Each kind of change, made by kafka-python's blocking admin client. Many of a kind go in one request.

Its calls answer denials in their results, each in its own way, and not by exceptions: every result is looked at, and comes back
as the reason why a change was not made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from kafka.errors import NoError, TopicAlreadyExistsError, for_code

from hub.access.changes import Allow, Change, Disallow, NewTopic, NewUser, NoUser, Reset
from hub.access.passwords import SecretsError
from hub.access.plan import Acl
from hub.log.topics import PARTITIONS

MECHANISM = "SCRAM_SHA_512"
ITERATIONS = 8192  # twice what Kafka asks for at least; a password of ours cannot be guessed however often it is hashed
Made = tuple[Change, str | None]  # a change, and why it was not made
Password = Callable[[str], str]  # the new password of a user, kept where its owner will find it


def make(admin: KafkaAdminClient, changes: Sequence[Any], password: Password) -> list[Made]:
    """Changes that are all of one kind, in one request."""
    match changes[0]:
        case NewTopic():
            return _new_topics(admin, changes)
        case Reset():
            return _reset(admin, changes)
        case Allow():
            return _allow(admin, changes)
        case Disallow():
            return _disallow(admin, changes)
        case NewUser():
            return _new_users(admin, changes, password)
        case _:  # NoUser, the last of the union
            return _no_users(admin, changes)


def _new_topics(admin: KafkaAdminClient, changes: Sequence[NewTopic]) -> list[Made]:
    wanted = {
        change.name: {
            "num_partitions": PARTITIONS, "replication_factor": change.replication, "configs": dict(change.configs),
        }
        for change in changes
    }  # fmt: skip
    answers = {each["name"]: each for each in admin.create_topics(wanted, raise_errors=False)["topics"]}
    made: list[Made] = []
    for change in changes:
        answer = answers[change.name]
        error = for_code(answer["error_code"])
        # Already there: the hub made it between our look and now.
        fine = error in (NoError, TopicAlreadyExistsError)
        made.append((change, None if fine else f"{error.__name__}: {answer['error_message']}"))
    return made


def _reset(admin: KafkaAdminClient, changes: Sequence[Reset]) -> list[Made]:
    wanted = [ConfigResource(ConfigResourceType.TOPIC, change.name, dict(change.configs)) for change in changes]
    answers = admin.alter_configs(wanted, raise_on_unknown=False, incremental=True)["topic"]
    return [(change, None if answers[change.name] == "OK" else answers[change.name]) for change in changes]


def _allow(admin: KafkaAdminClient, changes: Sequence[Allow]) -> list[Made]:
    answer = admin.create_acls([concrete(acl) for change in changes for acl in change.acls])
    # The library tells which were made, and of the others only why: so those are who is not among the first.
    made = {read(acl) for acl in answer["succeeded"]}
    why = ", ".join(sorted({error.__name__ for error in answer["failed"]}))
    return [(change, None if made.issuperset(change.acls) else why) for change in changes]


def _disallow(admin: KafkaAdminClient, changes: Sequence[Disallow]) -> list[Made]:
    wanted = [(change, acl) for change in changes for acl in change.acls]
    answers = admin.delete_acls([exactly(acl) for _, acl in wanted])
    why = {
        change: error.__name__
        for (change, _), (_, _, error) in zip(wanted, answers, strict=True)
        if error is not NoError
    }  # fmt: skip
    return [(change, why.get(change)) for change in changes]


def _new_users(admin: KafkaAdminClient, changes: Sequence[NewUser], password: Password) -> list[Made]:
    alterations: list[UserScramCredentialUpsertion] = []
    unkept: dict[str, str] = {}
    for change in changes:
        try:
            # Kept before it counts: a crash between the two leaves a file too many, and the next pass writes it anew.
            kept = password(change.name)
        except SecretsError as error:
            unkept[change.name] = str(error)
        else:
            alterations.append(UserScramCredentialUpsertion(change.name, MECHANISM, kept, iterations=ITERATIONS))
    answers = unkept | (admin.alter_user_scram_credentials(alterations) if alterations else {})
    return [(change, answers[change.name]) for change in changes]


def _no_users(admin: KafkaAdminClient, changes: Sequence[NoUser]) -> list[Made]:
    gone = [UserScramCredentialDeletion(change.name, each) for change in changes for each in change.mechanisms]
    answers = admin.alter_user_scram_credentials(gone)
    return [(change, answers[change.name]) for change in changes]


def read(found: ACL) -> Acl:
    pattern = found.resource_pattern
    return Acl(
        found.principal, pattern.resource_type.name, pattern.pattern_type.name, pattern.resource_name,
        found.operation.name, found.permission_type.name, found.host,
    )  # fmt: skip


def concrete(acl: Acl) -> ACL:
    resource = ResourcePattern(ResourceType[acl.resource], acl.name, ACLResourcePatternType[acl.pattern])
    return ACL(acl.principal, acl.host, ACLOperation[acl.operation], ACLPermissionType[acl.permission], resource)


def exactly(acl: Acl) -> ACLFilter:
    """The filter that matches this entry and no other."""
    resource = ResourcePatternFilter(ResourceType[acl.resource], acl.name, ACLResourcePatternType[acl.pattern])
    return ACLFilter(acl.principal, acl.host, ACLOperation[acl.operation], ACLPermissionType[acl.permission], resource)
