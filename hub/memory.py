"""What a router remembers of the past, as the key/value state of its claim; no more than a restart needs.

| key | value | until |
|---|---|---|
| `at` | the newest decision time, ms | for ever: ledger times never go back |
| `n/<sender>/<jti>` without hyphens | 5 bytes `exp`, 32 bytes digest, 3 bytes for each who received it: the number of a grant | a day after `exp`: the same bytes get their old answer, other bytes are equivocation |
| `r/<owner>/<digest>` | 5 bytes of time, then the reason of a refusal on record | a day: it is not written again and again |
| `d/<sender>/<recipient>` | the last delivery number | for ever: numbers have no gap |
| `g/<number>` | a grant: `[recipient, agreement, version, clause]` | for ever: there are as many as clauses have recipients |

There may be millions of `n/`, all in memory: they are short, and numbers are big endian.

Changes are collected beside the committed state and join it only after the commit: a failed transaction leaves no trace.
While one batch is being committed the next is judged, so there are two layers above the state: what is being committed, and
what is being decided.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from hub.core.decision import Received, Seen
from hub.core.strict import b64

DAY = 86_400  # seconds
KEEP = DAY  # how long after `exp` a jti is still remembered
_TIME, _DIGEST, _NUMBER = 5, 32, 3  # bytes
_GRANTS = _TIME + _DIGEST


class Grants:
    """The table of grants: each is written out once, and known by its number everywhere else."""

    def __init__(self, get: Callable[[str], bytes | None]) -> None:
        """get: an entry of the state."""
        self._numbers: dict[Received, bytes] = {}
        self._grants: dict[bytes, Received] = {}
        while (entry := get(f"g/{len(self._grants)}")) is not None:
            self._add(Received(*json.loads(entry)))

    def read(self, numbers: bytes) -> tuple[Received, ...]:
        return tuple(self._grants[numbers[at : at + _NUMBER]] for at in range(0, len(numbers), _NUMBER))

    def write(self, received: Iterable[Received], changes: dict[str, Any]) -> bytes:
        """Their numbers; what is new to the table is added to the changes."""
        return b"".join([self._numbers.get(grant) or self._enter(grant, changes) for grant in received])

    def _enter(self, grant: Received, changes: dict[str, Any]) -> bytes:
        entry = [grant.recipient, grant.agreement, grant.version, grant.clause]
        changes[f"g/{len(self._grants)}"] = json.dumps(entry, separators=(",", ":")).encode()
        return self._add(grant)

    def _add(self, grant: Received) -> bytes:
        number = len(self._grants).to_bytes(_NUMBER, "big")
        self._numbers[grant], self._grants[number] = number, grant
        return number


class Memory:
    """An overlay over a claim's committed state. One writer: the router that holds the claim."""

    def __init__(self, state: Mapping[str, bytes]) -> None:
        """state: may change while it is iterated over."""
        self._state = state
        self.changes: dict[str, bytes | None] = {}
        self._committing: dict[str, bytes | None] = {}
        self._grants = Grants(state.get)
        self._sweep: Iterator[str] = iter(())

    def _get(self, key: str) -> bytes | None:
        for layer in (self.changes, self._committing):
            if key in layer:
                return layer[key]
        return self._state.get(key)

    @property
    def at(self) -> int:
        return int(self._get("at") or b"0")

    @at.setter
    def at(self, value: int) -> None:
        self.changes["at"] = b"%d" % value

    def seen(self, sender: str, jti: str) -> Seen | None:
        value = self._live(_name(sender, jti))
        if value is None:
            return None
        exp = int.from_bytes(value[:_TIME], "big")
        return Seen(value[_TIME:_GRANTS], exp, self._grants.read(value[_GRANTS:]))

    def remember(self, sender: str, jti: str, seen: Seen) -> None:
        numbers = self._grants.write(seen.received, self.changes)
        self.changes[_name(sender, jti)] = seen.exp.to_bytes(_TIME, "big") + seen.digest + numbers

    def refused(self, owner: str, digest: bytes) -> str | None:
        """The reason under which this very message of `owner` was last refused, if that is still on mind."""
        value = self._live(f"r/{owner}/{b64(digest)}")
        return value[_TIME:].decode() if value else None

    def remember_refusal(self, owner: str, digest: bytes, reason: str, at: int) -> None:
        self.changes[f"r/{owner}/{b64(digest)}"] = (at // 1000).to_bytes(_TIME, "big") + reason.encode()

    def next_number(self, sender: str, recipient: str) -> int:
        key = f"d/{sender}/{recipient}"
        number = int(self._get(key) or b"0") + 1
        self.changes[key] = b"%d" % number
        return number

    def _live(self, key: str) -> bytes | None:
        """What has outlived its use is unknown from that moment, whenever it is dropped: a replay must decide the same."""
        value = self._get(key)
        return None if value is None or _outlived(value, self.at) else value

    def forget(self, at: int, most: int = 1000) -> None:
        """Look at some entries of the state and drop what has outlived its use by `at` (ms); the next call goes on behind.

        Who looks at a few times as many as it remembers comes around before there is much to drop, and no batch pays for all.
        """
        looked = list(islice(self._sweep, most))
        if len(looked) < most:  # the end: around again
            self._sweep = iter(self._state)
            looked = looked or list(islice(self._sweep, most))
        for key in looked:
            if key[:2] in ("n/", "r/"):
                value = self._get(key)  # a newer refusal may have renewed it
                if value is not None and _outlived(value, at):
                    self.changes[key] = None

    def hand_over(self) -> dict[str, bytes | None]:
        """The changes to commit. They stay visible here until `committed` says that the state holds them."""
        self._committing, self.changes = self.changes, {}
        return self._committing

    def committed(self) -> None:
        self._committing = {}


def moved(key: str, value: bytes, before: Grants, after: Grants, changes: dict[str, Any]) -> bytes:
    """An entry of one state as another says it, whose table of grants has other numbers."""
    if not key.startswith("n/"):
        return value
    return value[:_GRANTS] + after.write(before.read(value[_GRANTS:]), changes)


def _name(sender: str, jti: str) -> str:
    """Nothing is remembered whose jti is no UUID, so this confuses none."""
    return f"n/{sender}/{jti.replace('-', '')}"


def _outlived(value: bytes, at: int) -> bool:
    return (int.from_bytes(value[:_TIME], "big") + KEEP) * 1000 <= at
