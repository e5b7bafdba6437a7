"""The errors of the connectors.

    ConnectorError               root: catch this to catch everything that is ours
    ├── KeyFileError             the key file is missing, broken, or readable by others
    ├── InvalidNotice            the notice does not fit its schema: found here, nothing was sent
    ├── Refused                  the hub said no, with a stable reason code; the same bytes stay refused
    ├── AuthenticationFailed     the hub does not accept this key: unknown, revoked, wrong audience, clock
    ├── Unreachable              no answer within the time given; what is in the journal is sent again later
    ├── UnexpectedAnswer         something answered that does not speak as a hub does: address, proxy, version
    ├── InvalidDelivery          a delivery does not verify: never use it, never acknowledge it
    └── StoreError               journal or inbox cannot be used, or one `jti` has two contents

Evidence that does not hold, a receipt or a proof, raises `hub.core.errors.VerificationFailed`. Every message says what,
where, and what to do, and never carries a key or a token.
"""

from __future__ import annotations

from hub.core.errors import ComityError


class ConnectorError(ComityError):
    """Root of the tree."""


class KeyFileError(ConnectorError):
    """The key file cannot be used."""


class InvalidNotice(ConnectorError):  # noqa: N818 - a word of the domain
    """The notice cannot be built: the fields at fault are named."""


class Refused(ConnectorError):  # noqa: N818
    """The hub's no. code: stable reason code (docs/problems.md). jti: the notice's, when it is about one."""

    def __init__(self, code: str, detail: str, *, status: int, jti: str | None = None) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail
        self.status = status
        self.jti = jti

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class AuthenticationFailed(ConnectorError):  # noqa: N818
    """The hub does not give, or no longer takes, a token for this key."""


class Unreachable(ConnectorError):  # noqa: N818
    """Nothing was decided: the hub did not answer, or was too busy, for as long as the caller would wait."""


class UnexpectedAnswer(ConnectorError):  # noqa: N818
    """An answer that no hub gives."""


class InvalidDelivery(ConnectorError):  # noqa: N818
    """A delivery that does not verify. A value in a page, an exception in `subscribe`.

    offset: where it stands; resume after it. reason: a stable word. notice, headers: as received.
    """

    def __init__(self, offset: int, reason: str, detail: str, notice: bytes, headers: dict[str, str]) -> None:
        super().__init__(offset, reason, detail)
        self.offset = offset
        self.reason = reason
        self.detail = detail
        self.notice = notice
        self.headers = headers

    def __str__(self) -> str:
        return f"delivery {self.offset}: {self.reason}: {self.detail}"


class StoreError(ConnectorError):
    """The journal or the inbox cannot go on."""
