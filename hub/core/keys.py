"""Agency keys and the facts that end them.

A key never changes; facts are added to it. Every fact carries the registry position and the moment it takes effect, so the
state at any past position is a question, not a copy: `problem(position, at)` says what a decision at that position and
moment had to say of the key. Times are milliseconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

ALG = "Ed25519"


@dataclass(frozen=True, slots=True)
class End:
    """One fact that ends a key: a retirement at a planned moment, or a revocation.

    position: registry position of the fact. effective: when the fact counts. moment: from when the key is refused.
    """

    position: int
    effective: int
    moment: int
    revoked: bool
    compromised_from: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """An Ed25519 public key (32 bytes) of an agency, valid in [not_before, not_after)."""

    kid: str
    agency: str
    public: bytes
    not_before: int
    not_after: int
    position: int
    effective: int
    ends: tuple[End, ...] = ()

    def ended_by(self, end: End) -> Key:
        return replace(self, ends=(*self.ends, end))

    def problem(self, position: int, at: int) -> str | None:
        """Why the key is refused at moment `at` by a reader who has seen `position` events; None when it is good."""
        if self.position > position or self.effective > at:
            return "unknown-key"
        ends = [end for end in self.ends if end.position <= position and end.effective <= at and end.moment <= at]
        if any(end.revoked for end in ends):
            return "key-revoked"
        if at < self.not_before:
            return "key-not-yet-valid"
        if ends or at >= self.not_after:
            return "key-expired"
        return None

    def compromised_from(self, position: int) -> int | None:
        """The earliest moment from which signatures of this key are suspect, as known at `position`."""
        known = [
            end.compromised_from for end in self.ends if end.position <= position and end.compromised_from is not None
        ]
        return min(known, default=None)

    def retires_at(self, position: int) -> int:
        """The moment from which the key is refused, as known at `position`."""
        return min([end.moment for end in self.ends if end.position <= position] + [self.not_after])
