"""`comity api|router|registry|notary`: one process of a hub on Kafka; any number of each, on any number of machines."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any

import typer

from hub.cli.faults import UsageFault
from hub.cli.options import Output
from hub.cli.output import Format, console, write_facts, write_line
from hub.config import Settings
from hub.telemetry import set_up_logging

Directory = Annotated[
    Path | None,
    typer.Option("--dir", help="Data directory of this process alone: its index, and keys if there are any."),
]
Host = Annotated[str | None, typer.Option(help="Address to listen on.")]
Port = Annotated[int | None, typer.Option(help="Port to listen on; 0: any free one.")]


def add_to(app: typer.Typer) -> None:
    for command in (api, router, registry, notary):
        app.command()(command)


def api(directory: Directory = None, host: Host = None, port: Port = None, output: Output = Format.text) -> None:
    """Serve the HTTP interface of a hub on Kafka. Needs COMITY_KAFKA and the hub's key.

    Keeps an index in its data directory, made anew from the log when it is not there. Any number may run.
    """
    run("api", (), directory, host, port, output)


def router(directory: Directory = None, host: Host = None, port: Port = None, output: Output = Format.text) -> None:
    """Route notices of a hub on Kafka: a share of the shards, more when other routers die. Needs COMITY_KAFKA, no key.

    Serves /livez, /readyz and /metrics.
    """
    run("router", ("router",), directory, host, port, output)


def registry(directory: Directory = None, host: Host = None, port: Port = None, output: Output = Format.text) -> None:
    """Judge statements of a hub on Kafka; founds it. Needs COMITY_KAFKA and the hub's key, for founding the operator's too.

    One works at a time, others stand by.
    """
    run("registry", ("registry",), directory, host, port, output)


def notary(directory: Directory = None, host: Host = None, port: Port = None, output: Output = Format.text) -> None:
    """Sign checkpoints of a hub on Kafka. Needs COMITY_KAFKA and the hub's key.

    One works at a time, others stand by.
    """
    run("notary", ("notary",), directory, host, port, output)


def run(
    name: str, parts: Collection[str], directory: Path | None, host: str | None, port: int | None, output: Format
) -> None:
    given: dict[str, Any] = {"data_dir": directory, "host": host, "port": port}
    settings = Settings.read(**{key: value for key, value in given.items() if value is not None})
    if settings.kafka is None:
        raise UsageFault(
            f"`comity {name}` is one process of a hub on Kafka: name the cluster in COMITY_KAFKA, such as "
            "kafka://127.0.0.1:9092. On one machine without Kafka, `comity up` does everything"
        )
    set_up_logging(settings.log.level, settings.log.format)
    from hub.api.serve import run as run_loop  # a web server takes a moment to import

    run_loop(_serve(name, settings, parts, output))


async def _serve(name: str, settings: Settings, parts: Collection[str], output: Format) -> None:
    from hub.api.app import create_app, create_operations
    from hub.api.serve import serve
    from hub.app import Hub

    async with Hub.open(settings, parts, index=not parts) as hub:

        def announce(url: str) -> None:
            facts = {"process": name, "serves": url, "ledger": hub.origin, "log": str(settings.kafka).partition("?")[0]}
            if output is Format.json:
                write_line(facts)
            else:
                console().print(f"Comity {name} is running", style="bold")
                write_facts(facts)

        await serve(hub, settings, make=create_operations if parts else create_app, ready=announce)
