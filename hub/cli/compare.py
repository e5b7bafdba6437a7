"""What changes between two versions of an agreement: fields, and clauses by their id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_EMPTY: tuple[object, ...] = ([], None)


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. before, after: JSON values, None where there is nothing."""

    what: str
    before: Any
    after: Any

    def told(self) -> dict[str, Any]:
        return {"what": self.what, "before": self.before, "after": self.after}


def compare(old: dict[str, Any], new: dict[str, Any]) -> list[Change]:
    """Differences in the order of the document; the order of clauses and of parties means nothing."""
    names = [name for name in dict.fromkeys([*old, *new]) if name != "clauses"]
    changes = [Change(name, old.get(name), new.get(name)) for name in names if _differ(old.get(name), new.get(name))]
    before = {clause["id"]: clause for clause in old["clauses"]}
    after = {clause["id"]: clause for clause in new["clauses"]}
    for id_ in dict.fromkeys([*before, *after]):
        was, is_ = before.get(id_), after.get(id_)
        if was is None or is_ is None:
            changes.append(Change(f"clause {id_} {'added' if was is None else 'removed'}", was, is_))
            continue
        changes += [
            Change(f"clause {id_}: {name}", was.get(name), is_.get(name))
            for name in dict.fromkeys([*was, *is_])
            if _differ(was.get(name), is_.get(name))
        ]
    return changes


def _differ(one: Any, other: Any) -> bool:
    """Lists of words are sets; an empty list and an absent member say the same."""
    if one in _EMPTY and other in _EMPTY:
        return False
    if _words(one) and _words(other):
        return set(one) != set(other)
    return bool(one != other)


def _words(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)
