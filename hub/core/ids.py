"""UUID version 7 (RFC 9562 §5.7): a millisecond, then randomness; so ids of one sender sort by time."""

from __future__ import annotations

from uuid import UUID


def uuid7(ms: int, rand: bytes) -> str:
    """The id for a moment (ms since the epoch) and at least 10 random bytes, in canonical lowercase."""
    tail = int.from_bytes(rand[:10], "big")
    high = (ms & (1 << 48) - 1) << 16 | 0x7000 | tail >> 68
    low = 0b10 << 62 | tail & (1 << 62) - 1
    return str(UUID(int=high << 64 | low))
