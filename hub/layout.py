"""How many router shards there are: the newest record of `comity.layout`. And how that number changes.

A shard's name says of how many it is one (`router-0-of-4`), so the state of one layout is never taken for that of another.
To change the number, every old shard is marked as moved, in its own state and under its own claim: from then on no router
works on it. Then the new shards get the old ones' positions and memory, and last the new number is written. A crash on the
way leaves the hub without routers, and nothing lost: give the command again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence

from hub.core.errors import ComityError
from hub.log import Claim, Log, Record, Shard, Stored
from hub.log.topics import NOTICES
from hub.memory import Grants, moved
from hub.router import MOVED

LAYOUT = "comity.layout"
MOST = 256
CHUNK = 5_000  # entries of state in one commit


class LayoutError(ComityError):
    """The number of shards cannot be that; the message says why and what to do."""


def shards(count: int) -> list[Shard]:
    return [Shard(f"router-{index}-of-{count}", prefix=NOTICES, index=index, count=count) for index in range(count)]


async def current(log: Log) -> int | None:
    """The number of shards; None when it was never said."""
    said = [json.loads(stored.record.value) for stored in await log.read(LAYOUT, limit=10_000)]
    # Of processes that found a hub at the same moment the first counts, for all of them.
    counting = said[:1] + [each for each in said[1:] if not each["founding"]]
    return int(counting[-1]["shards"]) if counting else None


async def settle(log: Log, chosen: int, *, explicit: bool) -> int:
    """What the log says, else what was chosen, which it says from then on. LayoutError when both differ, explicitly."""
    await log.create(LAYOUT)
    said = await current(log)
    if said is None:
        await _say(log, chosen, founding=True)
        said = await current(log)
    if said is None or (explicit and said != chosen):
        raise LayoutError(
            f"this hub has {said} router shards, not {chosen}: leave COMITY_SHARDS out, or change the number "
            f"with `comity shards set {chosen}`"
        )
    return said


async def change(log: Log, count: int) -> int:
    """Make it `count` shards; how many there were. Routers that run take the new ones up by themselves. LayoutError."""
    if not 1 <= count <= MOST:
        raise LayoutError(f"{count} shards cannot be: choose 1 to {MOST}")
    before = await current(log)
    if before is None:
        raise LayoutError("this hub was never started: choose the number with COMITY_SHARDS when you start it")
    if before == count:
        return before
    old = [await log.claim(shard) for shard in shards(before)]
    for claim in old:
        await claim.commit([], [], {MOVED: b"%d" % count})
    states = share_out([claim.state for claim in old], count, lambda agency: _index(agency, count))
    topics = await log.topics(NOTICES)
    for index, shard in enumerate(shards(count)):
        positions = {
            topic: claim.positions[topic]
            for topic in topics
            if shard.owns(topic)
            for claim in old
            if claim.shard.owns(topic) and topic in claim.positions
        }
        await _fill(await log.claim(shard), positions, states[index])
    await _say(log, count)
    for claim in old:
        await claim.release()
    return before


def share_out(states: Sequence[Mapping[str, bytes]], count: int, index: Callable[[str], int]) -> list[dict[str, bytes]]:
    """The routers' memories (hub.memory) for `count` shards: what is about an agency goes to the shard of its topic."""
    shared: list[dict[str, bytes]] = [{} for _ in range(count)]
    newest = max((int(state["at"]) for state in states if "at" in state), default=0)
    tables = [Grants(memory.get) for memory in shared]
    for state in states:
        table = Grants(state.get)
        for key, value in state.items():
            kind, _, rest = key.partition("/")
            if kind in ("n", "r", "d"):
                to = index(rest.partition("/")[0])
                shared[to][key] = moved(key, value, table, tables[to], shared[to])
            elif kind != "g" and key not in ("at", MOVED):
                raise LayoutError(
                    f"the state of a shard holds {key[:40]!r}, which this version does not know how to move"
                )
    for memory in shared:
        memory["at"] = b"%d" % newest  # ledger times never go back, whoever goes on
    return shared


async def _fill(claim: Claim, positions: Mapping[str, int], state: Mapping[str, bytes]) -> None:
    """Replace whatever an earlier use of the same name, or an interrupted change, has left there."""
    stale: dict[str, bytes | None] = dict.fromkeys(claim.state.keys() - state.keys())
    changes = list((stale | dict(state)).items())
    for first in range(0, len(changes), CHUNK):
        await claim.commit([], [], dict(changes[first : first + CHUNK]))
    # A position moves with the record it stands behind; only its place counts.
    ahead = {topic: offset for topic, offset in positions.items() if offset > claim.positions.get(topic, -1)}
    await claim.commit([Stored(topic, offset, Record(b"")) for topic, offset in ahead.items()], [], {})
    await claim.release()


def _index(owner: str, count: int) -> int:
    return next(shard.index for shard in shards(count) if shard.owns(NOTICES + owner))


async def _say(log: Log, count: int, *, founding: bool = False) -> None:
    await log.append(LAYOUT, Record(json.dumps({"shards": count, "founding": founding}).encode()))
