"""Taking in what agencies signed: judged first, then durable in their topic, then answered.

The same bytes always get the same answer, also while the first copy is still on its way to disk, and after a restart.
What is promised to a publisher is only ever promised after the append returned.

A crash between append and answer leaves a notice in the topic that nobody was told about; the publisher sends it
again and finds it there. Two copies in the topic do no harm: the router takes the second for a duplicate.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from hub.api.problems import Problem
from hub.core.decision import Seen
from hub.core.messages import ACK_TYPE, NOTICE_TYPE, acknowledgement_headers, notice_headers
from hub.core.process import Accepted, Duplicate, Refused, Stored, process
from hub.index import Index
from hub.log import Log, Record, Unavailable

REFUSED_HEADER = "comity-refused"
ACK_SECONDS = 8 * 86_400
PATIENCE = 12.0  # seconds: longer than another broker needs to take over, shorter than a client's own patience
REMEMBERED_REFUSALS = 20_000


@dataclass(frozen=True, slots=True)
class Taken:
    """A message that is durable: its jti, its digest (32 bytes), and when the hub took it (ms)."""

    jti: str
    digest: bytes
    at: int


@dataclass(frozen=True, slots=True)
class _Recent:
    """A message of this process's lifetime; `taken` is done when it is durable."""

    seen: Seen
    taken: asyncio.Future[Taken]


class Intake:
    """One for the hub, in one event loop. At most `max_pending` messages wait for the router; more are turned away."""

    def __init__(
        self, *, log: Log, index: Index, clock: Callable[[], int], max_pending: int, shared: bool = False
    ) -> None:
        """shared: other processes take in messages of the same agencies, so the index is asked anew for each."""
        self._shared = shared
        self._log, self._index, self._clock, self._max_pending = log, index, clock, max_pending
        self._recent: OrderedDict[tuple[str, str], _Recent] = OrderedDict()
        self._refused: OrderedDict[bytes, str] = OrderedDict()
        self._unjudged: deque[tuple[str, str]] = deque()  # in the order they were taken
        self._complete: set[str] = set()  # agencies whose messages from before this process are indexed

    async def take(self, raw: bytes, owner: str, *, traceparent: str | None = None) -> Taken:
        """Judge the message of `owner` and make it durable; Problem with the reason code when it is refused.

        A refused one is written down too, marked so that the router records the refusal and delivers nothing. When the log
        does not answer in PATIENCE seconds the message may be durable or not; sent again, it gets the answer it would have.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._take(raw, owner, traceparent)
        except TimeoutError:
            raise Unavailable(f"the log did not answer in {PATIENCE:.0f} s") from None

    async def _take(self, raw: bytes, owner: str, traceparent: str | None) -> Taken:
        if len(self._unjudged) >= self._max_pending and await self._backlog() >= self._max_pending:
            raise Problem("busy", "more messages wait than the hub takes; send the same bytes again", retry_after=1)
        if self._shared or owner not in self._complete:
            await self._index.catch_up(owner)
            self._complete.add(owner)
        asked: list[str] = []

        def seen(iss: str, jti: str) -> Seen | None:
            asked.append(jti)
            return self.seen(iss, jti)

        at = self._clock()
        match process(raw, owner=owner, at=at, view=self._index.registry.view(), seen=seen):
            case Accepted(notice=notice, digest=digest):
                # The index keeps their time: the receipt must be the same after a restart.
                record = Record(raw, notice.subject, notice_headers(notice, at, traceparent))
                return await self._append(owner, record, Taken(notice.jti, digest, at), notice.exp)
            case Stored(digest=digest, acknowledgement=ack):
                record = Record(raw, None, acknowledgement_headers(ack.jti, at))
                return await self._append(owner, record, Taken(ack.jti, digest, at), at // 1000 + ACK_SECONDS)
            case Duplicate(digest=digest):
                return await self._again(owner, asked[0], digest, at)
            case Refused() as refused:
                await self._record_refusal(raw, owner, refused)
                raise Problem(refused.reason, refused.detail)

    def seen(self, agency: str, jti: str) -> Seen | None:
        """What the hub has taken under this jti, durable or on its way."""
        recent = self._recent.get((agency, jti))
        if recent is not None:
            return recent.seen
        earlier = self._index.accepted(agency, jti)
        return Seen(earlier[0], 0) if earlier else None

    async def _append(self, owner: str, record: Record, taken: Taken, exp: int) -> Taken:
        """Durable when this returns. Concurrent copies of the same bytes wait for this one."""
        done: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        name = (owner, taken.jti)
        self._recent[name] = _Recent(Seen(taken.digest, exp), done)
        self._unjudged.append(name)
        try:
            await self._log.append(f"comity.notices.{owner}", record)
        except BaseException as error:
            # Durable or not is unknown. Forgotten here, so that a repeat is appended again; the router keeps one.
            del self._recent[name]
            done.set_exception(error if isinstance(error, Exception) else Unavailable("the append was given up"))
            done.exception()  # retrieved: perhaps nobody else waits
            raise
        done.set_result(taken)
        # Older than max_pending newer ones: routed and indexed long since.
        while len(self._recent) > 2 * self._max_pending:
            self._recent.popitem(last=False)
        return taken

    async def _again(self, owner: str, jti: str, digest: bytes, at: int) -> Taken:
        """The answer that the same bytes got before."""
        recent = self._recent.get((owner, jti))
        if recent is not None:
            return await asyncio.shield(recent.taken)
        earlier = self._index.accepted(owner, jti)
        return Taken(jti, digest, earlier[1] if earlier else at)

    async def _backlog(self) -> int:
        """How many messages wait for the router. Asked only when there may be too many: one look-up, about halving
        the queue.

        Messages are judged roughly in the order they were taken; for turning clients away that is exact enough.
        """
        middle = self._unjudged[len(self._unjudged) // 2]
        status = await self._index.notice(*middle)
        if status is not None and status.status != "pending" and middle in self._unjudged:
            while self._unjudged.popleft() != middle:
                pass
        return len(self._unjudged)

    async def _record_refusal(self, raw: bytes, owner: str, refused: Refused) -> None:
        """Once per message and reason, so that repeating a bad message does not grow the ledger."""
        if refused.reason == "too-large" or self._refused.get(refused.digest) == refused.reason:
            return
        self._refused[refused.digest] = refused.reason
        if len(self._refused) > REMEMBERED_REFUSALS:
            self._refused.popitem(last=False)
        kind = NOTICE_TYPE if b"~" in raw else ACK_TYPE
        record = Record(raw, None, {"content-type": kind, REFUSED_HEADER: refused.reason})
        await self._log.append(f"comity.notices.{owner}", record)
