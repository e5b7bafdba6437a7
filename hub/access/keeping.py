"""A cluster made to agree with the registry: once, or for as long as the registry changes.

A pass reads the registry to its end, then the cluster, and makes what differs so. Nothing is remembered between passes, so one
that was broken off, by a crash or a lost connection, is made good by the next, and what others change is mended too.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path

from hub import layout
from hub.access import passwords
from hub.access.changes import UNSUPPORTED, Difference, NewUser, differ
from hub.access.cluster import Cluster, Denied
from hub.access.making import Made
from hub.access.plan import Settings, Wanted, next_moment, plan
from hub.core.address import KafkaAddress
from hub.core.errors import ComityError
from hub.follow import REGISTRY, Follower
from hub.log import Log, Unavailable

SETTLE_SECONDS = 3.0
LOOK_AGAIN = 30.0  # seconds after which the cluster is read again though the registry has not changed
FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0  # seconds before another attempt


class AccessError(ComityError):
    """What was asked cannot be done here; the message says why."""


@dataclass(frozen=True, slots=True)
class Task:
    """open_log: the cluster's log, which holds the registry. secrets: where new passwords go; None: no users are made.

    rotate: who gets a new password, in the first pass. clock: ms since the epoch.
    """

    address: KafkaAddress
    open_log: Callable[[], Awaitable[Log]]
    settings: Settings
    clock: Callable[[], int]
    secrets: Path | None = None
    rotate: str | None = None

    def password(self, user: str) -> str:
        if self.secrets is None:
            raise AccessError("no directory for passwords was named")
        password = passwords.new_password()
        passwords.keep(self.secrets, user, password)
        return password


@dataclass(frozen=True, slots=True)
class Pass:
    """What differed, and what became of each change; `made` is empty when nothing was to be changed, or nothing may be."""

    difference: Difference
    made: tuple[Made, ...] = ()

    @property
    def told(self) -> list[Made]:
        """Every change, with why it was not made; None too where it was not to be made."""
        return list(self.made) or [(change, None) for change in self.difference.changes]

    @property
    def failed(self) -> tuple[Made, ...]:
        return tuple(each for each in self.made if each[1] is not None)


async def keep_once(task: Task, *, dry_run: bool = False) -> Pass:
    """One pass; with `dry_run` it only looks.

    Raises Unavailable, Denied, AccessError; VerificationFailed when the registry is not what an honest hub wrote: then
    nothing was changed.
    """
    async with _connected(task) as (cluster, log):
        return await _pass(task, cluster, log, Follower(log), task.rotate, dry_run=dry_run)


async def keep(task: Task, tell: Callable[[Pass], None], trouble: Callable[[Exception, float], None]) -> None:
    """For ever. tell: called after each pass. trouble: no broker answers; and the seconds until the next attempt.

    Raises what keep_once does, but not Unavailable, and not Denied once it has been let in.
    """
    rotate, pause, let_in = task.rotate, FIRST_PAUSE, False

    def done(one: Pass) -> None:
        nonlocal rotate, pause, let_in
        rotate, pause, let_in = None, FIRST_PAUSE, True
        tell(one)

    while True:
        try:
            async with _connected(task) as (cluster, log):
                await _follow(task, cluster, log, lambda: rotate, done)
        except (Unavailable, Denied) as error:
            # A broker that has just started may deny everything until it has read its access lists.
            if isinstance(error, Denied) and not let_in:
                raise
            trouble(error, pause)
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)


async def _follow(
    task: Task, cluster: Cluster, log: Log, rotate: Callable[[], str | None], done: Callable[[Pass], None]
) -> None:
    follower = Follower(log)
    while True:
        # Before the pass: an event that comes while it runs ends the wait at once.
        end = await log.end(REGISTRY)
        before = task.clock()
        one = await _pass(task, cluster, log, follower, rotate())
        done(one)
        moment = next_moment(follower.registry.view(), before)
        wait = LONGEST_PAUSE if one.failed else LOOK_AGAIN
        if moment is not None:
            wait = min(wait, (moment - task.clock()) / 1000)
        await log.read(REGISTRY, after=end, limit=1, wait=max(0.0, wait))


async def _pass(
    task: Task, cluster: Cluster, log: Log, follower: Follower, rotate: str | None, *, dry_run: bool = False
) -> Pass:
    settings = replace(task.settings, shards=await layout.current(log) or task.settings.shards)
    await follower.catch_up()
    wanted = plan(follower.registry.view(), task.clock(), settings)
    if rotate is not None and rotate not in wanted.users:
        raise AccessError(f"{rotate} gets no password: no agency of that name has a key that is good now")
    difference = differ(wanted, await cluster.read(), passwords=task.secrets is not None, rotate=rotate)
    if rotate is not None and UNSUPPORTED in difference.notes:
        raise AccessError(f"{rotate} gets no password: {UNSUPPORTED}")
    if dry_run:
        return Pass(difference)
    one = Pass(difference, tuple(await _make(task, cluster, difference)))
    if not one.failed and any(change.sign == "+" for change in difference.changes):
        await _settle(cluster, wanted, passwords=task.secrets is not None)
    return one


async def _settle(cluster: Cluster, wanted: Wanted, *, passwords: bool) -> None:
    """Brokers hear of what was made a little after it was made; who is told of a password may use it at once.

    And a pass that saw the cluster as it was before would make users once more. In vain while somebody works against us.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        if not differ(wanted, await cluster.read(), passwords=passwords).changes:
            return
        await asyncio.sleep(0.05)


async def _make(task: Task, cluster: Cluster, difference: Difference) -> list[Made]:
    """New users last, and whatever keeps them from being made keeps nothing else: access must still end."""
    users = [each for each in difference.changes if isinstance(each, NewUser)]
    made = await cluster.apply([each for each in difference.changes if each not in users], task.password)
    if not users or task.secrets is None:
        return made
    try:
        async with passwords.alone(task.secrets):
            return made + await cluster.apply(users, task.password)
    except passwords.SecretsError as error:
        return made + [(each, str(error)) for each in users]


@contextlib.asynccontextmanager
async def _connected(task: Task) -> AsyncIterator[tuple[Cluster, Log]]:
    cluster = await Cluster.open(task.address)
    try:
        log = await task.open_log()
        try:
            yield cluster, log
        finally:
            await log.close()
    finally:
        await cluster.close()
