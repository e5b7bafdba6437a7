"""Our errors.

    ComityError                 root: catch this to catch everything that is ours
    ├── Refusal                 "no", with a stable reason code: the input is at fault, the record goes to the ledger
    ├── VerificationFailed      a tree, proof, note or checkpoint does not hold: somebody's evidence is wrong
    └── LogError                the log cannot continue (hub.log: Fenced, Unavailable, TooLarge)

Primitives that read foreign bytes raise Refusal and nothing else; `process` turns it into an outcome.
"""

from __future__ import annotations


class ComityError(Exception):
    """Root of the tree."""


class Refusal(ComityError):  # noqa: N818 - a word of the domain
    """The input is refused.

    code: stable, lowercase with dashes, for machines and the ledger. detail: for people, what and where; it never
    carries more than a short excerpt of the input.
    """

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class VerificationFailed(ComityError):  # noqa: N818
    """A proof, a note or a checkpoint does not verify."""


class LogError(ComityError):
    """The log cannot do what was asked; nothing of the failed operation is visible."""
