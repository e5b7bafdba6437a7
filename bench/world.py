"""What is on the broker: the partners in a registry, the topics, and the shards whose positions stand at their end."""

from __future__ import annotations

import os
from collections.abc import Sequence

from hub.bench import partners
from hub.clock import Clock
from hub.index import CHECKPOINTS, REQUESTS
from hub.log import Log, Record, Shard, Stored
from hub.log.topics import DELIVERIES, NOTICES
from hub.plan import LEDGER
from hub.registry import HUB_KID, OPERATOR_KID, RegistryProcess

# Whose topics are read in a round: the topic of one sender, or of six, each with its one partition.
SENDERS = {"1": partners.SENDERS[:1], "6": partners.SENDERS[1:7]}
RELAYED = "comity.bench."  # what the relays write is nobody's delivery
LEDGER_BYTES = 400  # of the record that a relay writes in place of a ledger entry
BATCH = 500


def inputs(senders: Sequence[str]) -> list[str]:
    return [NOTICES + sender for sender in senders]


def delivered() -> list[str]:
    return [DELIVERIES + recipient for recipient in partners.RECIPIENTS]


def relayed(who: str) -> tuple[list[str], str]:
    """The topics that a relay writes deliveries to, and its ledger."""
    return [f"{RELAYED}{who}.{recipient}" for recipient in partners.RECIPIENTS], f"{RELAYED}{who}.ledger"


async def prepare(log: Log) -> None:
    """Topics, and a registry in which the partners are enrolled and have agreed."""
    relays = [topic for who in ("plain", "tuned") for many, one in [relayed(who)] for topic in (*many, one)]
    await log.create(REQUESTS, LEDGER, CHECKPOINTS, "comity.registry", *inputs(partners.SENDERS), *delivered(), *relays)
    process = RegistryProcess(log, partners.key_of(HUB_KID), Clock(), grace_ms=0)
    if not await process.found("bench/ledger", partners.key_of(OPERATOR_KID)):
        raise SystemExit("this broker holds a hub already: name one without, or none to have one started")
    for document in partners.registration():
        await log.append(REQUESTS, Record(document))
    while await process.step(wait=0.2):
        pass
    await process.close()


async def shard_at_end(log: Log, senders: Sequence[str]) -> Shard:
    """A new shard of these senders' topics that has nothing left to do."""
    shard = Shard(f"bench-{os.urandom(4).hex()}", topics=tuple(inputs(senders)))
    claim = await log.claim(shard)
    ends = {topic: await log.end(topic) for topic in shard.topics}
    await claim.commit([Stored(topic, end, Record(b"")) for topic, end in ends.items() if end >= 0], [], {})
    await claim.release()
    return shard
