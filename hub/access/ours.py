"""Which entries of a cluster's access lists are ours to remove. A cluster may serve others too: theirs are not touched.

Ours are those that name our topics, transactional ids and groups, whoever they allow something; and those of our principals
that reach beyond names: to the cluster, or to everything. What denies is never removed: it gives nothing to anybody, and may be
what an operator set in an emergency.
"""

from __future__ import annotations

from collections.abc import Iterable

from hub.access.plan import TRANSACTIONS, Acl, Wanted
from hub.log.topics import PREFIX

_NAMED = ("TOPIC", "GROUP", "TRANSACTIONAL_ID")


def is_ours(acl: Acl, wanted: Wanted) -> bool:
    """Whether the entry is to be removed unless the plan has it."""
    if acl.permission != "ALLOW" or acl.principal == wanted.settings.keeper:
        return False
    if acl.resource == "TOPIC" and acl.name.startswith(PREFIX):
        return True
    if acl.resource in ("GROUP", "TRANSACTIONAL_ID") and _has_our_name(acl.name, wanted):
        return True
    return acl.principal in wanted.principals and (acl.resource not in _NAMED or _covers_ours(acl, wanted))


def warnings(acls: frozenset[Acl], wanted: Wanted) -> Iterable[str]:
    """Entries that are not ours to remove and yet matter."""
    for acl in sorted(acls - wanted.acls):
        if acl.permission != "ALLOW":
            if acl.principal in wanted.principals:
                yield f"{acl.principal} is denied {acl.operation} on {acl.resource} {acl.name}, and that stays until you remove it"
        elif not is_ours(acl, wanted) and acl.principal != wanted.settings.keeper and _covers_ours(acl, wanted):
            yield (
                f"{acl.principal} may {acl.operation} on every {acl.resource} {acl.name}, ours among them: "
                "if that is not meant, narrow it"
            )


def _has_our_name(name: str, wanted: Wanted) -> bool:
    owner, dot, _ = name.partition(".")
    return name.startswith(TRANSACTIONS) or (dot == "." and owner in wanted.agencies)


def _covers_ours(acl: Acl, wanted: Wanted) -> bool:
    """A pattern so short that it takes in names of ours."""
    if acl.resource not in _NAMED:
        return False
    if acl.pattern == "LITERAL":
        return acl.name == "*"
    names = [PREFIX] if acl.resource == "TOPIC" else [TRANSACTIONS, *(f"{agency}." for agency in wanted.agencies)]
    return any(name.startswith(acl.name) for name in names)
