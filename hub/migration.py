"""Moving a hub from its data directory to a Kafka cluster, and passing over what a cluster has lost.

Every record keeps its offset, because the ledger cites offsets; so each topic is copied in order by plain appends into an
empty topic, and a topic that is partly there is compared and gone on with. Then each shard's memory and positions are
written by a claim, and last the directory is marked: a hub that went on in two places would be two hubs.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

from hub import layout, notary, registry
from hub.config import Settings
from hub.core.errors import ComityError
from hub.datadir import DataDir
from hub.log import Log, Record, Shard, Stored
from hub.log.embedded import EmbeddedLog
from hub.log.kafka import KafkaLog
from hub.log.topics import NOTICES

PAGE = 500
CHUNK = 5_000  # entries of state in one commit
Progress = Callable[[int, int], None]  # records done, records in all


class MigrationError(ComityError):
    """The hub cannot be moved as it is; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Moved:
    topics: int
    records: int
    copied: int
    ledger: int


async def migrate(settings: Settings, progress: Progress = lambda done, total: None) -> Moved:
    """From the data directory of `settings` to its cluster. MigrationError; DataDirError while the hub runs."""
    directory = DataDir(settings.data_dir)
    directory.lock()
    try:
        source = EmbeddedLog.open(directory.log)
        try:
            target = await KafkaLog.open(str(settings.kafka), replication=settings.replication)
            try:
                moved = await _copy(source, target, progress)
            finally:
                await target.close()
        finally:
            await source.close()
        directory.mark_moved(str(settings.kafka).partition("?")[0])
        return moved
    finally:
        directory.unlock()


async def _copy(source: Log, target: KafkaLog, progress: Progress) -> Moved:
    topics = [topic for topic in await source.topics() if topic != layout.LAYOUT]
    ends = {topic: await source.end(topic) for topic in topics}
    total, done, copied = sum(end + 1 for end in ends.values()), 0, 0
    count = await layout.current(source) or 1
    if not await target.topics("comity."):
        await layout.settle(target, count, explicit=False)
    elif await layout.current(target) != count:
        raise MigrationError("the cluster holds another hub: move to an empty cluster, or delete its comity.* topics")
    await target.create(*topics)
    for topic in topics:
        async for new, records in _copy_topic(source, target, topic):
            done, copied = done + records, copied + (records if new else 0)
            progress(done, total)
    for shard in [*layout.shards(count), registry.SHARD, notary.SHARD]:
        await _copy_claim(source, target, shard)
    return Moved(len(topics), total, copied, ends.get("comity.ledger", -1) + 1)


async def _copy_topic(source: Log, target: KafkaLog, topic: str) -> AsyncIterator[tuple[bool, int]]:
    """Yields (whether copied now, how many records)."""
    there, after = await target.end(topic), -1
    while page := await source.read(topic, after=after, limit=PAGE):
        for expected, stored in enumerate(page, after + 1):
            if stored.offset != expected:
                raise MigrationError(
                    f"{topic} lacks records {expected} to {stored.offset - 1}; offsets could not be kept. "
                    "Restore them from a backup first"
                )
        old = [stored for stored in page if stored.offset <= there]
        await _compare(target, topic, old)
        new = page[len(old) :]
        offsets = await target.append_all(topic, [stored.record for stored in new])
        if offsets != [stored.offset for stored in new]:
            raise MigrationError(f"{topic}: somebody else writes to it on the cluster; stop that, wipe it, start again")
        after = page[-1].offset
        for part, records in itertools.groupby(page, key=lambda stored: stored.offset > there):
            yield part, len(list(records))


async def _compare(target: Log, topic: str, records: Sequence[Stored]) -> None:
    """What is there already must be the same, record for record."""
    after = records[0].offset - 1 if records else -1
    left = list(records)
    while left:
        page = await target.read(topic, after=after, limit=len(left))
        if [(s.offset, s.record) for s in page] != [(s.offset, s.record) for s in left[: len(page)]] or not page:
            raise MigrationError(f"{topic} on the cluster holds something else: move to an empty cluster")
        after, left = page[-1].offset, left[len(page) :]


async def _copy_claim(source: Log, target: Log, shard: Shard) -> None:
    old, new = await source.claim(shard), await target.claim(shard)
    stale: dict[str, bytes | None] = dict.fromkeys(new.state.keys() - old.state.keys())
    changes = list((stale | dict(old.state)).items())
    for first in range(0, len(changes), CHUNK):
        await new.commit([], [], dict(changes[first : first + CHUNK]))
    ahead = {topic: offset for topic, offset in old.positions.items() if offset > new.positions.get(topic, -1)}
    await new.commit([Stored(topic, offset, Record(b"")) for topic, offset in ahead.items()], [], {})
    await old.release()
    await new.release()


async def skip(log: Log, topic: str) -> tuple[int, int]:
    """Move the owner's position to before the first record that is left; the offsets passed over. MigrationError."""
    count = await layout.current(log) or 1
    shard = next((each for each in layout.shards(count) if each.owns(topic)), None)
    if shard is None:
        raise MigrationError(f"{topic} is no topic of notices ({NOTICES}<agency>)")
    claim = await log.claim(shard)
    try:
        at = claim.positions.get(topic, -1)
        left = await log.read(topic, after=at, limit=1)
        last = (left[0].offset if left else await log.end(topic) + 1) - 1
        if last <= at:
            raise MigrationError(f"{topic}: nothing is lost behind {at}; there is nothing to pass over")
        await claim.commit([Stored(topic, last, Record(b""))], [], {})
        return at + 1, last
    finally:
        await claim.release()
