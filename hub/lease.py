"""Who works on what, when several processes offer to: by heartbeats in `comity.leases`, and a rule that all apply alike.

Every process says once a BEAT that it is there and which roles it offers, and hears what the others say. Whoever was heard
within LIFE is a member, and `assign` shares the parts out among the members. Two processes may see the members differently
for a moment and both work on one part: claims fence, so that does no harm. A lease only decides who should try.

A process is a member for itself only while it hears its own heartbeats: one that is cut off from the log stops by itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import structlog

from hub.log import Log, LogError, Record

LEASES = "comity.leases"
BEAT = 1.0  # seconds between heartbeats
LIFE = 3.5  # seconds after its last heartbeat that a member is taken for dead
LEAVE_SECONDS = 2.0

logger = structlog.get_logger(__name__)


def assign(parts: Sequence[str], members: Collection[str]) -> dict[str, str]:
    """A member for each part: shares differ by one at most, and a change of members moves few parts.

    Each part prefers the members in the order of a hash (rendezvous hashing) and goes to the first that has room.
    """
    if not members:
        return {}
    room = dict.fromkeys(sorted(members), -(-len(parts) // len(members)))
    owners: dict[str, str] = {}
    for part in sorted(parts):
        free = [member for member, left in room.items() if left > 0]
        owner = max(free, key=lambda member: hashlib.sha256(f"{part} {member}".encode()).digest())
        room[owner] -= 1
        owners[part] = owner
    return owners


@dataclass(slots=True)
class _Member:
    roles: frozenset[str]
    heard: float  # monotonic seconds


class Leases:
    """This process's membership: `run` keeps it up, `holds` says what is ours.

    roles: what it offers (`registry`, `router`, `notary`). A part's name begins with its role. parts: all there are now.
    """

    def __init__(
        self,
        log: Log,
        roles: Collection[str],
        parts: Callable[[], Sequence[str]],
        *,
        beat: float = BEAT,
        life: float = LIFE,
    ) -> None:
        self.me = os.urandom(8).hex()
        self._log, self._roles, self._parts = log, frozenset(roles), parts
        self._beat_seconds, self._life = beat, life
        self._members: dict[str, _Member] = {}
        self._since: dict[str, float] = {}  # when a part became ours
        self._began: float | None = None

    async def run(self) -> None:
        """Until cancelled. A log that is away is waited for, and nothing is held meanwhile."""
        await self._log.create(LEASES)
        beating = asyncio.create_task(self._beat())
        try:
            await self._listen()
        finally:
            beating.cancel()

    async def leave(self) -> None:
        """Tell the others, so that they need not wait for our silence."""
        self._members.clear()
        with contextlib.suppress(LogError, TimeoutError):
            async with asyncio.timeout(LEAVE_SECONDS):
                await self._log.append(LEASES, self._said(leaving=True))

    def owners(self) -> dict[str, str]:
        """The member for each part, as this process sees it."""
        now = time.monotonic()
        alive = {name: member for name, member in self._members.items() if now - member.heard < self._life}
        found: dict[str, str] = {}
        parts = self._parts()
        for role in {role for member in alive.values() for role in member.roles}:
            offered = [name for name, member in alive.items() if role in member.roles]
            found |= assign([part for part in parts if part.partition("-")[0] == role], offered)
        return found

    def holds(self, part: str) -> bool:
        """Whether it is ours, and has been for a beat: whoever had it before can see that, and let go in peace."""
        now = time.monotonic()
        if self._began is None or now - self._began < self._beat_seconds or self.owners().get(part) != self.me:
            self._since.pop(part, None)
            return False
        return now - self._since.setdefault(part, now) >= self._beat_seconds

    async def _beat(self) -> None:
        while True:
            try:
                await self._log.append(LEASES, self._said())
            except LogError as error:
                logger.warning("no heartbeat could be written", fault=type(error).__name__)
            await asyncio.sleep(self._beat_seconds)

    async def _listen(self) -> None:
        after: int | None = None
        while True:
            try:
                after = await self._log.end(LEASES) if after is None else after
                heard = await self._log.read(LEASES, after=after, wait=self._beat_seconds)
            except LogError as error:
                logger.warning("no heartbeats can be read", fault=type(error).__name__)
                await asyncio.sleep(self._beat_seconds)
                continue
            for stored in heard:
                after = stored.offset
                self._hear(stored.record.value)

    def _hear(self, value: bytes) -> None:
        said = json.loads(value)
        name, now = said["member"], time.monotonic()
        if said["leaving"]:
            self._members.pop(name, None)
            return
        if name == self.me and self._began is None:
            self._began = now
        self._members[name] = _Member(frozenset(said["roles"]), now)

    def _said(self, *, leaving: bool = False) -> Record:
        said = {"member": self.me, "roles": sorted(self._roles), "leaving": leaving}
        return Record(json.dumps(said, separators=(",", ":")).encode(), self.me)
