"""A partner that dies at a chosen place: python -m tests.connectors.partner_process ROLE PLACE URL KEY DIRECTORY VKEY.

ROLE: publish or inbox. URL: of a hub, or a Kafka cluster. PLACE: where it sends itself SIGKILL, or `never`. What it does is what any partner would do.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from connectors import Client, Inbox, PartnerKey
from connectors.kafka import KafkaClient
from connectors.partner import Partner
from tests.connectors.partners import cyber

COUNT = 200


def die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def dying(call: Any, *, before: bool) -> Any:
    """The call, with death before it or right after it returned."""

    async def wrapped(*args: Any, **named: Any) -> Any:
        if before:
            die()
        result = await call(*args, **named)
        die()
        return result

    return wrapped


async def publish(client: Partner, place: str) -> None:
    journal, publisher = client.journal, client._publisher
    assert journal
    match place:
        case "journaled":
            publisher._send = dying(publisher._send, before=True)
        case "posted":
            publisher._send = dying(publisher._send, before=False)
        case "marked":
            journal.accept = dying(journal.accept, before=False)  # type: ignore[method-assign]
        case "many":
            print("BEGIN", flush=True)
            async for _ in client.publish_many(cyber(client, f"s{n}") for n in range(COUNT)):
                print("DONE", flush=True)
            return
    await client.publish(cyber(client))


async def receive(client: Partner, directory: Path, place: str) -> None:
    async with Inbox.open(directory) as inbox:
        match place:
            case "fetched":
                inbox._store_page = dying(inbox._store_page, before=True)  # type: ignore[method-assign]
            case "stored":
                inbox._store_page = dying(inbox._store_page, before=False)  # type: ignore[method-assign]
            case "acknowledged":
                receiver = client.receiver
                receiver.acknowledge = dying(receiver.acknowledge, before=False)  # type: ignore[method-assign]
            case "many":
                print("BEGIN", flush=True)
        await inbox.run(client)


async def main(role: str, place: str, url: str, key: str, directory: str, vkey: str) -> None:
    path = Path(directory)
    journal = path if role == "publish" else None
    mine = PartnerKey.load(key)
    made: Partner = (
        KafkaClient(url, mine, journal=journal, patience=20)
        if url.startswith("kafka")
        else Client(url, mine, journal=journal, vkey=vkey, patience=20)
    )
    async with made as client:
        await (publish(client, place) if role == "publish" else receive(client, path, place))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
