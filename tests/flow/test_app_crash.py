"""kill -9 of a whole hub under load, again and again: the promises hold for everything that was acknowledged."""

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections import Counter

import pytest

from hub.core import envelope, merkle, strict
from hub.core.checkpoint import open_checkpoint
from tests.flow.hubs import A, B, Partners, opened
from tests.flow.ledger import CHECKPOINTS, LEDGER
from tests.world import agreement, clause

ROUNDS = 6

CHILD = """
import asyncio, sys
from pathlib import Path
from tests.flow.hubs import A, B, Partners, opened

async def publish(partners, iss):
    while True:
        jti, _ = await partners.send(iss)
        print(iss, jti, flush=True)  # only now, when it is durable: this is the acknowledgement

async def main():
    async with opened(Path(sys.argv[1]), shards=2) as hub:
        partners = Partners(hub)
        await asyncio.gather(*(publish(partners, iss) for iss in (A, B) * 4))

asyncio.run(main())
"""


def run_and_kill(path, after):
    """Run a hub under load, kill it after so many acknowledgements; what it had acknowledged."""
    command = [sys.executable, "-c", CHILD, str(path)]
    with subprocess.Popen(command, cwd=os.getcwd(), stdout=subprocess.PIPE, text=True) as child:
        lines = []
        for line in child.stdout:
            words = line.split()
            if len(words) == 2 and words[0] in (A, B):
                lines.append((words[0], words[1]))
            if len(lines) == after:
                child.kill()
        assert child.wait() == -signal.SIGKILL
    return lines


@pytest.mark.crash
async def test_nothing_acknowledged_is_lost_or_doubled_by_kills_under_load(tmp_path):
    """Each acknowledged notice has one accepted entry, each delivery its entry and each entry its delivery, numbers no gap."""
    async with opened(tmp_path, shards=2) as hub:
        partners = Partners(hub)
        await partners.enroll(A, B)
        await partners.publish(agreement("alpine", [A, B], [clause("c1", [A], [B]), clause("c2", [B], [A])]))
    rng = random.Random(7)
    acknowledged = []
    for _ in range(ROUNDS):
        acknowledged += await asyncio.to_thread(run_and_kill, tmp_path, rng.randint(20, 400))
    assert len(set(acknowledged)) >= 20 * ROUNDS
    async with opened(tmp_path, shards=2):
        pass  # routes, signs and stops in order
    async with opened(tmp_path, shards=2) as hub:
        entries = await all_entries(hub)
        accepted = Counter(
            (e.sealed["sender"], e.sealed["jti"])
            for e in entries
            if (e.leaf["kind"], e.leaf["outcome"]) == ("notice", "accepted")
        )
        assert set(accepted.values()) == {1}, "once in the ledger"
        assert set(acknowledged) <= set(accepted), "nothing lost"
        assert all(e.leaf["outcome"] == "accepted" for e in entries)
        for writer in (A, B, None):  # None: the registry; the routers of two shards commit independently
            times = [e.leaf["at"] for e in entries if e.sealed.get("sender") == writer]
            assert times == sorted(times), "ledger times of one writer never go back"
        for recipient, sender in ((A, B), (B, A)):
            await check_deliveries(hub, entries, recipient, sender)
        await check_checkpoints(hub, entries)


async def all_entries(hub):
    await hub.index.catch_up()
    entries = []
    while page := await hub.index.entries(len(entries) - 1):
        entries += page
    assert len(entries) == await hub.log.end(LEDGER) + 1
    return entries


async def read_all(log, topic):
    records, after = [], -1
    while page := await log.read(topic, after=after):
        records += page
        after = page[-1].offset
    return records


async def check_deliveries(hub, entries, recipient, sender):
    """A delivery exists if and only if the ledger says so, in the same order, numbered from 1."""
    said = [
        (strict.unb64(e.leaf["digest"]), d["number"])
        for e in entries
        for d in (e.sealed.get("deliveries") or ())
        if d["recipient"] == recipient
    ]
    had = [
        (envelope.split(stored.record.value).digest, int(stored.record.headers["ce_number"]))
        for stored in await read_all(hub.log, f"comity.deliveries.{recipient}")
    ]
    assert had == said
    assert [number for _, number in had] == list(range(1, len(had) + 1))


async def check_checkpoints(hub, entries):
    """Sizes grow, each root is that of the first entries, the last covers all."""
    tree = merkle.Tree(merkle.leaf_hash(entry.leaf_bytes) for entry in entries)
    found = [
        open_checkpoint(stored.record.value, hub.signer.verifier) for stored in await read_all(hub.log, CHECKPOINTS)
    ]
    sizes = [checkpoint.size for checkpoint in found]
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == len(entries)
    assert [checkpoint.root for checkpoint in found] == [tree.root(size) for size in sizes]
