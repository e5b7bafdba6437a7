"""`comity topics`: what a Kafka cluster has for the hub and its agencies."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from connectors.errors import AuthenticationFailed
from hub.cli.faults import UsageFault
from hub.cli.options import Output
from hub.cli.output import Format, clean, console, say, write_json, write_line
from hub.core.address import AddressError, KafkaAddress
from hub.core.errors import ComityError

if TYPE_CHECKING:
    from hub.access.keeping import Pass, Task

app = typer.Typer(name="topics", help="Topics, users and access lists on Kafka.", no_args_is_help=True)
COLOURS = {"+": "green", "~": "yellow", "-": "red"}


@app.callback()
def topics() -> None:
    """Topics, users and access lists on Kafka."""


@app.command()
def apply(
    kafka: Annotated[
        str | None,
        typer.Option("--kafka", envvar="COMITY_KAFKA", metavar="ADDRESS", help="The cluster, as its administrator."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be changed.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Go on, and follow the registry until stopped.")] = False,
    secrets: Annotated[
        Path | None,
        typer.Option("--secrets", metavar="DIR", help="Make users; their passwords go to DIR/USER.password."),
    ] = None,
    rotate: Annotated[
        str | None, typer.Option("--rotate", metavar="AGENCY", help="Give it a new password, with --secrets.")
    ] = None,
    replication: Annotated[
        int, typer.Option("--replication", envvar="COMITY_REPLICATION", min=1, max=32, help="Copies of a new topic.")
    ] = 1,
    shards: Annotated[
        int, typer.Option("--shards", envvar="COMITY_SHARDS", min=1, max=256, help="Number of routers.")
    ] = 1,
    hub_user: Annotated[
        str, typer.Option("--hub-user", metavar="USER", help="Whom the hub's own processes are on the cluster.")
    ] = "hub",
    output: Output = Format.text,
) -> None:
    """Make topics, settings, users and access lists of a Kafka cluster what the registry says they must be.

    Who has a key that is good now has access to its own two topics; who has none loses it. Run again, it changes nothing.
    """
    if kafka is None:
        raise UsageFault("no cluster: name it with --kafka, or in COMITY_KAFKA")
    if rotate is not None and secrets is None:
        raise UsageFault("--rotate makes a new password, and --secrets DIR says where it is to be kept: give both")
    if dry_run and watch:
        raise UsageFault("--dry-run changes nothing and --watch goes on changing: give one of them")
    try:
        address = KafkaAddress.parse(kafka)
    except AddressError as error:
        raise UsageFault(f"--kafka: {error}") from None
    # The client libraries and the log on Kafka take a moment to import.
    from hub.access.cluster import Denied
    from hub.access.keeping import Task
    from hub.access.plan import Settings
    from hub.clock import Clock
    from hub.log.kafka import KafkaLog

    logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # what goes wrong is told by us, once
    keeper = None if address.user is None else f"User:{address.user}"
    settings = Settings(replication, shards, hub_user, keeper)
    task = Task(address, lambda: KafkaLog.open(address), settings, Clock(), secrets, rotate)
    try:
        asyncio.run(_watch(task, output) if watch else _once(task, output, dry_run=dry_run))
    except Denied as error:
        raise AuthenticationFailed(str(error)) from None


async def _once(task: Task, output: Format, *, dry_run: bool) -> None:
    from hub.access.keeping import keep_once

    one = await keep_once(task, dry_run=dry_run)
    if output is Format.json:
        write_json({"dry_run": dry_run, **_document(one)})
    else:
        _show(one, one.difference.notes, stderr=False)
        if not one.difference.changes:
            say("nothing to change", "dim")
    _complain(one)


async def _watch(task: Task, output: Format) -> None:
    """Until SIGTERM or Ctrl-C; nothing is half done then that the next pass would not make good."""
    from hub.access.keeping import keep

    told: set[str] = set()

    def tell(one: Pass) -> None:
        fresh = [text for text in (*one.difference.notes, *one.difference.faults) if text not in told]
        told.update(fresh)
        if output is Format.json and (one.difference.changes or fresh):
            write_line(_document(one))
        _show(one, fresh, stderr=True)

    def trouble(error: Exception, pause: float) -> None:
        say(f"{error}; trying again in {pause:g} s", "yellow")

    loop, me = asyncio.get_running_loop(), asyncio.current_task()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, me.cancel if me else loop.stop)
    with contextlib.suppress(asyncio.CancelledError):
        await keep(task, tell, trouble)


def _show(one: Pass, notes: Iterable[str], *, stderr: bool) -> None:
    """A line for each change, and why it was not made; notes on stderr."""
    screen = console(stderr=stderr)
    for change, fault in one.told:
        line = Text(clean(f"{change.sign} {change}"), style=COLOURS[change.sign])
        if fault is not None:
            line.append(clean(f"  not done: {fault}"), style="bold red")
        screen.print(line, soft_wrap=True)
    for note in notes:
        say(f"note: {note}", "yellow")


def _document(one: Pass) -> dict[str, Any]:
    changes = [
        {"sign": change.sign, "change": type(change).__name__, "text": str(change), **asdict(change), "error": fault}
        for change, fault in one.told
    ]
    return {"changes": changes, "notes": list(one.difference.notes), "faults": list(one.difference.faults)}


def _complain(one: Pass) -> None:
    """What must not pass for success."""
    if one.failed:
        change, reason = one.failed[0]
        text = f"{len(one.failed)} of {len(one.made)} changes were not made: {change}: {reason}"
        raise (AuthenticationFailed if "Authorization" in str(reason) else ComityError)(text)
    if one.difference.faults:
        raise ComityError("; ".join(one.difference.faults))
