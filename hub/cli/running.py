"""`comity demo`, `comity up`, `comity bench`: what runs a hub in this process."""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from hub.cli.faults import FAILED
from hub.cli.options import DEFAULT_HUB, Output
from hub.cli.output import Format, console, say, write_facts, write_json, write_line
from hub.config import Settings
from hub.telemetry import set_up_logging

DEMO_WIDTH = 100


def add_to(app: typer.Typer) -> None:
    app.command()(demo)
    app.command()(up)
    app.command()(bench)


def demo(
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Leave keys, notices, deliveries and ledger here; else in a new one.")
    ] = None,
    kafka: Annotated[
        str | None,
        typer.Option("--kafka", metavar="ADDRESS", help="Play it on an empty Kafka cluster, kafka://HOST:PORT."),
    ] = None,
    output: Output = Format.text,
) -> None:
    """The main job on realistic input: sign, post, route, deliver, acknowledge, prove, audit.

    Exit code 0 only if everything went as it must. With -o json the play is on stderr, the result on stdout.
    """
    from hub.demo import run  # a hub and its web server take a moment to import

    set_up_logging("error")
    place = directory or Path(tempfile.mkdtemp(prefix="comity-demo-"))
    screen = console(stderr=output is Format.json)
    stage = Console(file=screen.file, width=min(screen.width, DEMO_WIDTH), highlight=False)
    result = asyncio.run(run(place, stage, kafka))
    if output is Format.json:
        write_json(result.summary())
    if not result.good:
        raise typer.Exit(FAILED)


def up(
    directory: Annotated[Path | None, typer.Option("--dir", help="Data directory; made on first use.")] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0: any free one.")] = None,
    output: Output = Format.text,
) -> None:
    """Run a hub and keep serving until SIGTERM or Ctrl-C.

    Settings come from COMITY_* variables; these options go before them. See docs/guides/operator.md.
    """
    given: dict[str, Any] = {"data_dir": directory, "host": host, "port": port}
    settings = Settings.read(**{name: value for name, value in given.items() if value is not None})
    set_up_logging(settings.log.level, settings.log.format)
    from hub.api.serve import run  # a web server takes a moment to import

    run(_serve(settings, output))


async def _serve(settings: Settings, output: Format) -> None:
    from hub.api.serve import serve
    from hub.app import Hub

    async with Hub.open(settings) as hub:

        def announce(url: str) -> None:
            facts = {
                "hub": url, "documentation": f"{url}/docs", "ledger": hub.origin,
                "data": str(settings.data_dir.resolve()), "verifier": str(settings.data_dir.resolve() / "hub.vkey"),
            }  # fmt: skip
            if output is Format.json:
                write_line(facts)
            else:
                _welcome(facts, url, settings.data_dir)

        await serve(hub, settings, ready=announce)


def _welcome(facts: dict[str, str], url: str, directory: Path) -> None:
    me = "comity" if shutil.which("comity") else sys.argv[0]
    at = "" if url == DEFAULT_HUB else f" --hub {url}"
    operator = directory / "keys" / "operator.pem"
    screen = console()
    screen.print("Comity is serving", style="bold")
    write_facts(facts)
    screen.print("\nTry, in another terminal:", style="bold")
    for command in (
        f"{me} key new at-cert",
        f'{me} agency enroll --agency-key at-cert.key.json --name "Computer emergency team" --key {operator}{at}',
        f"{me} agency list --key at-cert.key.json{at}",
    ):
        screen.print(f"  {command}", soft_wrap=True)
    screen.print("\nThen agree and publish: docs/guides/operator.md. Stop with Ctrl-C.", style="dim")


def bench(output: Output = Format.text) -> None:
    """Measure this machine: verification, routing, acceptance, decisions, proofs. Progress on stderr."""
    from hub.bench import run

    set_up_logging("error")
    result = run(lambda text: say(text, "dim"))
    if output is Format.json:
        write_json(result)
    else:
        write_facts({name: _number(value) for name, value in result.items()})


def _number(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_number(each)}" for name, each in value.items())
    return f"{value:,.2f}".rstrip("0").rstrip(".") if isinstance(value, int | float) else str(value)
