"""The hub's clock: milliseconds since the epoch (UTC) that never go back.

Ledger times must never go back, so neither may the clock that sets them: not when NTP steps the machine back, and not
when a hub restarts on a machine whose clock is behind its own ledger.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Clock:
    """Call it for the time: `clock() -> int` ms. It stands still rather than go back below its floor."""

    __slots__ = ("_floor", "_source")

    def __init__(self, floor: int = 0, source: Callable[[], int] = time.time_ns) -> None:
        """`floor`: ms, the earliest answer (the time of the last ledger entry); `source`: ns since the epoch."""
        self._floor = floor
        self._source = source

    def __call__(self) -> int:
        now = self._source() // 1_000_000
        if now > self._floor:
            self._floor = now
        return self._floor

    def raise_floor(self, ms: int) -> None:
        """Never answer less than `ms` from now on."""
        self._floor = max(self._floor, ms)

    def behind(self) -> int:
        """How far (ms) the machine's clock lags the floor; above 0 it stands still and someone should mend it."""
        return max(0, self._floor - self._source() // 1_000_000)
