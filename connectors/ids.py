"""Fresh ids and salts: the one place of the connectors that asks the clock and the system's randomness for them."""

from __future__ import annotations

import os
import time

from hub.core.envelope import MIN_SALT
from hub.core.ids import uuid7


def now_ms() -> int:
    """Milliseconds since the epoch, by this machine's clock."""
    return time.time_ns() // 1_000_000


def new_id() -> str:
    """A fresh UUID version 7."""
    return uuid7(now_ms(), os.urandom(10))


def new_salt() -> bytes:
    """A salt for one disclosure."""
    return os.urandom(MIN_SALT)
