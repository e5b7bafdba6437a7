"""kill -9 at every failpoint of the notary: afterwards one root per size, and every entry covered."""

import os
import signal
import subprocess
import sys

import pytest

from hub.core.checkpoint import Signer, open_checkpoint
from hub.core.merkle import Tree, leaf_hash
from hub.notary import Notary
from tests.flow.ledger import CHECKPOINTS, LEDGER, append, entry, open_log
from tests.world import key_of

SIGNER = Signer("comity.test/ledger", key_of("hub/1"))
# A failpoint, and how often it is passed before the kill: a notary starts once per process, and signs each batch.
POINTS = [
    ("notary.start.1-before-claim", 0),
    ("notary.start.2-claimed", 0),
    ("notary.start.3-verified", 0),
    ("notary.sign.1-before-commit", 0),
    ("notary.sign.1-before-commit", 1),
    ("notary.sign.2-committed", 0),
    ("notary.sign.2-committed", 1),
]

CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from hub.notary import Notary
from tests.flow.ledger import open_log
from tests.flow.test_notary_crash import SIGNER

point, skip = sys.argv[2], int(sys.argv[3])

def trip(name):
    global skip
    if name == point:
        if skip == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        skip -= 1

async def main():
    log = await open_log(Path(sys.argv[1]))
    notary = Notary(log, SIGNER, trip=trip)
    import hub.notary
    hub.notary.BATCH = 4
    while await notary.step():
        pass

asyncio.run(main())
"""


def crash(path, point, skip):
    """Run a notary in a child process until it is killed at `point` (the `skip`+1st time it gets there)."""
    child = subprocess.run(
        [sys.executable, "-c", CHILD, str(path), point, str(skip)], cwd=os.getcwd(), capture_output=True, timeout=60
    )
    assert child.returncode == -signal.SIGKILL, child.stderr.decode()


@pytest.mark.crash
@pytest.mark.parametrize(("point", "skip"), POINTS)
async def test_a_kill_leaves_one_root_per_size_and_no_entry_uncovered(tmp_path, point, skip):
    """Killed in the first and in a later batch, then again, then left to finish."""
    values = [entry(n) for n in range(10)]
    log = await open_log(tmp_path)
    await append(log, *values)
    await log.close()
    crash(tmp_path, point, skip)
    crash(tmp_path, point, 0)
    log = await open_log(tmp_path)
    notary = Notary(log, SIGNER)
    while await notary.step():
        pass
    assert [stored.record.value for stored in await log.read(LEDGER)] == values
    found = [open_checkpoint(stored.record.value, SIGNER.verifier) for stored in await log.read(CHECKPOINTS)]
    sizes = [checkpoint.size for checkpoint in found]
    assert sizes == sorted(set(sizes)), "sizes grow, none is signed twice"
    assert sizes[-1] == len(values)
    tree = Tree(leaf_hash(value.partition(b"\n")[0]) for value in values)
    assert [checkpoint.root for checkpoint in found] == [tree.root(size) for size in sizes]
    await log.close()
