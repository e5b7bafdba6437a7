"""The notary: numbers ledger entries, grows the Merkle tree, signs checkpoints (RFC 6962, C2SP tlog-checkpoint).

The order of records in `comity.ledger` is the numbering: entry n is leaf n. Each checkpoint is committed in one
transaction with the ledger position it covers and the tree's state, and the claim is fenced, so there are never two
roots for one size: a crash before the commit leaves the old checkpoint, one after it the new, and a second notary is
fenced before it can publish.

When it starts, the notary trusts its own past signature rather than the stored ledger: it hashes the ledger again and
stops, for good, when that does not reproduce the last checkpoint.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from hub.core import strict
from hub.core.checkpoint import Checkpoint, Signer, open_checkpoint, sign_checkpoint
from hub.core.errors import VerificationFailed
from hub.core.merkle import EMPTY_ROOT, leaf_hash, node_hash
from hub.log import Claim, Log, Record, Shard, Stored

LEDGER = "comity.ledger"
CHECKPOINTS = "comity.checkpoints"
SHARD = Shard("notary", topics=(LEDGER,))
STATE = "tree"
BATCH = 5_000
IDLE_WAIT = 5.0  # seconds; only how often an idle notary looks around

log = structlog.get_logger(__name__)


class Frontier:
    """The right edge of an RFC 6962 tree: enough to append to it and to know its root, in O(log n) memory.

    `edge` holds the roots of the complete subtrees, largest first, one per set bit of `size`.
    """

    def __init__(self, size: int = 0, edge: Sequence[bytes] = ()) -> None:
        if size.bit_count() != len(edge):
            raise VerificationFailed(f"{size} leaves make {size.bit_count()} complete subtrees, not {len(edge)}")
        self.size = size
        self.edge = list(edge)

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        full, size = leaf, self.size
        while size & 1:  # every trailing 1 is a complete subtree that the new leaf completes into a larger one
            full = node_hash(self.edge.pop(), full)
            size >>= 1
        self.edge.append(full)
        self.size += 1

    def root(self) -> bytes:
        """RFC 6962 §2.1: fold the subtrees from the smallest up."""
        if not self.edge:
            return EMPTY_ROOT
        root = self.edge[-1]
        for left in reversed(self.edge[:-1]):
            root = node_hash(left, root)
        return root


@dataclass(frozen=True, slots=True)
class Covered:
    """What the last checkpoint covers: entries, the ledger offset of the last one, and the tree's root and edge."""

    size: int
    offset: int
    root: bytes
    edge: tuple[bytes, ...]

    def encode(self) -> bytes:
        edge = [strict.b64(node) for node in self.edge]
        return strict.dumps({"size": self.size, "offset": self.offset, "root": strict.b64(self.root), "edge": edge})

    @classmethod
    def decode(cls, value: bytes | None) -> Covered:
        """Of the claim's state; an absent one covers nothing."""
        if value is None:
            return cls(0, -1, EMPTY_ROOT, ())
        said = json.loads(value)
        edge = tuple(strict.unb64(node) for node in said["edge"])
        return cls(said["size"], said["offset"], strict.unb64(said["root"]), edge)


class Notary:
    """`run` until cancelled, or `step` by hand. After an error (Fenced, Unavailable) the next step claims again."""

    def __init__(
        self,
        log: Log,
        signer: Signer,
        *,
        interval_ms: int = 200,
        trip: Callable[[str], None] = lambda point: None,
    ) -> None:
        """`interval_ms`: least time between checkpoints under load. `trip`: called at the failpoints of crash tests."""
        self.log = log
        self.signer = signer
        self.interval = interval_ms / 1000
        self.trip = trip
        self.tree = Frontier()
        self.offset = -1  # of the newest entry in the tree
        self._claim: Claim | None = None

    async def start(self) -> None:
        """Claim the ledger and verify that it still says what was signed; VerificationFailed when it does not."""
        self.trip("notary.start.1-before-claim")
        claim = await self.log.claim(SHARD)
        self.trip("notary.start.2-claimed")
        covered = Covered.decode(claim.state.get(STATE))
        await self._compare_with_checkpoint(covered)
        self.tree, self.offset = await self._rebuild(covered), covered.offset
        self._claim = claim
        self.trip("notary.start.3-verified")

    async def run(self) -> None:
        """Sign until cancelled. An entry is covered at once when the notary is idle, in `interval_ms` under load."""
        while True:
            end = await self.log.end(LEDGER)
            await self.step(wait=IDLE_WAIT)
            while self.offset < end and await self.step():
                pass  # more than one batch was waiting
            await asyncio.sleep(self.interval)  # so that one signature covers many entries

    async def step(self, wait: float = 0.0) -> int:
        """Cover at most one batch of new entries; returns how many (0: none came within `wait` seconds)."""
        if self._claim is None:
            await self.start()
        assert self._claim is not None  # noqa: S101  start() either claims or raises
        claim, self._claim = self._claim, None
        try:
            batch = await claim.batch(BATCH, wait)
        except asyncio.CancelledError:
            self._claim = claim  # nothing was begun
            raise
        if batch:
            # Without a claim until the commit is known to have happened. When it fails or is cancelled it may or may
            # not have: what is true stands in the log, and the next step claims again and reads it.
            await self._sign(claim, batch)
        self._claim = claim
        return len(batch)

    async def close(self) -> None:
        """Give the claim back."""
        if self._claim is not None:
            await self._claim.release()
            self._claim = None

    async def _sign(self, claim: Claim, batch: Sequence[Stored]) -> None:
        tree = Frontier(self.tree.size, self.tree.edge)
        for stored in batch:
            tree.append(leaf_hash(leaf_line(stored.record.value)))
        root = tree.root()
        checkpoint = sign_checkpoint(Checkpoint(self.signer.name, tree.size, root), self.signer)
        covered = Covered(tree.size, batch[-1].offset, root, tuple(tree.edge))
        record = Record(checkpoint, headers={"content-type": "text/plain; charset=utf-8"})
        self.trip("notary.sign.1-before-commit")
        await claim.commit(batch, [(CHECKPOINTS, record)], {STATE: covered.encode()})
        self.trip("notary.sign.2-committed")
        self.tree, self.offset = tree, covered.offset

    async def _compare_with_checkpoint(self, covered: Covered) -> None:
        """State and newest checkpoint were committed together, so they must agree."""
        end = await self.log.end(CHECKPOINTS)
        newest = await self.log.read(CHECKPOINTS, after=end - 1, limit=1) if end >= 0 else []
        if not newest:
            if covered.size:
                raise VerificationFailed(f"{covered.size} entries were covered, but {CHECKPOINTS} holds no checkpoint")
            return
        said = open_checkpoint(newest[-1].record.value, self.signer.verifier)
        if (said.origin, said.size, said.root) != (self.signer.name, covered.size, covered.root):
            raise VerificationFailed(
                f"the newest checkpoint ({said.origin}, {said.size} entries) is not the one that the notary's state "
                f"covers ({self.signer.name}, {covered.size} entries): restore the data directory from a good copy"
            )

    async def _rebuild(self, covered: Covered) -> Frontier:
        """Hash the ledger again up to the covered offset; it must give the root that was signed."""
        tree, after = Frontier(), -1
        while after < covered.offset:
            batch = await self.log.read(LEDGER, after=after, limit=BATCH)
            for stored in batch:
                if stored.offset <= covered.offset:
                    tree.append(leaf_hash(leaf_line(stored.record.value)))
            if not batch:
                break
            after = batch[-1].offset
        if tree.size < covered.size:
            raise VerificationFailed(
                f"the ledger has become shorter: {covered.size} entries were signed, {tree.size} are there. Entries "
                "were removed after the fact; the notary signs nothing until the full ledger is back"
            )
        if (tree.size, tree.root(), tuple(tree.edge)) != (covered.size, covered.root, covered.edge):
            raise VerificationFailed(
                f"the ledger was rewritten: its first {covered.size} entries no longer have the root that was signed. "
                "Run `comity audit verify` to find the entry; the notary signs nothing until the ledger is restored"
            )
        log.info("ledger verified against the last checkpoint", size=tree.size)
        return tree


def leaf_line(value: bytes) -> bytes:
    """What is hashed into the tree: the first line of a ledger record, whether or not the sealed part is there."""
    return value.partition(b"\n")[0]
