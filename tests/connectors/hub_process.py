"""A real hub in its own process: python -m tests.connectors.hub_process DIRECTORY [PORT], prints READY and its address."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from hub.api.serve import serve
from hub.app import Hub
from hub.config import Settings
from hub.telemetry import set_up_logging


async def main(directory: str, port: str = "0") -> None:
    set_up_logging()  # to stderr: stdout says READY only
    settings = Settings(data_dir=Path(directory), port=int(port), checkpoint_interval_ms=20)
    async with Hub.open(settings) as hub:
        await serve(hub, settings, ready=lambda url: print("READY", url, flush=True))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
