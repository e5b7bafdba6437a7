"""The router: takes a shard's messages, judges each by `process` (hub.plan), and writes in one commit the deliveries, the
ledger entry that explains them, and its own progress.

A crash anywhere before the commit leaves nothing behind and the batch is judged again; after it, nothing is judged twice.
Any error discards the claim: whoever takes the shard next starts from what was committed.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

from hub.clock import Clock
from hub.core.errors import ComityError
from hub.follow import Follower
from hub.log import Claim, Log, Shard
from hub.log import Stored as Message
from hub.memory import Memory
from hub.plan import Plan

AT_ONCE = 16  # messages judged before others in the event loop have their turn: about 3 ms
LOOKED_AT = 4  # remembered entries, for every message: whether they may be forgotten
# Seconds from one batch to the next while few messages wait: a transaction costs a router and the brokers as much as many
# notices, and the first message after a pause does not wait at all.
PACE = 0.008
MEANWHILE = 0.002  # seconds to wait for messages while a commit is under way: after that it is waited for
MAX_OUTPUTS = 16 * 1_048_576  # bytes that one commit writes, about: large notices to many make a batch shorter
MOVED = "moved"  # in the state of a shard that other shards have taken over: nobody may work on it again


class ShardMoved(ComityError):  # noqa: N818
    """The number of shards was changed (hub.layout): this one's work goes on under other names."""


class Router:
    """One shard's owner. `step` handles one batch; `run` does so for ever."""

    def __init__(
        self,
        log: Log,
        shard: Shard,
        clock: Clock,
        *,
        gate: AbstractAsyncContextManager[Any] | None = None,
        limit: int = 500,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._log, self._shard, self._clock, self._random, self._limit = log, shard, clock, random, limit
        self._gate: AbstractAsyncContextManager[Any] = gate or nullcontext()
        self._follower = Follower(log, settled=True)
        self._claim: Claim | None = None
        self._memory = Memory({})
        self._commit: asyncio.Task[list[int]] | None = None
        self._committing: list[Message] = []

    async def open(self) -> Claim:
        """Take the shard: fences whoever had it, then restores what they committed. ShardMoved when it is no more."""
        claim = await self._log.claim(self._shard)
        if MOVED in claim.state:
            await claim.release()
            raise ShardMoved(f"{self._shard.name} was moved: the hub now has {claim.state[MOVED].decode()} shards")
        self._claim = claim
        self._memory = Memory(claim.state)
        return claim

    async def step(self, wait: float = 0.0) -> int:
        """Judge and commit one batch; the number of messages handled. After any error the claim is taken anew."""
        try:
            handled = await self._advance(wait)
            await self._settle()
            return handled
        except BaseException:
            self._discard()
            raise

    async def run(self) -> None:
        """For ever, judging one batch while the one before is being committed."""
        try:
            began = 0.0
            while True:
                early = began + PACE - time.monotonic()
                if early > 0 and self._claim is not None and self._claim.lag() < self._limit:
                    await asyncio.sleep(early)
                began = time.monotonic()
                if not await self._advance(wait=MEANWHILE if self._commit else 1.0):
                    await self._settle()
        except asyncio.CancelledError:
            await self._leave()
            raise
        except BaseException:
            self._discard()
            raise

    async def _advance(self, wait: float) -> int:
        """Judge the next batch and set off its commit, behind the one before."""
        claim = self._claim or await self.open()
        batch = await claim.batch(self._limit, wait, after=self._committing)
        if not batch:
            return 0
        # Time first, then the registry to its end: a decision at or after an event's effective moment has seen the event.
        # Where one process does all, the gate also keeps a registry event from being dated between the two.
        async with self._gate:
            at = max(self._clock(), self._memory.at)
            await self._follower.catch_up()
        plan = await self._judge(batch, at)
        await self._settle()
        self._committing = batch[: plan.judged]  # the rest comes again
        self._commit = asyncio.create_task(claim.commit(self._committing, plan.outputs, self._memory.hand_over()))
        return plan.judged

    async def _settle(self) -> None:
        """Wait for the commit that is under way."""
        if self._commit is not None:
            await asyncio.shield(self._commit)  # who is told to stop meanwhile finishes it: see `_leave`
            self._memory.committed()
            self._commit, self._committing = None, []

    async def _leave(self) -> None:
        """Told to stop: finish the commit under way rather than leave others waiting for its end, and give the shard back.

        Told again, let go of it. What was judged behind it is judged anew by whoever takes the shard.
        """
        try:
            await self._settle()
            if self._claim is not None:
                await self._claim.release()
        finally:
            self._discard()

    def _discard(self) -> None:
        """How a commit under way ends is unknown from here on; the next claim reads what came of it."""
        if self._commit is not None:
            self._commit.cancel()
        self._claim, self._commit, self._committing = None, None, []

    async def _judge(self, batch: Sequence[Message], at: int) -> Plan:
        """A few at a time, so that the commit before goes on meanwhile, and an API in the same process goes on answering.

        Not in a thread: for every signature it would give Python's lock away, and wait until it has it back.
        """
        plan = Plan(at, self._follower.registry.view(), self._memory, self._random)
        while plan.judged < len(batch) and plan.size < MAX_OUTPUTS:
            before = len(plan.outputs)
            plan.add(batch[plan.judged])
            plan.judged += 1
            plan.size += sum(len(made.value) for _, made in plan.outputs[before:])
            if plan.judged % AT_ONCE == 0:
                await asyncio.sleep(0)
        self._memory.forget(at, LOOKED_AT * plan.judged)
        return plan

    async def close(self) -> None:
        if self._claim is not None:
            await self._settle()
            await self._claim.release()
            self._claim = None
