"""What one client may take of the hub: a token bucket for requests, a cap for requests that wait.

Buckets belong to authenticated principals, and to network addresses only where no principal is known yet (the token
route), so that one partner's load never shows in another's answers.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from hub.api.problems import Problem


@dataclass(slots=True)
class _Bucket:
    tokens: float
    filled: float


class Buckets:
    """Token buckets by client: `rate` per second, at most `burst` at once; the least recently used of `cap` are
    dropped.
    """

    def __init__(self, rate: float, burst: int, cap: int = 10_000) -> None:
        self._rate, self._burst, self._cap = rate, burst, cap
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, client: str, now: float) -> None:
        """Take one token at `now` (monotonic seconds); Problem "rate-limited" with the seconds to wait if there is none."""
        bucket = self._buckets.get(client)
        if bucket is None:
            bucket = self._buckets[client] = _Bucket(self._burst, now)
            if len(self._buckets) > self._cap:
                self._buckets.popitem(last=False)
        else:
            self._buckets.move_to_end(client)
            bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled) * self._rate)
            bucket.filled = now
        if bucket.tokens < 1:
            wait = max(1, math.ceil((1 - bucket.tokens) / self._rate))
            raise Problem(
                "rate-limited", f"more than {self._rate:g} requests per second; wait {wait} s", retry_after=wait
            )
        bucket.tokens -= 1


class Waiting:
    """How many requests of one client may wait at the same time: long polls, event streams, judgements."""

    def __init__(self, per_client: int) -> None:
        self._per_client = per_client
        self._held: Counter[str] = Counter()

    @contextmanager
    def hold(self, client: str) -> Iterator[None]:
        """Hold one place; Problem "rate-limited" when the client has none left."""
        if self._held[client] >= self._per_client:
            raise Problem(
                "rate-limited", f"more than {self._per_client} requests wait at once; close some", retry_after=5
            )
        self._held[client] += 1
        try:
            yield
        finally:
            self._held[client] -= 1
            if not self._held[client]:
                del self._held[client]
