"""For those who run the hub: liveness, readiness, metrics, version. No token, and nothing about anyone's traffic."""

from __future__ import annotations

import asyncio
from importlib.metadata import version

from fastapi import APIRouter
from starlette.responses import Response

from hub.api import spec
from hub.app import Hub
from hub.core import strict

JSON = "application/json"


class Operations:
    def __init__(self, hub: Hub, drain: asyncio.Event) -> None:
        self._hub, self._drain = hub, drain
        self._version = version("comity")

    def router(self) -> APIRouter:
        router = APIRouter(tags=["operations"])
        router.add_api_route("/livez", self.live, methods=["GET"], **spec.LIVE)
        router.add_api_route("/readyz", self.ready, methods=["GET"], **spec.READY)
        router.add_api_route("/metrics", self.metrics, methods=["GET"], **spec.METRICS)
        router.add_api_route("/version", self.what_runs, methods=["GET"], **spec.VERSION)
        return router

    async def live(self) -> Response:
        """The event loop turns."""
        return Response(b'{"status":"ok"}', media_type=JSON)

    async def ready(self) -> Response:
        """503 as soon as the hub drains or one of its parts is down, so that balancers send nothing new."""
        health = await self._hub.health()
        draining = self._drain.is_set() or self._hub.draining
        status = "draining" if draining else "ready" if health.ready else "not-ready"
        parts = {name: part.state for name, part in health.parts.items()}
        return Response(
            strict.dumps({"status": status, "parts": parts}), 200 if status == "ready" else 503, media_type=JSON
        )

    async def metrics(self) -> Response:
        return Response(await self._hub.exposition(), media_type="text/plain; version=0.0.4")

    async def what_runs(self) -> Response:
        return Response(
            strict.dumps({"name": "comity", "version": self._version, "origin": self._hub.origin}), media_type=JSON
        )
