"""docs/cli.md, generated from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from hub.cli.app import HELP, app
from hub.cli.faults import CODES

HEAD = f"""# The command line

{HELP} This page is generated from the program: `make generate`.

Data goes to stdout, messages to stderr. `-o json` writes data as JSON. A FILE may be `-`: stdin or stdout. `NO_COLOR` is honoured;
`comity --install-completion` sets up your shell. `--debug`, before the command, shows where in the program an error arose.

| exit code | meaning |
|---|---|
"""


def render() -> str:
    """The page."""
    root: Any = typer.main.get_command(app)
    codes = "".join(f"| {code} | {meaning} |\n" for code, meaning in CODES.items())
    sections = "\n".join(_command(names, command) for names, command in _walk((), root))
    return f"{HEAD}{codes}\n{sections}"


def _walk(names: tuple[str, ...], command: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    for name, each in command.commands.items():
        if hasattr(each, "commands"):
            yield from _walk((*names, name), each)
        else:
            yield (*names, name), each


def _command(names: tuple[str, ...], command: Any) -> str:
    context = command.make_context(names[-1], [], resilient_parsing=True)
    shown = [param for param in command.params if "--help" not in param.opts]
    arguments = [_metavar(param, context) for param in shown if param.param_type_name == "argument"]
    usage = " ".join(["comity", *names, "[OPTIONS]", *arguments])
    lines = [f"## comity {' '.join(names)}", "", (command.help or "").strip(), "", f"    {usage}", ""]
    rows = [_row(param, context) for param in shown]
    if rows:
        lines += ["| option | what | default |", "|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _metavar(param: Any, context: Any) -> str:
    """What stands for a value: as given, an argument's name, or an option's type."""
    is_argument = param.param_type_name == "argument"
    return str(param.metavar or (param.name.upper() if is_argument else param.display_type(context)))


def _row(param: Any, context: Any) -> str:
    if param.param_type_name == "argument":
        name = f"`{_metavar(param, context)}`"
    else:
        name = ", ".join(f"`{option}`" for option in (*param.opts, *param.secondary_opts))
        if not param.is_flag:
            name += f" `{_metavar(param, context)}`"
    what = (param.help or "").strip()
    if param.envvar:
        what += f" Environment: `{param.envvar}`."
    default = param.default
    told = "" if default is None or default is False or callable(default) else f"`{getattr(default, 'value', default)}`"
    if param.required:
        told = "required"
    cells = (cell.replace("|", "\\|") for cell in (name, what, told))
    return f"| {' | '.join(cells)} |"
