"""One agency's conversation with the hub over HTTP: tokens, retries, and what an answer means.

A request is repeated, as the same bytes, when nothing was decided: the network failed, the hub was busy (429, 503) or
broken (5xx). It is not repeated when the hub decided. Waiting is bounded by the caller's patience, and shared: when the
hub asks for a pause, every request of the session keeps it.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import httpx2

from connectors.errors import AuthenticationFailed, Refused, UnexpectedAnswer, Unreachable
from connectors.ids import new_id
from connectors.keyfile import PartnerKey
from hub.core import jws, strict
from hub.core.errors import Refusal

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 120
RENEW_SECONDS = 60  # a token is renewed when less of its life is left
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds
LANE = 8  # connections
MAX_ANSWER = 64 * 1024 * 1024
# What says that the same request may fare better later. 409 is one only for a proof that no checkpoint covers yet.
_LATER_STATUS = frozenset({408, 425, 429, 500, 502, 503, 504})
_LATER_CODES = frozenset({"not-yet-covered"})

log = logging.getLogger("connectors")


@dataclass(slots=True)
class _Token:
    text: str
    renew_at: float  # monotonic seconds


class Session:
    """Made and closed by Client. `audience`: what token assertions are addressed to."""

    def __init__(self, url: str, key: PartnerKey, *, audience: str, connections: int, patience: float) -> None:
        self._key, self._audience, self._patience = key, audience, patience
        self._lanes = _open_lanes(url, connections)
        self._turns = cycle(self._lanes)
        self._url = url
        self._token: _Token | None = None
        self._renewing = asyncio.Lock()
        self._pause_until = 0.0

    async def close(self) -> None:
        for lane in self._lanes:
            await lane.aclose()

    async def post(self, path: str, content: bytes, media: str) -> httpx2.Response:
        """POST these bytes until the hub decides; Refused, AuthenticationFailed, Unreachable, UnexpectedAnswer."""
        return await self._until_decided("POST", path, content=content, headers={"Content-Type": media})

    async def get(self, path: str, **params: str | int | float) -> httpx2.Response:
        """GET likewise."""
        return await self._until_decided("GET", path, params=params)

    async def _until_decided(self, method: str, path: str, **request: Any) -> httpx2.Response:
        deadline = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            await self._keep_pause(deadline)
            try:
                return await self._try(method, path, request)
            except _Later as later:
                wait = max(later.seconds, random.uniform(pause / 2, pause))  # noqa: S311 - jitter
                if time.monotonic() + wait > deadline:
                    raise Unreachable(
                        f"{method} {self._url}{path}: nothing decided in time, last: {later.cause}; "
                        "check the address and the network, then send the same again: nothing is doubled"
                    ) from None
                log.info("%s %s: %s; again in %.1f s", method, path, later.cause.partition(":")[0], wait)
                if later.seconds:
                    self._pause_until = max(self._pause_until, time.monotonic() + later.seconds)
                else:
                    await asyncio.sleep(wait)
                pause = min(pause * 2, LONGEST_PAUSE)

    async def _try(self, method: str, path: str, request: dict[str, Any]) -> httpx2.Response:
        """The hub's yes; its no as an exception; _Later when it did not decide. A token is renewed once."""
        token = await self._authorise()
        answer = await self._send(method, path, token, request)
        if answer.status_code == 401:
            self._forget(token)
            answer = await self._send(method, path, await self._authorise(), request)
        if answer.is_success:
            return answer
        problem = _problem(answer, f"{method} {self._url}{path}")
        if answer.status_code in _LATER_STATUS or problem.code in _LATER_CODES:
            raise _Later(str(problem), _retry_after(answer))
        if answer.status_code == 401:
            raise AuthenticationFailed(f"{problem} (key {self._key.kid})")
        raise problem

    async def _send(self, method: str, path: str, token: _Token, request: dict[str, Any]) -> httpx2.Response:
        headers = request.get("headers", {}) | {"Authorization": f"Bearer {token.text}", "Accept": "application/json"}
        return await self._exchange(method, path, **(request | {"headers": headers}))

    async def _exchange(self, method: str, path: str, **request: Any) -> httpx2.Response:
        """One request and its answer; _Later when there is none."""
        try:
            return await next(self._turns).request(method, path, **request)
        except httpx2.RequestError as error:
            raise _Later(f"{type(error).__name__} {error}".strip()) from None

    async def _keep_pause(self, deadline: float) -> None:
        """Wait as long as the hub asked; then not all at once."""
        left = min(self._pause_until, deadline) - time.monotonic()
        if left > 0:
            await asyncio.sleep(left + random.uniform(0, 0.2))  # noqa: S311

    def _forget(self, token: _Token) -> None:
        if self._token is token:
            self._token = None

    async def _authorise(self) -> _Token:
        """A token with life left; concurrent requests share one renewal."""
        token = self._token
        if token is not None and time.monotonic() < token.renew_at:
            return token
        async with self._renewing:
            if self._token is None or time.monotonic() >= self._token.renew_at:
                self._token = await self._buy_token()
            return self._token

    async def _buy_token(self) -> _Token:
        """RFC 7523: a signed assertion, used once, for an access token."""
        now, agency = int(time.time()), self._key.agency
        said = {
            "iss": agency, "sub": agency, "aud": self._audience,
            "iat": now, "exp": now + ASSERTION_SECONDS, "jti": new_id(),
        }  # fmt: skip
        assertion = jws.sign_compact(said, typ="JWT", kid=self._key.kid, key=self._key.private).decode()
        form = {
            "grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion
        }  # fmt: skip
        asked = time.monotonic()
        answer = await self._exchange("POST", "/oauth/token", data=form)
        if answer.status_code in _LATER_STATUS:
            raise _Later(f"the token endpoint answers {answer.status_code}", _retry_after(answer))
        if not answer.is_success:
            problem = _problem(answer, f"POST {self._url}/oauth/token")
            raise AuthenticationFailed(f"no token for key {self._key.kid}: {problem.detail}")
        body = read_json(answer)
        if not isinstance(body.get("access_token"), str) or not isinstance(body.get("expires_in"), int):
            raise UnexpectedAnswer(f"{self._url}/oauth/token: no access_token in the answer; is this a Comity hub?")
        return _Token(body["access_token"], asked + max(1, body["expires_in"] - RENEW_SECONDS))


class _Later(Exception):  # noqa: N818
    """Nothing was decided. seconds: how long the hub asks to wait, 0 when it does not say."""

    def __init__(self, cause: str, seconds: float = 0.0) -> None:
        super().__init__(cause)
        self.cause, self.seconds = cause, seconds


def _open_lanes(url: str, connections: int) -> list[httpx2.AsyncClient]:
    """Several small pools: the cost of a request in a pool grows with its connections, fourfold from 8 to 64."""
    context = httpx2.create_ssl_context()
    limits = httpx2.Limits(max_connections=LANE, max_keepalive_connections=LANE)
    timeout = httpx2.Timeout(15.0, read=60.0, pool=None)
    count = -(-connections // LANE)
    return [httpx2.AsyncClient(base_url=url, verify=context, limits=limits, timeout=timeout) for _ in range(count)]


def read_json(answer: httpx2.Response) -> dict[str, Any]:
    """The object in an answer; UnexpectedAnswer when there is none."""
    try:
        body = strict.loads(answer.content, max_bytes=MAX_ANSWER, max_depth=32)
    except Refusal as refusal:
        raise UnexpectedAnswer(f"{answer.request.url}: {refusal.detail}; is this a Comity hub?") from None
    if not isinstance(body, dict):
        raise UnexpectedAnswer(f"{answer.request.url}: the answer is no JSON object; is this a Comity hub?")
    return body


def _problem(answer: httpx2.Response, where: str) -> Refused:
    """What a problem document says; UnexpectedAnswer for a no that is none of the hub's."""
    status = answer.status_code
    media = answer.headers.get("content-type", "").partition(";")[0].strip()
    if media == "application/problem+json":
        body = read_json(answer)
        if isinstance(body.get("code"), str) and isinstance(body.get("detail"), str):
            return Refused(body["code"], body["detail"], status=status)
    if status in _LATER_STATUS:  # a proxy in front of a hub that is down
        return Refused(f"http-{status}", f"{where} answers {status}", status=status)
    raise UnexpectedAnswer(f"{where} answers {status}, and not as a Comity hub does: check the address, and proxies")


def _retry_after(answer: httpx2.Response) -> float:
    """Seconds that the hub asks to wait, 0 when it does not say; dates are not read."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else 0.0
