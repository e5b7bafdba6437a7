"""What the ledger says was judged before: the auditor's own memory, forgotten when nothing can depend on it any more."""

from __future__ import annotations

from sys import intern

from hub.core.decision import Received, Seen
from hub.memory import DAY, KEEP


class Judged:
    """Notices and acknowledgements by (sender, jti), refusals by (sender, digest). Times in ms, `exp` in seconds."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], Seen] = {}
        self._refused: dict[tuple[str, bytes], tuple[str, int]] = {}
        self.erased: set[bytes] = set()  # digests of which only the leaf is left
        self._shared: dict[tuple[Received, ...], tuple[Received, ...]] = {}
        self._newest = 0
        self._sweep_at = 20_000

    def seen(self, sender: str, jti: str, at: int) -> Seen | None:
        seen = self._seen.get((sender, jti))
        return seen if seen is not None and (seen.exp + KEEP) * 1000 > at else None

    def knows(self, sender: str, jti: str | None) -> bool:
        """Whether this was ever judged, as far as is remembered."""
        return (sender, jti) in self._seen

    def remember(self, sender: str, jti: str, seen: Seen, at: int) -> None:
        received = self._shared.setdefault(seen.received, seen.received)
        self._seen[intern(sender), jti] = Seen(seen.digest, seen.exp, received)
        self._newest = max(self._newest, at)
        self._sweep()

    def refusal(self, owner: str, digest: bytes) -> str | None:
        """The reason under which these bytes of `owner` were last refused; the same is not written down again for a day."""
        return self._refused.get((owner, digest), (None, 0))[0]

    def remember_refusal(self, owner: str, digest: bytes, reason: str, at: int) -> None:
        self._refused[intern(owner), digest] = (reason, at + KEEP * 1000)
        self._newest = max(self._newest, at)
        self._sweep()

    def _sweep(self) -> None:
        """Now and then, so that each entry pays for it once; a day late, for the clocks of several routers differ."""
        if len(self._seen) + len(self._refused) < self._sweep_at:
            return
        past = self._newest - DAY * 1000
        self._seen = {key: seen for key, seen in self._seen.items() if (seen.exp + KEEP) * 1000 > past}
        self._refused = {key: refused for key, refused in self._refused.items() if refused[1] > past}
        self._sweep_at = 2 * (len(self._seen) + len(self._refused)) + 20_000
