"""The entry point: the tree of commands, and the one handler of everything that goes wrong in them."""

from __future__ import annotations

import os
import sys
import traceback
from importlib.metadata import version as installed
from typing import Annotated

import typer

from hub.cli import agencies, agreements, audit, doctor, kafka, keys, notices, processes, running, topics
from hub.cli.faults import FAILED, exit_code, message
from hub.cli.output import say

HELP = "Signed notices between agencies, routed by the clauses of their agreements, and proven."

app = typer.Typer(
    name="comity", help=HELP, no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="rich",
    context_settings={"help_option_names": ["--help", "-h"]},
)  # fmt: skip


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"comity {installed('comity')}")  # noqa: T201
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show where in the program an error arose.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Signed notices between agencies, routed by the clauses of their agreements, and proven."""
    del debug, version  # `main` looks for --debug itself: it must know before anything can fail


running.add_to(app)
processes.add_to(app)
kafka.add_to(app)
app.add_typer(agencies.app)
app.add_typer(keys.app)
app.add_typer(agreements.app)
app.add_typer(notices.app)
app.add_typer(audit.app)
app.add_typer(topics.app)
doctor.add_to(app)


def run(arguments: list[str]) -> int:
    """One command; its exit code. What goes wrong is told in one line on stderr."""
    try:
        app(arguments, prog_name="comity")
    except SystemExit as ending:
        return ending.code if isinstance(ending.code, int) else FAILED
    except BrokenPipeError:
        # Whoever read our output has seen enough. Nothing more can be written, not even what Python flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:
        if "--debug" in arguments:
            traceback.print_exc()
        say(f"comity: {message(error)}", "red")
        return exit_code(error)
    return 0
