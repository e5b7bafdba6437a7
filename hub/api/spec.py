"""What the interface's description says of each route, kept apart so that the routes stay readable."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from hub.api import models
from hub.api.problems import KINDS, MEDIA_TYPE

JSON = "application/json"
_TEXT: dict[str, Any] = {"schema": {"type": "string"}}
_AUTHENTICATED = (
    "bad-request",
    "unauthorized",
    "forbidden",
    "not-acceptable",
    "rate-limited",
    "internal",
    "unavailable",
)
_SIGNED = (
    "too-large",
    "unsupported-media-type",
    "malformed",
    "schema",
    "wrong-sender",
    "equivocation",
    "busy",
    "draining",
)

RETRY_AFTER = {"Retry-After": {"description": "Seconds to wait.", "schema": {"type": "integer"}}}
CHALLENGE = {"WWW-Authenticate": {"description": "Bearer", "schema": {"type": "string"}}}


def problems(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The responses for these problems, joined by status."""
    responses: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = KINDS[code]
        response = responses.setdefault(
            kind.status,
            {"description": "", "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}},
        )
        response["description"] += f"{' · ' if response['description'] else ''}`{code}`: {kind.meaning}"
        if kind.status in (409, 429, 503):
            response["headers"] = RETRY_AFTER if kind.status != 409 else {}
        if kind.status == 401:
            response["headers"] = CHALLENGE
    return responses


def route(
    summary: str, ok: dict[int, Any], *codes: str, body: dict[str, Any] | None = None, public: bool = False
) -> dict[str, Any]:
    """Arguments of `add_api_route`. `ok`: model, or a response object, by status; `body`: schema by media type."""
    responses: dict[int | str, dict[str, Any]] = {}
    for status, shape in ok.items():
        responses[status] = shape if isinstance(shape, dict) else {"model": shape, "description": _first_line(shape)}
    responses |= problems(*(codes if public else (*_AUTHENTICATED, *codes)))
    extra: dict[str, Any] = {} if public else {"security": [{"hub": []}]}
    if body is not None:
        content = {media: (shape if isinstance(shape, dict) else {"schema": shape}) for media, shape in body.items()}
        extra["requestBody"] = {"required": True, "content": content}
    # The routes build their own responses; this keeps FastAPI from describing one of its own.
    status = min(ok)
    return {
        "summary": summary, "responses": responses, "openapi_extra": extra, "status_code": status,
        "response_class": Response, "response_model": None,
    }  # fmt: skip


def _first_line(model: type[models.Answer]) -> str:
    return (model.__doc__ or model.__name__).strip().splitlines()[0]


_SD_JWT = {"application/sd-jwt": {"schema": {"type": "string", "pattern": r"^[A-Za-z0-9_.-]+~([A-Za-z0-9_-]+~)*$"}}}
_JWS = {"schema": {"type": "string", "pattern": r"^[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+$"}}
_GENERAL = {
    "schema": {
        "type": "object",
        "required": ["payload", "signatures"],
        "additionalProperties": False,
        "properties": {
            "payload": {"type": "string"},
            "signatures": {
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "required": ["protected", "signature"],
                    "additionalProperties": False,
                    "properties": {"protected": {"type": "string"}, "signature": {"type": "string"}},
                },
            },
        },
    }
}
_TOKEN_FORM = {
    "schema": {
        "type": "object",
        "required": ["grant_type", "client_assertion_type", "client_assertion"],
        "properties": {
            "grant_type": {"const": "client_credentials"},
            "client_assertion_type": {"const": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"},
            "client_assertion": {"type": "string", "description": "JWT signed with the client's key (RFC 7523)."},
        },
    }
}
_LOCATION = {"Location": {"description": "Where its status is.", "schema": {"type": "string"}}}


def _json(model: type[models.Answer], **more: Any) -> dict[str, Any]:
    return {"model": model, "description": _first_line(model), **more}


TOKEN = route(
    "Access token for a client assertion",
    {200: models.Token},
    "invalid_request", "unsupported_grant_type", "invalid_client", "too-large", "unsupported-media-type",
    "rate-limited", "internal", body={"application/x-www-form-urlencoded": _TOKEN_FORM}, public=True,
)  # fmt: skip
POST_NOTICE = route(
    "Publish a signed notice",
    {202: _json(models.Accepted, headers=_LOCATION)},
    *_SIGNED, "header", "disclosure", "signature", "unknown-key", "expired", body=_SD_JWT,
)  # fmt: skip
NOTICE = route("What became of a notice", {200: models.NoticeStatus}, "not-found")
EXPLAIN = route("Why an agency receives a notice, or why not", {200: models.Explanation}, "not-found")
PREVIEW = route(
    "Who would receive a notice, under which clause, without which fields",
    {200: models.Preview},
    *_SIGNED[:5], "header", "disclosure", "signature", "equivocation",
    body=_SD_JWT | {JSON: {"schema": {"type": "object", "description": "The claims of a notice, unsigned."}}},
)  # fmt: skip
DELIVERIES = route(
    "The caller's deliveries: a page, or a stream of server-sent events",
    {200: _json(models.DeliveryPage, content={"text/event-stream": _TEXT})},
)
ACKNOWLEDGE = route(
    "Acknowledge that deliveries are stored",
    {202: models.Acknowledged},
    *_SIGNED,
    "header",
    body={"application/jwt": _JWS},
)
AGENCIES = route("Agencies and their keys", {200: models.Agencies})
AGREEMENTS = route("The caller's agreements, every version", {200: models.Agreements})
AGREEMENT = route("The versions of one agreement", {200: models.Agreements}, "not-found")
POST_STATEMENT = route(
    "Submit a signed registry statement",
    {201: models.RegistryEvent, 202: _json(models.StatementStatus, headers=_LOCATION)},
    "too-large", "unsupported-media-type", "malformed", "header", "schema", "missing-signature", "draining", "busy",
    body={"application/jose+json": _GENERAL},
)  # fmt: skip
STATEMENT = route("What became of a registry statement", {200: models.StatementStatus}, "not-found")
CHECKPOINT = route(
    "The newest signed checkpoint",
    {200: {"description": "A C2SP signed note.", "content": {"text/plain": _TEXT}}}, "not-found",
)  # fmt: skip
PROOF = route("Proof that the ledger holds a notice", {200: models.Proof}, "not-found", "not-yet-covered")
ENTRIES = route("Ledger entries; the reading is itself logged", {200: models.EntryPage})
LIVE = route("Whether the process runs", {200: models.Alive}, public=True)
READY = route("Whether the hub takes requests", {200: models.Ready, 503: models.Ready}, public=True)
METRICS = route(
    "Prometheus metrics", {200: {"description": "Text format.", "content": {"text/plain": _TEXT}}}, public=True
)
VERSION = route("What runs here", {200: models.Version}, public=True)
