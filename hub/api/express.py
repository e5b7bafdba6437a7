"""The way around the framework's router, for the routes that most requests are for.

The framework looks for the route among all, builds a context for dependencies, and wraps the endpoint three times; a
route that needs none of it is answered here, inside the same outermost layer. It stays declared to the framework, which
describes it in the interface's document and answers every other method of its path.
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from hub.api.edge import to_problem
from hub.api.problems import Problem
from hub.core.errors import LogError, Refusal


class Express:
    """ASGI middleware: answers exactly `POST <path>` of `routes`, whose endpoints take a request and nothing else."""

    def __init__(self, app: ASGIApp, *, routes: Iterable[Route]) -> None:
        self._app = app
        self._routes = {route.path: route for route in routes}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get(scope["path"]) if scope["type"] == "http" and scope["method"] == "POST" else None
        if route is None:
            return await self._app(scope, receive, send)
        scope["route"] = route  # measured under the name of its path
        try:
            response = await route.endpoint(Request(scope, receive))
        except (Problem, Refusal, LogError, HTTPException) as error:
            response = to_problem(error).response()
        await response(scope, receive, send)
        return None
