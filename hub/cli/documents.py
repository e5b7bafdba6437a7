"""Statements as files: reading one before it is signed or handed in, and handing it in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connectors import statements
from hub.cli.options import client
from hub.cli.output import read_bytes
from hub.core import strict
from hub.core.statements import MAX_BYTES


def read_document(source: str) -> dict[str, Any]:
    """A statement document from a file or `-`; InvalidStatement says what is wrong with it."""
    content = read_bytes(source)
    statements.read(content)
    document: dict[str, Any] = strict.loads(content, max_bytes=MAX_BYTES)
    return document


async def hand_in(document: dict[str, Any], hub: str, key: Path | None) -> dict[str, Any]:
    """Give a signed statement to the hub and wait for its judgement: the registry event."""
    async with client(hub, key) as asked:
        return await asked.statement(document)
