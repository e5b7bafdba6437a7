"""The signed side of an audit: every checkpoint is the root of the very tree that the ledger's leaves make."""

from __future__ import annotations

from hub.auditor.reading import Reader
from hub.auditor.report import Report
from hub.core.checkpoint import Checkpoint, Verifier, open_checkpoint
from hub.core.errors import VerificationFailed
from hub.core.merkle import Tree
from hub.core.registry import Registry
from hub.core.statements import HUB

CHECKPOINTS = "comity.checkpoints"


class CheckpointAudit:
    """Holds signed notes against a tree that was recomputed from the ledger's leaves."""

    def __init__(self, report: Report, tree: Tree, registry: Registry, vkey: Verifier) -> None:
        self._report, self._tree, self._registry, self._vkey = report, tree, registry, vkey
        signed_by = [registry.keys[kid].public for kid in registry.keys_of.get(HUB, ())]
        if signed_by and vkey.public not in signed_by:
            report.find(f"the registry names another key of the hub than {vkey.vkey()}", CHECKPOINTS)

    async def log(self, checkpoints: Reader) -> None:
        """Every checkpoint of the log: each covers no less than the one before."""
        size, good = 0, 0
        while stored := await checkpoints.take():
            where = f"{CHECKPOINTS} offset {stored.offset}"
            self._report.checkpoints += 1
            checkpoint = self._open(stored.record.value, where)
            if checkpoint is None:
                continue
            if checkpoint.size < size:
                self._report.find(f"it covers {checkpoint.size} entries, the one before covers {size}", where)
            if self._holds(checkpoint, good, where):
                good = max(good, checkpoint.size)
            size = max(size, checkpoint.size)
        self._report.uncovered = max(0, self._tree.size - size)

    def brought(self, note: bytes) -> None:
        """A checkpoint that somebody kept: the ledger still begins with what it covers."""
        where = "the checkpoint you brought"
        checkpoint = self._open(note, where)
        if checkpoint is not None:
            self._holds(checkpoint, 0, where)

    def _open(self, note: bytes, where: str) -> Checkpoint | None:
        try:
            return open_checkpoint(note, self._vkey)
        except VerificationFailed as fault:
            self._report.find(str(fault), where)
            return None

    def _holds(self, checkpoint: Checkpoint, good: int, where: str) -> bool:
        """Whether it is of this ledger, and its root that of our tree. The first `good` entries are known to be signed."""
        size, origin = checkpoint.size, self._registry.origin
        if origin is not None and checkpoint.origin != origin:
            self._report.find(f"it is of {checkpoint.origin}, this ledger is of {origin}", where)
        elif size > self._tree.size:
            self._report.find(
                f"it covers {size} entries, the ledger has {self._tree.size}: entries were removed", where
            )
        elif self._tree.root(size) != checkpoint.root:
            span = f"entries {good} to {size - 1}" if good < size else "some of them"
            what = f"its root is not that of the first {size} entries: {span} are not what was signed"
            self._report.find(what, where)
        else:
            return True
        return False
