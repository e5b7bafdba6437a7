"""What a router remembers of the past, as the key/value state of its claim; no more than a restart needs.

| key | value | until |
|---|---|---|
| `at` | the newest decision time, ms | for ever: ledger times never go back |
| `n/<sender>/<jti>` | `<exp>|<digest>|<who received it>` | a day after `exp`: the same bytes get their old answer, other bytes are equivocation |
| `r/<owner>/<digest>` | `<exp>|<reason>`: a refusal on record | a day: it is not written again and again |
| `d/<sender>/<recipient>` | the last delivery number | for ever: numbers have no gap |

Changes are collected beside the committed state and join it only after the commit: a failed transaction leaves no trace.
While one batch is being committed the next is judged, so there are two layers above the state: what is being committed, and
what is being decided.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Mapping

from hub.core.decision import Received, Seen
from hub.core.strict import b64, unb64

DAY = 86_400  # seconds
KEEP = DAY  # how long after `exp` a jti is still remembered


class Memory:
    """An overlay over a claim's committed state. One writer: the router that holds the claim."""

    def __init__(self, state: Mapping[str, bytes]) -> None:
        self._state = state
        self.changes: dict[str, bytes | None] = {}
        self._committing: dict[str, bytes | None] = {}
        self._expiring = [(_until(value), key) for key, value in state.items() if key[:2] in ("n/", "r/")]
        heapq.heapify(self._expiring)

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
        value = self._get(f"n/{sender}/{jti}")
        # What has outlived its use is unknown from that moment, whenever it is dropped: a replay must decide the same.
        if value is None or _until(value) * 1000 <= self.at:
            return None
        exp, digest, received = value.split(b"|", 2)
        return Seen(
            unb64(digest.decode()), int(exp), tuple(Received(*entry) for entry in json.loads(received or b"[]"))
        )

    def remember(self, sender: str, jti: str, seen: Seen) -> None:
        received = [[had.recipient, had.agreement, had.version, had.clause] for had in seen.received]
        value = f"{seen.exp}|{b64(seen.digest)}|{json.dumps(received, separators=(',', ':')) if received else ''}"
        self._expire_later(f"n/{sender}/{jti}", value.encode(), seen.exp)

    def refused(self, owner: str, digest: bytes) -> str | None:
        """The reason under which this very message of `owner` was last refused, if that is still on mind."""
        value = self._get(f"r/{owner}/{b64(digest)}")
        return value.split(b"|", 1)[1].decode() if value else None

    def remember_refusal(self, owner: str, digest: bytes, reason: str, at: int) -> None:
        self._expire_later(f"r/{owner}/{b64(digest)}", f"{at // 1000}|{reason}".encode(), at // 1000)

    def next_number(self, sender: str, recipient: str) -> int:
        key = f"d/{sender}/{recipient}"
        number = int(self._get(key) or b"0") + 1
        self.changes[key] = b"%d" % number
        return number

    def _expire_later(self, key: str, value: bytes, exp: int) -> None:
        self.changes[key] = value
        heapq.heappush(self._expiring, (exp + KEEP, key))

    def forget(self, at: int, limit: int = 1000) -> None:
        """Drop what has outlived its use by `at` (ms), at most `limit` entries, so that no batch pays for a whole day."""
        for _ in range(limit):
            if not self._expiring or self._expiring[0][0] * 1000 > at:
                return
            _, key = heapq.heappop(self._expiring)
            value = self._get(key)
            if value is not None and _until(value) * 1000 <= at:  # a newer refusal may have renewed the key
                self.changes[key] = None

    def hand_over(self) -> dict[str, bytes | None]:
        """The changes to commit. They stay visible here until `committed` says that the state holds them."""
        self._committing, self.changes = self.changes, {}
        return self._committing

    def committed(self) -> None:
        self._committing = {}


def _until(value: bytes) -> int:
    return int(value.split(b"|", 1)[0]) + KEEP
