"""The outermost layer, pure ASGI: security headers on every answer, one measurement per request, no fault without its
problem.

What leaves here is complete: whatever a route raises becomes problem+json, and a fault of ours is logged without the
request's content.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog
from prometheus_client import Counter, Histogram
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hub.api.problems import KINDS, Problem, problem_response
from hub.core.errors import LogError, Refusal
from hub.log import TooLarge

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
POLICY = (
    b"content-security-policy",
    b"default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
)
NO_STORE = (b"cache-control", b"no-store")
STRICT_TRANSPORT = (b"strict-transport-security", b"max-age=31536000")
_STATUS_CODES = {
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    413: "too-large",
}

log = structlog.get_logger("comity.api")


class Edge:
    """Wraps the application. `secure`: the hub is reached by https, so browsers are told to stay there."""

    def __init__(self, app: ASGIApp, *, requests: Counter, times: Histogram, secure: bool) -> None:
        self._app, self._requests, self._times = app, requests, times
        self._headers = (*HEADERS, STRICT_TRANSPORT) if secure else HEADERS
        self._observe: dict[tuple[str, str, int], tuple[Callable[[], None], Callable[[float], None]]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began, status = time.perf_counter(), 0

        async def decorated(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = self._complete(message["headers"])
            await send(message)

        try:
            await self._app(scope, receive, decorated)
        except ClientDisconnect:
            pass  # nobody is left to answer
        except Exception as error:
            log.error("request failed", route=_route(scope), error=type(error).__name__, exc_info=True)
            if status:
                raise  # half an answer is out: the server must cut the connection
            await internal()(scope, receive, decorated)
        finally:
            self._measure(scope, status, time.perf_counter() - began)
        return None

    def _complete(self, headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        present = {name for name, _ in headers}
        headers = [*headers, *self._headers]
        if b"content-security-policy" not in present:
            headers.append(POLICY)
        if b"cache-control" not in present:
            headers.append(NO_STORE)
        return headers

    def _measure(self, scope: Scope, status: int, seconds: float) -> None:
        """Counts by route template, never by path: a path names agencies and notices."""
        key = (_method(scope), _route(scope), status)
        observe = self._observe.get(key)
        if observe is None:
            method, route, _ = key
            counter, histogram = self._requests.labels(method, route, str(status)), self._times.labels(method, route)
            observe = self._observe[key] = (counter.inc, histogram.observe)
        observe[0]()
        observe[1](seconds)


def _method(scope: Scope) -> str:
    return scope["method"] if scope["method"] in ("GET", "POST", "HEAD") else "other"


def _route(scope: Scope) -> str:
    """The template of the route that answered, such as /v1/notices/{iss}/{jti}; one word for all other paths."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else "none"


def internal() -> ASGIApp:
    return problem_response(KINDS["internal"], "the hub failed; send the same bytes again later", retry_after=5)


def to_problem(error: Exception) -> Problem:
    """What the caller is told about an exception that is an answer and not a fault."""
    match error:
        case Problem():
            return error
        case Refusal():
            return Problem(error.code, error.detail)
        case TooLarge():
            return Problem("too-large", "the log takes no record of this size; send less")
        case LogError():
            return Problem("unavailable", "the log does not answer; send the same bytes again", retry_after=1)
        case HTTPException():
            code = _STATUS_CODES.get(error.status_code, "bad-request")
            return Problem(code, _DETAILS.get(code, "the request cannot be used"))
    raise error


_DETAILS = {
    "not-found": "there is nothing here for you; check the address",
    "method-not-allowed": "this route has no such method; see the Allow header",
}
