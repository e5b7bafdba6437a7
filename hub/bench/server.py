"""The server under load, in a process of its own: python -m hub.bench.server DIRECTORY; prints its address when ready.

The whole hub as `comity up` runs it, with the partners of the benchmark in its registry, and beside the product's
routes one that does nothing: what any route costs in this server.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import Response

from hub.api.app import create_app
from hub.api.serve import run, serve
from hub.app import Hub
from hub.bench import partners
from hub.bench.serving import EMPTY
from hub.config import Settings
from hub.index import REQUESTS
from hub.log import Record
from hub.registry import OPERATOR_KID
from hub.telemetry import set_up_logging


async def main(directory: str) -> None:
    operator = partners.key_of(OPERATOR_KID).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    settings = Settings(data_dir=Path(directory), port=0, operator_key=SecretStr(operator))
    set_up_logging("warning")
    async with Hub.open(settings) as hub:
        await _register(hub)
        await serve(hub, settings, make=with_empty, ready=lambda url: print(url, flush=True))  # noqa: T201


def with_empty(hub: Hub, url: str) -> FastAPI:
    """The application with the endpoint that reads a body and answers with none."""
    app = create_app(hub, url)

    async def empty(request: Request) -> Response:
        await request.body()
        return Response(status_code=202)

    app.add_api_route(EMPTY, empty, methods=["POST"], include_in_schema=False)
    return app


async def _register(hub: Hub) -> None:
    documents = partners.registration()
    known = hub.index.registry.position
    for document in documents:
        await hub.log.append(REQUESTS, Record(document))
    async with asyncio.timeout(30):
        while hub.index.registry.position < known + len(documents):
            await asyncio.sleep(0.02)
            await hub.index.catch_up()


if __name__ == "__main__":
    run(main(sys.argv[1]))
