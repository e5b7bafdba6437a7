"""What an audit says: counts, notes, and findings in the order of the ledger."""

from __future__ import annotations

from dataclasses import dataclass, field

MOST = 1_000  # findings and notes that are kept; a log that is wrong everywhere is not told line by line


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that does not hold. `index` is the ledger entry it is about, None when it is about another topic."""

    where: str
    what: str
    index: int | None = None

    def __str__(self) -> str:
        return f"{self.where}: {self.what}"


@dataclass(slots=True)
class Report:
    """What was read, and what does not hold; the first finding is the first entry that does not.

    erased: sealed parts and payloads that are gone, so that what they said cannot be decided again. pending: messages that
    no entry explains yet. uncovered: entries that no checkpoint covers yet. size, root: of the tree recomputed.
    """

    allow_erased: bool = False
    entries: int = 0
    statements: int = 0
    notices: int = 0
    refused: int = 0
    deliveries: int = 0
    acknowledgements: int = 0
    reads: int = 0
    checkpoints: int = 0
    erased: int = 0
    pending: int = 0
    uncovered: int = 0
    size: int = 0
    root: bytes = b""
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    untold: int = 0

    @property
    def holds(self) -> bool:
        return not self.findings

    @property
    def index(self) -> int:
        """The ledger entry that is being audited."""
        return self.entries - 1

    def find(self, what: str, where: str | None = None) -> None:
        """Something does not hold: in the present entry, or in `where`."""
        if len(self.findings) >= MOST:
            self.untold += 1
            return
        index = self.index if where is None else None
        self.findings.append(Finding(where or f"ledger entry {index}", what, index))

    def note(self, what: str) -> None:
        """Something to know of the present entry that is no fault of the hub."""
        if len(self.notes) < MOST:
            self.notes.append(f"entry {self.index}: {what}")

    def missing(self, what: str) -> None:
        """Something the present entry needs is gone."""
        self.erased += 1
        if self.allow_erased:
            self.note(f"{what}: not re-decidable, erased")
        else:
            self.find(f"{what}; if it was erased lawfully, say so with --allow-erased")

    def sort(self) -> None:
        """By ledger entry; what is about other topics last."""
        last = 1 << 62
        self.findings.sort(key=lambda finding: last if finding.index is None else finding.index)
