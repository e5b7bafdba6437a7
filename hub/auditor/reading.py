"""Reading topics forward, a page at a time, and as far as an audit goes of a log that still grows."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from hub.log import Log, Stored

PAGE = 50  # records held at most, per topic


class Extent:
    """Where each topic ended when the audit began.

    What a hub writes meanwhile is left out. Where nothing was written, a record that stands behind the end is not left out:
    somebody slipped it in.
    """

    def __init__(self, log: Log, ends: dict[str, int]) -> None:
        self._log, self._ends = log, ends

    @classmethod
    async def of(cls, log: Log, topics: Iterable[str]) -> Extent:
        """Taken in this order: what stands in a topic of the first is explained by what stands in the last."""
        return cls(log, {topic: await log.end(topic) for topic in topics})

    def end(self, topic: str) -> int:
        return self._ends.get(topic, -1)

    async def trim(self, page: list[Stored]) -> list[Stored]:
        """Those records of one topic that the audit is about."""
        if not page or page[-1].offset <= self.end(page[0].topic):
            return page
        began = self.end(page[0].topic)
        return page if await self._log.end(page[0].topic) == began else [one for one in page if one.offset <= began]


class Reader:
    """A place in a topic. Nothing is skipped: whoever wants a later record takes those before it."""

    def __init__(self, log: Log, topic: str, extent: Extent, page: int = PAGE) -> None:
        self.topic = topic
        self._log, self._extent, self._page = log, extent, page
        self._after = -1
        self._next: deque[Stored] = deque()

    async def peek(self, ahead: int = 0) -> Stored | None:
        """The record `ahead` places after the next one; None when the topic ends before."""
        while len(self._next) <= ahead:
            page = await self._log.read(self.topic, after=self._after, limit=self._page)
            page = await self._extent.trim(page)
            if not page:
                return None
            self._after = page[-1].offset
            self._next.extend(page)
        return self._next[ahead]

    async def take(self) -> Stored | None:
        """The next record; None at the end."""
        return self._next.popleft() if await self.peek() else None
