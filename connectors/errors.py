"""The errors of the connectors.

    ConnectorError               root: catch this to catch everything that is ours
    ├── KeyFileError             the key file is missing, broken, or readable by others
    ├── InvalidNotice            the notice is not one, or no hub would take it: found here, nothing was sent
    ├── Refused                  the hub said no, with a stable reason code; the same bytes stay refused
    ├── AuthenticationFailed     the hub does not accept this key: unknown, revoked, wrong audience, clock
    ├── Unreachable              no answer within the time given; what is in the journal is sent again later
    ├── UnexpectedAnswer         something answered that does not speak as a hub does: address, proxy, version
    ├── InvalidDelivery          a delivery does not verify: never use it, never acknowledge it
    ├── DeliveriesLost           the topic does not hold what comes next: deleted, or the topic was made anew
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
    """The notice cannot be built, or no hub would take it: what is at fault is named.

    code: the reason that a hub would give (docs/problems.md), "invalid" where there is nothing to give one for.
    """

    def __init__(self, detail: str, code: str = "invalid") -> None:
        super().__init__(detail)
        self.code = code


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


class DeliveriesLost(ConnectorError):  # noqa: N818
    """What should come next is not in the topic any more.

    after: the offset that was stored last. first: the first offset that is there. end: the offset behind the last one.
    Where `first` is behind `after`, deliveries were deleted before they were fetched; else the topic was made anew.
    """

    def __init__(self, topic: str, after: int, first: int, end: int) -> None:
        super().__init__(topic, after, first, end)
        self.topic, self.after, self.first, self.end = topic, after, first, end

    @property
    def resume(self) -> int | None:
        """After which offset what is left can be read; None when the topic is another one, with offsets of its own."""
        return self.first - 1 if self.first > self.after + 1 else None

    def __str__(self) -> str:
        if self.resume is not None:
            return (
                f"{self.topic}: offsets {self.after + 1} to {self.resume} were deleted before they were fetched, the topic "
                f"begins at {self.first}; ask the operator for them (the hub's HTTP interface may still have them), or go "
                "on without: `Inbox.pass_over`, `comity notice tail --pass-over`; the numbers show what is missing"
            )
        return (
            f"{self.topic}: offset {self.after} was read before, the topic now holds {self.first} to {self.end - 1}: it was "
            "made anew, or restored from an older copy; ask the operator, keep this inbox and begin another one"
        )


class StoreError(ConnectorError):
    """The journal or the inbox cannot go on."""
