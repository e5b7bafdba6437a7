"""Every way a command ends badly, and its exit code: the one place that maps errors to codes.

0 ok · 1 failed · 2 usage · 3 verification failed · 4 denied · 5 unavailable · 130 interrupted
"""

from __future__ import annotations

from connectors.errors import AuthenticationFailed, InvalidDelivery, Refused, Unreachable
from hub.config import SettingsError
from hub.core.errors import ComityError, VerificationFailed
from hub.log import Unavailable

OK, FAILED, USAGE, UNVERIFIED, DENIED, UNAVAILABLE, INTERRUPTED = 0, 1, 2, 3, 4, 5, 130
CODES = {
    OK: "done", FAILED: "failed", USAGE: "used wrongly: unknown option, unusable setting",
    UNVERIFIED: "verification failed: a signature, proof or ledger does not hold",
    DENIED: "denied: key not accepted, or not allowed to", UNAVAILABLE: "unavailable: no hub answers in time",
}  # fmt: skip
_DENIED_STATUS = (401, 403)


class UsageFault(ComityError):  # noqa: N818 - faults are what this module is about
    """Options that do not go together; the message says what to do."""


def exit_code(error: BaseException) -> int:
    """The exit code that stands for an error."""
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED
        case UsageFault() | SettingsError():
            return USAGE
        case VerificationFailed() | InvalidDelivery():
            return UNVERIFIED
        case AuthenticationFailed():
            return DENIED
        case Refused(status=status) if status in _DENIED_STATUS:
            return DENIED
        case Unreachable() | Unavailable():
            return UNAVAILABLE
        case _:
            return FAILED


def message(error: BaseException) -> str:
    """What is said of an error: one line. Our own errors speak for themselves; others are introduced."""
    match error:
        case KeyboardInterrupt():
            text = "interrupted"
        case Refused():
            text = f"refused: {error}"
        case ComityError():
            text = str(error)
        case OSError() if error.filename is not None:
            text = f"{error.filename}: {error.strerror}"
        case _:
            text = f"unexpected {type(error).__name__}: {error}; run it again with --debug for the whole story"
    return " ".join(text.split())
