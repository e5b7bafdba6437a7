"""Registry views, and the way in for signed statements.

Who may change what is for signatures to say, not for tokens: any caller may bring a statement, the registry process
judges it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from hub.api import spec
from hub.api.auth import Principal
from hub.api.door import Door, caller
from hub.api.limits import Waiting
from hub.api.notices import not_found
from hub.api.problems import Problem
from hub.api.requests import accepts, content_type, read_body, while_connected
from hub.core import jws, statements, strict
from hub.core.agreement import Version
from hub.core.errors import Refusal
from hub.core.keys import ALG, Key
from hub.core.registry import View
from hub.index import Index, StatementStatus
from hub.log import Log, Record
from hub.registry import REQUESTS
from hub.rows import Entry

STATEMENT_TYPE = "application/jose+json"
JUDGEMENT_SECONDS = 10.0
LOOK_SECONDS = 1.0
REMEMBERED = 10_000
LEDGER = "comity.ledger"
JSON = "application/json"


class RegistryRoutes:
    def __init__(
        self,
        *,
        log: Log,
        index: Index,
        door: Door,
        waiting: Waiting,
        drain: asyncio.Event,
        clock: Callable[[], int],
        max_body: int,
    ) -> None:
        self._log, self._index, self._door, self._clock, self._max_body = log, index, door, clock, max_body
        self._waiting, self._drain = waiting, drain
        self._brought: OrderedDict[tuple[str, str], None] = OrderedDict()  # (statement, caller), the newest ones

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1", tags=["registry"], dependencies=[Depends(self._door.admit)])
        router.add_api_route("/agencies", self.agencies, methods=["GET"], **spec.AGENCIES)
        router.add_api_route("/agreements", self.agreements, methods=["GET"], **spec.AGREEMENTS)
        router.add_api_route("/agreements/{id}", self.agreement, methods=["GET"], **spec.AGREEMENT)
        router.add_api_route("/registry", self.submit, methods=["POST"], **spec.POST_STATEMENT)
        router.add_api_route("/registry/{id}", self.statement, methods=["GET"], **spec.STATEMENT)
        return router

    async def agencies(self, request: Request) -> Response:
        """Every agency and every key it ever had: what a subscriber needs to verify signatures by itself."""
        accepts(request, JSON)
        view, at = self._index.registry.view(), self._clock()
        shown = [
            {
                "id": each.id,
                "name": each.name,
                "role": each.role,
                "keys": [_key(key, view) for key in view.keys(each.id)],
            }
            for each in view.agencies(at)
        ]
        return Response(strict.dumps({"agencies": shown, "registry": view.position}), media_type=JSON)

    async def agreements(self, request: Request) -> Response:
        """Every version of the agreements the caller is a party to; auditors and the operator see all."""
        accepts(request, JSON)
        return Response(strict.dumps({"agreements": self._agreements(caller(request))}), media_type=JSON)

    async def agreement(self, request: Request, id: str) -> Response:
        """The versions of one agreement."""
        accepts(request, JSON)
        shown = [each for each in self._agreements(caller(request)) if each["id"] == id]
        if not shown:
            raise not_found()
        return Response(strict.dumps({"agreements": shown}), media_type=JSON)

    def _agreements(self, principal: Principal) -> list[dict[str, Any]]:
        view, at = self._index.registry.view(), self._clock()
        sees_all = principal.role != "partner"
        versions = [v for v in view.agreements(at) if sees_all or principal.name in v.agreement.parties]
        return [_agreement(version, view, at) for version in versions]

    async def submit(self, request: Request) -> Response:
        """Hand in a signed statement and wait for its judgement. The same document again gets the same answer."""
        principal = caller(request)
        accepts(request, JSON)
        content_type(request, STATEMENT_TYPE)
        document = await read_body(request, self._max_body)
        signed = jws.read_general(document, typ=statements.TYP, max_bytes=self._max_body)
        id_ = statements.parse(signed.payload).id
        before = await self._index.statement(id_)
        if before and before.status == "accepted" and before.entry:
            if before.entry.leaf["digest"] != strict.b64(signed.digest):
                raise Problem("duplicate-statement", f"another statement with id {id_} is on record; use a new id")
            return Response(strict.dumps(_event(before.entry)), 201, media_type=JSON)
        self._remember(id_, principal)
        with self._waiting.hold(principal.name):
            await self._log.append(REQUESTS, Record(document, None, {"content-type": STATEMENT_TYPE, "ce_id": id_}))
            status = await while_connected(request, self._judgement(id_), self._drain.wait())
        if status is None or status.entry is None:
            shown = _status(StatementStatus(id_, "pending", None))
            return Response(strict.dumps(shown), 202, {"Location": f"/v1/registry/{id_}"}, media_type=JSON)
        if status.status == "refused":
            shown = _status(status)
            raise Problem(shown["reason"], shown["detail"])
        return Response(strict.dumps(_event(status.entry)), 201, media_type=JSON)

    def _remember(self, id_: str, principal: Principal) -> None:
        """While a statement is pending nobody knows whom it concerns; who brought it may ask all the same."""
        self._brought[id_, principal.name] = None
        if len(self._brought) > REMEMBERED:
            self._brought.popitem(last=False)

    async def _judgement(self, id_: str) -> StatementStatus | None:
        """The statement's status once it is judged; None when that takes longer than a caller should wait."""
        until = time.monotonic() + JUDGEMENT_SECONDS
        while (left := until - time.monotonic()) > 0:
            end = await self._log.end(LEDGER)
            await self._index.catch_up()
            status = await self._index.statement(id_)
            if status is not None and status.status != "pending":
                return status
            await self._log.read(LEDGER, after=end, limit=1, wait=min(left, LOOK_SECONDS))
        return None

    async def statement(self, request: Request, id: str) -> Response:
        """What became of a statement. One about an agreement is for its parties, auditors and the operator only."""
        accepts(request, JSON)
        principal = caller(request)
        await self._index.catch_up()
        status = await self._index.statement(id)
        brought = (id, principal.name) in self._brought
        if status is None or not (principal.role != "partner" or brought or _concerns(status, principal.name)):
            raise not_found()
        return Response(strict.dumps(_status(status)), media_type=JSON)


def _concerns(status: StatementStatus, agency: str) -> bool:
    """Whether a partner may know of the statement: it is named in it, or signed it."""
    sealed = (status.entry.sealed if status.entry else None) or {}
    document = sealed.get("statement") or sealed.get("raw", "").encode()
    try:
        signed = jws.read_general(document, typ=statements.TYP, max_bytes=statements.MAX_BYTES)
    except Refusal:
        return False
    said = signed.payload
    agreement = said.get("agreement")
    named = [said.get("agency"), said.get("party"), *(kid.partition("/")[0] for kid, _, _ in signed.signatures)]
    if isinstance(agreement, dict) and isinstance(agreement.get("parties"), list):
        named += agreement["parties"]
    if isinstance(said.get("agency"), dict):
        named.append(said["agency"].get("id"))
    return agency in named


def _status(status: StatementStatus) -> dict[str, Any]:
    """GET /v1/registry/{id}; position and effective only when accepted, reason and detail only when refused."""
    sealed = (status.entry.sealed if status.entry and status.status != "pending" else None) or {}
    return {"id": status.id, "status": status.status} | {
        name: sealed.get(name) for name in ("position", "effective", "reason", "detail")
    }


def _event(entry: Entry) -> dict[str, Any]:
    """The registry event of an accepted statement, from its ledger entry."""
    sealed = entry.sealed or {}
    return {
        "position": sealed["position"], "recorded": entry.leaf["at"],
        "effective": sealed["effective"], "statement": sealed["statement"],
    }  # fmt: skip


def _key(key: Key, view: View) -> dict[str, Any]:
    known = [end for end in key.ends if end.position <= view.position]
    revoked = min((end.moment for end in known if end.revoked), default=None)
    retired = min([end.moment for end in known if not end.revoked] + [key.not_after])
    return {
        "kid": key.kid, "alg": ALG, "x": strict.b64(key.public),
        "not_before": key.not_before, "not_after": retired, "revoked": revoked,
    }  # fmt: skip


def _agreement(version: Version, view: View, at: int) -> dict[str, Any]:
    objection = version.objection(view.position, at)
    shown = version.agreement.model_dump(mode="json", by_alias=True, exclude_none=True)
    return shown | {"status": objection.code if objection else "in-force", "digest": strict.b64(version.digest)}
