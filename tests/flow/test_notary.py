"""The notary numbers, hashes and signs, and believes its own signature more than the stored ledger."""

import asyncio
import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.checkpoint import Signer, open_checkpoint
from hub.core.errors import VerificationFailed
from hub.core.merkle import Tree, leaf_hash
from hub.log import Fenced
from hub.notary import SHARD, Frontier, Notary
from tests.flow.ledger import CHECKPOINTS, append, entry, open_log
from tests.world import key_of

SIGNER = Signer("comity.test/ledger", key_of("hub/1"))


@pytest.fixture
async def log(tmp_path):
    log = await open_log(tmp_path)
    yield log
    await log.close()


async def checkpoints(log):
    return [open_checkpoint(s.record.value, SIGNER.verifier) for s in await log.read(CHECKPOINTS, limit=1000)]


def root_of(values):
    return Tree(leaf_hash(value.partition(b"\n")[0]) for value in values).root()


@given(st.integers(0, 200))
def test_frontier_agrees_with_the_whole_tree(size):
    """Its root is RFC 6962's for every size, from the edge alone."""
    leaves = [hashlib.sha256(b"%d" % n).digest() for n in range(size)]
    frontier = Frontier()
    for leaf in leaves:
        frontier = Frontier(frontier.size, frontier.edge)
        frontier.append(leaf)
    assert frontier.root() == Tree(leaves).root()
    assert len(frontier.edge) == size.bit_count()


def test_a_frontier_of_the_wrong_shape_is_refused():
    """Size and edge must fit each other."""
    with pytest.raises(VerificationFailed, match="complete subtrees"):
        Frontier(5, [b"x" * 32])


async def test_a_checkpoint_covers_the_leaves_and_not_the_sealed_parts(log):
    """Only leaf lines are hashed: a ledger with a sealed part erased has the same root."""
    values = [entry(n) for n in range(5)]
    await append(log, *values[:4], values[4].partition(b"\n")[0])
    notary = Notary(log, SIGNER)
    assert await notary.step() == 5
    (checkpoint,) = await checkpoints(log)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (SIGNER.name, 5, root_of(values))
    assert await notary.step() == 0
    assert len(await checkpoints(log)) == 1


async def test_an_empty_ledger_has_no_checkpoint(log):
    """There is nothing to sign."""
    assert await Notary(log, SIGNER).step() == 0
    assert await log.end(CHECKPOINTS) == -1


async def test_a_restart_continues_the_same_tree(log):
    """Sizes only grow, and each root is that of the ledger's beginning."""
    values = [entry(n) for n in range(9)]
    for step in range(0, 9, 3):
        await append(log, *values[step : step + 3])
        await Notary(log, SIGNER).step()
    found = await checkpoints(log)
    assert [(c.size, c.root) for c in found] == [(size, root_of(values[:size])) for size in (3, 6, 9)]


async def test_a_second_notary_fences_the_first(log):
    """Only the newest holder of the claim can publish: never two checkpoints for one size."""
    first, second = Notary(log, SIGNER), Notary(log, SIGNER)
    await append(log, entry(0))
    await first.step()
    await second.start()
    await append(log, entry(1))
    with pytest.raises(Fenced):
        await first.step()
    assert await second.step() == 1
    assert [c.size for c in await checkpoints(log)] == [1, 2]


async def test_a_fenced_notary_takes_the_claim_again(log):
    """Being fenced is not the end: the next step claims, rebuilds and goes on."""
    first, second = Notary(log, SIGNER), Notary(log, SIGNER)
    await append(log, entry(0))
    await first.step()
    await second.start()
    await append(log, entry(1))
    with pytest.raises(Fenced):
        await first.step()
    assert await first.step() == 1
    assert [c.size for c in await checkpoints(log)] == [1, 2]


VALUES = [entry(n) for n in range(6)]


@pytest.fixture
async def signed(log):
    """The checkpoint and the claim's state after the six entries were signed."""
    await append(log, *VALUES)
    await Notary(log, SIGNER).step()
    claim = await log.claim(SHARD)
    return (await log.read(CHECKPOINTS))[0].record, dict(claim.state)


async def forge(path, values, checkpoint, state):
    """Another log: with these entries, and with what a notary had signed and remembered."""
    path.mkdir()
    log = await open_log(path)
    await append(log, *values)
    claim = await log.claim(SHARD)
    batch = (await claim.batch())[:6]
    await claim.commit(batch, [(CHECKPOINTS, checkpoint)] if checkpoint else [], state)
    return log


def swapped(values, a, b):
    values = list(values)
    values[a], values[b] = values[b], values[a]
    return values


FRAUDS = {
    "a leaf rewritten": (lambda v: [*v[:2], entry(99), *v[3:]], "rewritten"),
    "two entries swapped": (lambda v: swapped(v, 1, 2), "rewritten"),
    "an entry put in between": (lambda v: [*v[:3], entry(99), *v[3:]], "rewritten"),
    "an entry taken out and the rest moved up": (lambda v: [*v[:3], *v[4:]], "shorter"),
    "the newest entry removed": (lambda v: v[:5], "shorter"),
    "all entries removed": (lambda v: [], "shorter"),
}


@pytest.mark.parametrize("fraud", FRAUDS)
async def test_a_ledger_that_is_not_the_signed_one_is_never_signed_again(tmp_path, signed, fraud):
    """Also when new entries follow: the notary stops before it publishes anything."""
    change, said = FRAUDS[fraud]
    log = await forge(tmp_path / "forged", change(VALUES), *signed)
    for _ in range(2):
        with pytest.raises(VerificationFailed, match=said):
            await Notary(log, SIGNER).step()
    assert len(await log.read(CHECKPOINTS)) == 1
    await log.close()


async def test_erasing_sealed_parts_is_no_fraud(tmp_path, signed):
    """The leaves are what was signed."""
    log = await forge(tmp_path / "erased", [value.partition(b"\n")[0] for value in VALUES], *signed)
    await append(log, entry(6))
    assert await Notary(log, SIGNER).step() == 1
    assert (await checkpoints(log))[-1].root == root_of([*VALUES, entry(6)])
    await log.close()


@pytest.mark.parametrize("lost", ["checkpoint", "state"])
async def test_state_and_checkpoint_must_agree(tmp_path, signed, lost):
    """One of them without the other was not written by a notary."""
    checkpoint, state = signed
    log = await forge(tmp_path / "lost", VALUES, *((None, state) if lost == "checkpoint" else (checkpoint, {})))
    with pytest.raises(VerificationFailed, match="checkpoint"):
        await Notary(log, SIGNER).step()
    await log.close()


async def test_an_untouched_ledger_is_signed_on(tmp_path, signed):
    """The refusals above are for the fraud, not for the way the test makes its logs."""
    log = await forge(tmp_path / "same", [*VALUES, entry(6)], *signed)
    assert await Notary(log, SIGNER).step() == 1
    await log.close()


@pytest.mark.parametrize("signer", [Signer(SIGNER.name, key_of("other")), Signer("other.test", key_of("hub/1"))])
async def test_another_key_or_name_does_not_continue_the_log(log, signed, signer):
    """A checkpoint that this notary did not sign is not its past."""
    with pytest.raises(VerificationFailed, match="not signed by"):
        await Notary(log, signer).start()


async def test_entries_are_covered_promptly_when_idle_and_together_under_load(log):
    """The first entry is signed at once; those that follow within the interval share one checkpoint."""
    notary = Notary(log, SIGNER, interval_ms=300)
    running = asyncio.create_task(notary.run())
    try:
        began = time.monotonic()
        await append(log, entry(0))
        first = await log.read(CHECKPOINTS, after=-1, wait=5)
        assert time.monotonic() - began < 0.25
        for n in range(1, 20):
            await append(log, entry(n))
        while (found := await checkpoints(log))[-1].size < 20:
            await log.read(CHECKPOINTS, after=first[0].offset + len(found) - 1, wait=5)
        assert len(found) <= 3
        assert time.monotonic() - began < 2
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_a_backlog_of_many_batches_is_covered_without_pauses(log, monkeypatch):
    """The interval spaces checkpoints of new entries; it does not slow down catching up."""
    monkeypatch.setattr("hub.notary.BATCH", 4)
    await append(log, *(entry(n) for n in range(19)))
    running = asyncio.create_task(Notary(log, SIGNER, interval_ms=60_000).run())
    try:
        assert len(await read_until(log, 5)) == 5
        assert [c.size for c in await checkpoints(log)] == [4, 8, 12, 16, 19]
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def read_until(log, count):
    async with asyncio.timeout(5):
        while len(found := await checkpoints(log)) < count:
            await log.read(CHECKPOINTS, after=len(found) - 1, wait=1)
    return found
