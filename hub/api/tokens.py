"""POST /oauth/token: the form of RFC 6749 §4.4 with the client authentication of RFC 7523 §2.2.

Errors are problem+json with OAuth's `error` and `error_description` beside, so that OAuth libraries understand them
too.
"""

from __future__ import annotations

import time
from urllib.parse import parse_qsl

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from hub.api import spec
from hub.api.auth import Access
from hub.api.limits import Buckets
from hub.api.problems import Problem
from hub.api.requests import content_type, read_body
from hub.core import strict

PATH = "/oauth/token"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
MAX_FORM = 16_384
FIELDS = ("grant_type", "client_assertion_type", "client_assertion")


class Tokens:
    def __init__(self, *, access: Access, buckets: Buckets) -> None:
        self._access, self._buckets = access, buckets

    def router(self) -> APIRouter:
        router = APIRouter(tags=["access"])
        router.add_api_route(PATH, self.token, methods=["POST"], **spec.TOKEN)
        return router

    async def token(self, request: Request) -> Response:
        """An access token for ten minutes, for a client assertion signed with a key that the registry holds."""
        self._buckets.take(request.client.host if request.client else "", time.monotonic())
        content_type(request, "application/x-www-form-urlencoded")
        form = _form(await read_body(request, MAX_FORM))
        if form["grant_type"] != "client_credentials":
            detail = "grant_type: must be client_credentials"
            raise Problem("unsupported_grant_type", detail, error="unsupported_grant_type", error_description=detail)
        if form["client_assertion_type"] != ASSERTION_TYPE:
            raise _invalid_request(f"client_assertion_type: must be {ASSERTION_TYPE}")
        token = await self._access.sell(form["client_assertion"])
        return Response(strict.dumps(token), headers={"Pragma": "no-cache"}, media_type="application/json")


def _form(body: bytes) -> dict[str, str]:
    """The form's fields; Problem "invalid_request" unless every field needed is there, and none twice (RFC 6749
    §3.2).
    """
    try:
        pairs = parse_qsl(
            body.decode("ascii"), keep_blank_values=True, strict_parsing=True, max_num_fields=16, errors="strict"
        )
    except ValueError:
        raise _invalid_request("the body is not a form in application/x-www-form-urlencoded") from None
    form = dict(pairs)
    if len(form) != len(pairs):
        raise _invalid_request("a field is there twice; send each once")
    missing = [name for name in FIELDS if not form.get(name)]
    if missing:
        raise _invalid_request(f"missing: {', '.join(missing)}")
    return form


def _invalid_request(detail: str) -> Problem:
    return Problem("invalid_request", detail, error="invalid_request", error_description=detail)
