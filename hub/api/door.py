"""Every authenticated request passes here: whose token, within its rate, in a role that the route is for."""

from __future__ import annotations

import time

from starlette.requests import Request

from hub.api.auth import Access, Principal, Role
from hub.api.limits import Buckets
from hub.api.problems import Problem


class Door:
    def __init__(self, access: Access, buckets: Buckets) -> None:
        self._access, self._buckets = access, buckets

    async def admit(self, request: Request) -> None:
        """A FastAPI dependency, so that nothing of a request is looked at before its sender is known."""
        request.scope["comity.caller"] = self.enter(request)

    def enter(self, request: Request) -> Principal:
        """The caller; Problem "unauthorized" or "rate-limited"."""
        principal = self._access.caller(request.headers.get("authorization"))
        self._buckets.take(principal.name, time.monotonic())
        return principal

    def recheck(self, principal: Principal) -> None:
        """Again, for a request that lasts: Problem "unauthorized" once the token or its key has ended."""
        self._access.recheck(principal)


def caller(request: Request, *roles: Role) -> Principal:
    """Who was admitted; Problem "forbidden" when the route is not for that role. No roles given: for everyone."""
    principal: Principal = request.scope["comity.caller"]
    return demand(principal, *roles)


def demand(principal: Principal, *roles: Role) -> Principal:
    if roles and principal.role not in roles:
        raise Problem("forbidden", f"this route is for the role {' or '.join(roles)}; yours is {principal.role}")
    return principal
