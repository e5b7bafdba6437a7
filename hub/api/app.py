"""The application: routes over a running hub, and what holds for all of them.

Built by `create_app` only; nothing here is global, two hubs in one process have two applications.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hub.api import docs
from hub.api.auth import Access
from hub.api.deliveries import Deliveries
from hub.api.door import Door
from hub.api.edge import Edge, to_problem
from hub.api.express import Express
from hub.api.intake import Intake
from hub.api.ledger import Ledger
from hub.api.limits import Buckets, Waiting
from hub.api.notices import PATH as NOTICES_PATH
from hub.api.notices import Notices
from hub.api.operations import Operations
from hub.api.problems import Problem
from hub.api.registry import RegistryRoutes
from hub.api.replay import SharedAssertions, Used, UsedAssertions
from hub.api.tokens import PATH as TOKEN_PATH
from hub.api.tokens import Tokens
from hub.app import Hub
from hub.core.errors import LogError, Refusal

HUB_KID = "hub"
TOKENS_PER_SECOND, TOKEN_BURST = 50.0, 500  # token requests of one network address
WAITING_PER_CLIENT = 64


def create_app(hub: Hub, url: str | None = None) -> FastAPI:
    """The HTTP interface of `hub`, which must stay open as long as the application serves. `url`: its base URL, if
    not the one of the settings (port 0).

    `app.state.drain` is an asyncio.Event: once it is set, the hub says that it is not ready, and streams and long
    polls end.
    """
    settings, index = hub.settings, hub.index
    url = url or settings.url
    drain = asyncio.Event()
    used: Used = SharedAssertions(hub.log) if hub.shared else UsedAssertions(hub.directory.path / "assertions.db")
    access = Access(
        view=lambda: index.registry.view(), clock=hub.clock, key=hub.hub_key, kid=HUB_KID, issuer=hub.origin,
        audiences=frozenset({hub.origin, url, url + TOKEN_PATH}), used=used,
    )  # fmt: skip
    door = Door(access, Buckets(settings.rate.posts_per_second, settings.rate.burst))
    waiting = Waiting(WAITING_PER_CLIENT)
    intake = Intake(log=hub.log, index=index, clock=hub.clock, max_pending=settings.max_pending, shared=hub.shared)
    notices = Notices(index=index, door=door, intake=intake, clock=hub.clock, key=hub.hub_key, origin=hub.origin)
    parts = (
        Tokens(access=access, buckets=Buckets(TOKENS_PER_SECOND, TOKEN_BURST)),
        notices,
        Deliveries(log=hub.log, door=door, intake=intake, waiting=waiting, drain=drain, max_body=settings.max_body),
        RegistryRoutes(
            log=hub.log,
            index=index,
            door=door,
            waiting=waiting,
            drain=drain,
            clock=hub.clock,
            max_body=settings.max_body,
        ),
        Ledger(log=hub.log, index=index, door=door, clock=hub.clock),
        Operations(hub, drain),
    )
    app = FastAPI(
        title="Comity", version=version("comity"), summary=docs.SUMMARY, description=docs.DESCRIPTION,
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )  # fmt: skip
    app.state.drain = drain
    app.state.close = used.close
    for part in parts:
        app.include_router(part.router())
    app.include_router(docs.Docs(app, url).router())
    for kind in (Problem, Refusal, LogError, HTTPException):
        app.add_exception_handler(kind, _answer)
    app.add_exception_handler(RequestValidationError, _answer_invalid)
    app.add_middleware(Express, routes=[Route(NOTICES_PATH, notices.post, methods=["POST"])])
    app.add_middleware(
        Edge, requests=hub.metrics.requests, times=hub.metrics.request_time, secure=url.startswith("https:")
    )
    return app


def create_operations(hub: Hub, url: str) -> FastAPI:
    """What a process without the API serves: liveness, readiness, metrics, version."""
    drain = asyncio.Event()
    app = FastAPI(
        docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )  # fmt: skip
    app.state.drain = drain
    app.state.close = lambda: None
    app.include_router(Operations(hub, drain).router())
    for kind in (Problem, HTTPException):
        app.add_exception_handler(kind, _answer)
    app.add_middleware(
        Edge, requests=hub.metrics.requests, times=hub.metrics.request_time, secure=url.startswith("https:")
    )
    return app


async def _answer(request: Request, error: Exception) -> Response:
    response = to_problem(error).response()
    if isinstance(error, HTTPException) and error.headers:
        response.headers.update(error.headers)  # Allow, with a 405
    return response


async def _answer_invalid(request: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    faults = [f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}" for each in found]
    return Problem("bad-request", "; ".join(faults)).response()
