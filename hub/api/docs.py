"""The interface's own description: OpenAPI 3.1, AsyncAPI 3, and a page for people, rendered here without scripts or
other hosts.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.responses import Response

from hub.api import models
from hub.api.asyncapi import describe_events
from hub.api.problems import KINDS
from hub.api.tokens import PATH as TOKEN_PATH
from hub.core import strict

SUMMARY = "Signed notices in, clause-bound deliveries and a ledger out."
DESCRIPTION = (
    "Errors are RFC 9457 `application/problem+json` with stable codes. What is not the caller's answers 404, like "
    "something that does not exist. Machines authenticate by OAuth 2.0 client credentials with a signed assertion."
)
PAGE_POLICY = "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
CACHE = "public, max-age=300"


class Docs:
    """Described once, when first asked; the routes do not change while the hub runs."""

    def __init__(self, app: FastAPI, url: str) -> None:
        self._app, self._url = app, url

    def router(self) -> APIRouter:
        router = APIRouter(include_in_schema=False)
        for path, endpoint in (
            ("/openapi.json", self.openapi),
            ("/asyncapi.json", self.asyncapi),
            ("/docs", self.page),
            ("/docs/style.css", self.style),
        ):
            router.add_api_route(path, endpoint, methods=["GET"])
        return router

    async def openapi(self) -> Response:
        return _cached(self._openapi, "application/json")

    async def asyncapi(self) -> Response:
        return _cached(self._asyncapi, "application/json")

    async def page(self) -> Response:
        response = _cached(self._page, "text/html; charset=utf-8")
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        return response

    async def style(self) -> Response:
        return _cached(_templates().get_template("docs.css").render().encode(), "text/css; charset=utf-8")

    @cached_property
    def _openapi(self) -> bytes:
        return strict.dumps(describe(self._app, self._url))

    @cached_property
    def _asyncapi(self) -> bytes:
        return strict.dumps(describe_events(self._app.version))

    @cached_property
    def _page(self) -> bytes:
        template = _templates().get_template("docs.html")
        return template.render(api=describe(self._app, self._url), kinds=KINDS.values()).encode()


def describe(app: FastAPI, url: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of the application at base URL `url`."""
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, description=app.description,
        routes=app.routes, servers=[{"url": url}],
    )  # fmt: skip
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    schemas["Problem"] = models.Problem.model_json_schema()
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    for path in document["paths"].values():
        for operation in path.values():
            _mend(operation)
    flow = {"tokenUrl": url + TOKEN_PATH, "scopes": {}}
    document["components"]["securitySchemes"] = {
        "hub": {
            "type": "oauth2",
            "description": "Client credentials with private_key_jwt (RFC 7523), signed by a key of the registry.",
            "flows": {"clientCredentials": flow},
        }
    }
    return document


def _mend(operation: dict[str, Any]) -> None:
    """What FastAPI supposes and we do otherwise: invalid parameters answer 400, not 422."""
    supposed = operation["responses"].get("422", {}).get("content", {}).get("application/json", {}).get("schema", {})
    if supposed.get("$ref", "").endswith("/HTTPValidationError"):
        operation["responses"].pop("422")
    operation["description"] = operation.get("description", "").partition("\n\nArgs")[0]


def _cached(body: bytes, media_type: str) -> Response:
    return Response(body, headers={"Cache-Control": CACHE}, media_type=media_type)


def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("hub.api", "pages"), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
