"""Publishing a notice, asking what became of it, why, and what would become of it.

`post` is the hot path: raw bytes, no models, one judgement, one append, one signature.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import APIRouter, Depends, Query
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response

from hub.api import spec
from hub.api.auth import Principal
from hub.api.door import Door, caller, demand
from hub.api.intake import Intake, Taken
from hub.api.problems import Problem
from hub.api.requests import accepts, content_type, read_body
from hub.core import envelope, jws, strict
from hub.core.decision import Grant, Reason, Received, Seen, decide, explain
from hub.core.messages import NOTICE_TYPE
from hub.core.process import Accepted, Refused, process
from hub.core.registry import View
from hub.index import Index, NoticeStatus
from schemas.notice import Notice, validate
from schemas.problems import explain_error

PATH = "/v1/notices"
RECEIPT_TYP = "receipt+jwt"
HUB_KID = "hub"
JSON = "application/json"


class Notices:
    def __init__(
        self, *, index: Index, door: Door, intake: Intake, clock: Callable[[], int], key: Ed25519PrivateKey, origin: str
    ) -> None:
        self._index, self._door, self._intake, self._clock = index, door, intake, clock
        self._key, self._origin = key, origin

    def router(self) -> APIRouter:
        router = APIRouter(prefix=PATH, tags=["notices"])
        router.add_api_route("", self.post, methods=["POST"], **spec.POST_NOTICE)
        admit = [Depends(self._door.admit)]
        router.add_api_route("/preview", self.preview, methods=["POST"], dependencies=admit, **spec.PREVIEW)
        router.add_api_route("/{iss}/{jti}", self.status, methods=["GET"], dependencies=admit, **spec.NOTICE)
        router.add_api_route("/{iss}/{jti}/explain", self.explain, methods=["GET"], dependencies=admit, **spec.EXPLAIN)
        return router

    async def post(self, request: Request) -> Response:
        """Publish. 202 means durable: the notice will get exactly one ledger entry. The same bytes, the same answer."""
        principal = demand(self._door.enter(request), "partner")
        accepts(request, JSON)
        content_type(request, NOTICE_TYPE)
        raw = await read_body(request, envelope.MAX_BYTES)
        if b"~" not in raw:
            raise Problem("malformed", "an SD-JWT has at least one ~; acknowledgements go to /v1/deliveries/acks")
        taken = await self._intake.take(raw, principal.name, traceparent=request.headers.get("traceparent"))
        digest = strict.b64(taken.digest)
        body = {
            "iss": principal.name,
            "jti": taken.jti,
            "digest": digest,
            "receipt": self._receipt(principal.name, taken, digest),
        }
        location = f"{PATH}/{principal.name}/{taken.jti}"
        return Response(strict.dumps(body), 202, {"Location": location}, media_type=JSON)

    def _receipt(self, agency: str, taken: Taken, digest: str) -> str:
        """The hub's signed word that the notice is durable. Ed25519 is deterministic: the same bytes, the same
        receipt.
        """
        said = {"iss": self._origin, "sub": agency, "jti": taken.jti, "digest": digest, "iat": taken.at // 1000}
        return jws.sign_compact(said, typ=RECEIPT_TYP, kid=HUB_KID, key=self._key).decode()

    async def status(self, request: Request, iss: str, jti: str) -> Response:
        """Sender and auditors see the decision, a recipient its own delivery, everybody else nothing."""
        accepts(request, JSON)
        found = await self._find(iss, jti)
        shown = found and status_for(caller(request), found)
        if shown is None:
            raise not_found()
        return Response(strict.dumps(shown), media_type=JSON)

    async def explain(
        self,
        request: Request,
        iss: str,
        jti: str,
        agency: Annotated[str, Query(description="Why this agency, or why not.")],
    ) -> Response:
        """By the registry and moment of the decision, or as of now while the notice waits."""
        accepts(request, JSON)
        principal = caller(request)
        found = await self._find(iss, jti)
        if found is None or not (principal.role == "auditor" or principal.name == iss):
            raise not_found()
        raw = await self._index.message(found)
        if raw is None or self._index.registry.view().agency(agency, self._clock()) is None:
            raise not_found()
        leaf = found.entry.leaf if found.entry else None
        view = self._index.registry.view(leaf["registry"] if leaf else None)
        at = leaf["at"] if leaf else self._clock()
        shown: dict[str, Any] = {"agency": agency, "registry": view.position, "at": at}
        if found.status == "refused":
            reasons = [Reason(None, None, None, *_refusal(found))]
            shown |= {"granted": None, "reasons": _reasons(reasons)}
        else:
            notice = validate(envelope.read(envelope.split(raw))[0])
            why = explain(notice, view, at, agency, await self._original(notice))
            shown |= {"granted": why.granted and _grant(why.granted), "reasons": _reasons(why.reasons)}
        return Response(strict.dumps(shown), media_type=JSON)

    async def preview(self, request: Request) -> Response:
        """Exactly what the router would decide now; nothing is stored."""
        principal = caller(request, "partner")
        accepts(request, JSON)
        media = content_type(request, NOTICE_TYPE, JSON)
        raw = await read_body(request, envelope.MAX_BYTES)
        view, at = self._index.registry.view(), self._clock()
        notice = self._signed(raw, principal, view, at) if media == NOTICE_TYPE else _unsigned(raw, principal)
        original = await self._original(notice)
        decision = decide(notice, view, at, original)
        receiving = {grant.recipient for grant in decision.grants} | {notice.iss}
        denied = [
            {"agency": agency.id, "reasons": _reasons(explain(notice, view, at, agency.id, original).reasons)}
            for agency in view.agencies(at)
            if agency.id not in receiving
        ]
        shown = {
            "grants": [_grant(grant) for grant in decision.grants],
            "denied": denied,
            "registry": view.position,
            "at": at,
        }
        return Response(strict.dumps(shown), media_type=JSON)

    def _signed(self, raw: bytes, principal: Principal, view: View, at: int) -> Notice:
        if b"~" not in raw:
            raise Problem("malformed", "an SD-JWT has at least one ~")
        outcome = process(raw, owner=principal.name, at=at, view=view, seen=lambda iss, jti: None)
        if isinstance(outcome, Refused):
            raise Problem(outcome.reason, outcome.detail)
        if not isinstance(outcome, Accepted):
            raise TypeError(f"{type(outcome).__name__} of a notice that nobody has seen")
        return outcome.notice

    async def _find(self, iss: str, jti: str) -> NoticeStatus | None:
        """As of now: whoever was just told "accepted" finds it here, at least pending."""
        if self._index.registry.view().agency(iss, self._clock()) is None:
            return None
        await self._index.catch_up(iss)
        return await self._index.notice(iss, jti)

    async def _original(self, notice: Notice) -> Seen | None:
        """What a `cancels` cancels, as the router remembers it."""
        found = await self._index.notice(notice.iss, notice.cancels) if notice.cancels else None
        raw = await self._index.message(found) if found and found.status == "accepted" else None
        if found is None or raw is None or found.entry is None:
            return None
        received = [
            Received(each["recipient"], each["agreement"], each["version"], each["clause"])
            for each in (found.entry.sealed or {}).get("deliveries", ())
        ]
        return Seen(found.digest, envelope.split(raw).payload["exp"], tuple(received))


def status_for(principal: Principal, found: NoticeStatus) -> dict[str, Any] | None:
    """What this caller may know of the notice; None for nothing at all."""
    sealed = (found.entry.sealed if found.entry else None) or {}
    deliveries = [
        {name: value for name, value in each.items() if name != "slot"}
        | {"acknowledged": found.acknowledged.get(each["recipient"])}
        for each in sealed.get("deliveries", ())
    ]
    whole = principal.role == "auditor" or principal.name == found.iss
    if not whole:
        deliveries = [each for each in deliveries if each["recipient"] == principal.name]
        if not deliveries:
            return None
    reason, detail = _refusal(found) if whole and found.status == "refused" else (None, None)
    return {
        "iss": found.iss, "jti": found.jti, "digest": strict.b64(found.digest), "status": found.status,
        "reason": reason, "detail": detail, "ledger": _ledger(found, whole), "deliveries": deliveries,
    }  # fmt: skip


def not_found() -> Problem:
    """The one answer for what does not exist and for what is not the caller's."""
    return Problem("not-found", "there is no such thing, or it is not yours to see")


def _unsigned(raw: bytes, principal: Principal) -> Notice:
    try:
        notice = validate(strict.loads(raw))
    except ValidationError as error:
        raise Problem("schema", explain_error(error)) from None
    if notice.iss != principal.name:
        raise Problem("wrong-sender", f"iss is {notice.iss[:80]}; you are {principal.name}")
    return notice


def _refusal(found: NoticeStatus) -> tuple[str, str]:
    sealed = (found.entry.sealed if found.entry else None) or {}
    return sealed.get("reason", "refused"), sealed.get("detail", "refused when it was posted; the ledger entry follows")


def _ledger(found: NoticeStatus, whole: bool) -> dict[str, Any] | None:
    entry = found.entry
    if entry is None:
        return None
    sealed = entry.sealed_bytes.decode() if whole and entry.sealed_bytes is not None else None
    return {"index": entry.number, "leaf": entry.leaf_bytes.decode(), "sealed": sealed}


def _grant(grant: Grant) -> dict[str, Any]:
    return {
        "recipient": grant.recipient, "agreement": grant.agreement, "version": grant.version,
        "clause": grant.clause, "withheld": list(grant.withheld), "reason": grant.reason,
    }  # fmt: skip


def _reasons(reasons: Iterable[Reason]) -> list[dict[str, Any]]:
    return [
        {"agreement": r.agreement, "version": r.version, "clause": r.clause, "code": r.code, "detail": r.detail}
        for r in reasons
    ]
