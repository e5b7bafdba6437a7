"""Commands on the log of a hub, whichever it is: the number of shards, moving to Kafka, passing over lost records."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated

import typer

from hub.app import open_log
from hub.cli import topics
from hub.cli.options import Output, existing
from hub.cli.output import Format, console, progress, say, write_facts, write_json
from hub.config import Settings
from hub.datadir import DataDir
from hub.layout import MOST, change, current
from hub.log import Log
from hub.migration import Moved, migrate, skip

shards_app = typer.Typer(name="shards", help="Router shards: how many there are.", no_args_is_help=True)

Kafka = Annotated[
    str | None,
    typer.Option(
        "--kafka", envvar="COMITY_KAFKA", metavar="ADDRESS", help="The cluster, kafka://HOST:PORT; else --dir."
    ),
]
Directory = Annotated[Path, typer.Option("--dir", help="Data directory of a hub on one machine, not running.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(shards_app)
    app.command(name="migrate")(move)
    topics.app.command(name="skip")(skip_lost)


@shards_app.command()
def show(kafka: Kafka = None, directory: Directory = Path("data"), output: Output = Format.text) -> None:
    """How many router shards the hub has."""

    async def ask() -> int | None:
        async with opened(kafka, directory) as log:
            return await current(log)

    count = asyncio.run(ask())
    write_json({"shards": count}) if output is Format.json else write_facts({"shards": count})


@shards_app.command(name="set")
def set_(
    count: Annotated[int, typer.Argument(min=1, max=MOST, help="How many there shall be.")],
    kafka: Kafka = None,
    directory: Directory = Path("data"),
    output: Output = Format.text,
) -> None:
    """Change the number of router shards. On Kafka routers may run: they stop for a moment and take up the new shards.

    If it is interrupted, no router works until you give the command again; nothing is lost.
    """

    async def do() -> int:
        async with opened(kafka, directory) as log:
            return await change(log, count)

    before = asyncio.run(do())
    if output is Format.json:
        write_json({"before": before, "shards": count})
    else:
        console().print(f"{count} router shards; there were {before}")


def skip_lost(
    topic: Annotated[str, typer.Argument(help="A topic of notices whose next records were deleted unread.")],
    kafka: Kafka = None,
    directory: Directory = Path("data"),
    output: Output = Format.text,
) -> None:
    """Let routing go on behind records that retention deleted before they were routed. They are lost; see the runbook."""

    async def do() -> tuple[int, int]:
        async with opened(kafka, directory) as log:
            return await skip(log, topic)

    first, last = asyncio.run(do())
    if output is Format.json:
        write_json({"topic": topic, "first": first, "last": last})
    else:
        say(f"{topic}: {first} to {last} are passed over; their senders can publish them again", "yellow")


def move(
    kafka: Annotated[str, typer.Option("--kafka", envvar="COMITY_KAFKA", metavar="ADDRESS", help="Where to.")],
    directory: Directory = Path("data"),
    replication: Annotated[int, typer.Option(min=1, help="Copies of each topic.", envvar="COMITY_REPLICATION")] = 1,
    output: Output = Format.text,
) -> None:
    """Copy everything of a hub on one machine to a Kafka cluster: notices, deliveries, ledger, proofs, memory.

    The hub must not be running. If it is interrupted, give the command again: it goes on where it stopped. Afterwards the
    data directory no longer starts as a hub; its keys go on in COMITY_HUB_KEY_FILE and COMITY_OPERATOR_KEY_FILE.
    """
    place = existing(directory)
    settings = Settings.read(kafka=kafka, data_dir=place, replication=replication)

    async def do() -> Moved:
        with progress() as bar:
            task = bar.add_task("moving", total=None)
            return await migrate(settings, lambda done, total: bar.update(task, completed=done, total=total))

    moved = asyncio.run(do())
    if output is Format.json:
        write_json({"topics": moved.topics, "records": moved.records, "copied": moved.copied, "ledger": moved.ledger})
    else:
        console().print(
            f"{moved.records} records of {moved.topics} topics are on the cluster ({moved.copied} copied now); "
            f"the ledger has {moved.ledger} entries"
        )
        say("next: start the hub's processes on the cluster, then `comity audit verify --kafka …`", "dim")


@contextlib.asynccontextmanager
async def opened(kafka: str | None, directory: Path) -> AsyncIterator[Log]:
    """The log on the cluster, or in the directory, which is held while we work on it."""
    with contextlib.ExitStack() as stack:
        if kafka is None:
            place = existing(directory)
            held = DataDir(place)
            held.lock()
            stack.callback(held.unlock)
            settings = Settings.read(data_dir=place, kafka=None)
            settings = settings.model_copy(update={"kafka": None})
        else:
            settings = Settings.read(kafka=kafka)
            held = DataDir(settings.data_dir)
        log = await open_log(settings, held)
        try:
            yield log
        finally:
            await log.close()
