"""What commands write: data on stdout as text or JSON, messages on stderr; files and `-` alike."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from hub.core.errors import ComityError

PIPE_WIDTH = 120  # columns, where there is no terminal to ask
MAX_INPUT = 16 * 1024 * 1024


class Format(StrEnum):
    """How data is written."""

    text = "text"
    json = "json"


class InputError(ComityError):
    """A file or stdin cannot be used; the message names it."""


def console(*, stderr: bool = False) -> Console:
    """A console on today's stdout or stderr. rich leaves out colours where there is no terminal, or NO_COLOR is set."""
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else PIPE_WIDTH, highlight=False, soft_wrap=False)


def say(text: str, style: str = "") -> None:
    """A message for people, on stderr."""
    console(stderr=True).print(Text(text, style=style), soft_wrap=True)


def write_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False), flush=True)  # noqa: T201 - stdout is what the command is for


def write_line(value: Any) -> None:
    """One JSON object a line, for streams."""
    print(json.dumps(value, ensure_ascii=False, separators=(",", ":")), flush=True)  # noqa: T201


def write_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, empty: str = "nothing to show") -> None:
    """Rows under dim headings; `empty` on stderr when there are none."""
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(clean(cell)) for cell in row))
    if table.row_count:
        console().print(table)
    else:
        say(empty, "dim")


def write_facts(facts: Mapping[str, Any]) -> None:
    """Names and values in two columns; what is None is left out."""
    table = Table(box=None, padding=(0, 2, 0, 0), show_header=False, pad_edge=False)
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            table.add_row(name, value if isinstance(value, Text) else Text(clean(value)))
    console().print(table)


def clean(value: Any) -> str:
    """Foreign text for a terminal: control and direction characters are shown as codes, never obeyed."""
    return "".join(char if _harmless(char) else f"\\u{ord(char):04x}" for char in _text(value))


def _text(value: Any) -> str:
    match value:
        case None:
            return "–"
        case list() | tuple():
            return ", ".join(_text(item) for item in value)
        case dict():
            return json.dumps(value, ensure_ascii=False)
        case _:
            return str(value)


def _harmless(char: str) -> bool:
    return char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co")


def moment(ms: int | None) -> str:
    """Milliseconds since the epoch as RFC 3339 in UTC."""
    if ms is None:
        return "–"
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def read_bytes(source: str) -> bytes:
    """The content of a file, or of stdin for `-`; InputError names what is wrong."""
    try:
        if source == "-":
            content = sys.stdin.buffer.read(MAX_INPUT + 1)
        else:
            with Path(source).open("rb") as file:
                content = file.read(MAX_INPUT + 1)
    except OSError as error:
        raise InputError(f"cannot read {source}: {error.strerror}") from None
    if len(content) > MAX_INPUT:
        raise InputError(f"{source} has more than {MAX_INPUT >> 20} MiB: this cannot be meant")
    return content


def read_object(source: str) -> dict[str, Any]:
    """The JSON object in a file, or stdin; InputError says where it breaks."""
    return parse_object(read_bytes(source), source)


def parse_object(content: bytes, source: str) -> dict[str, Any]:
    """The JSON object in `content`, which came from `source`."""
    try:
        value = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source} is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise InputError(f"{source} is JSON, but not an object {{…}}")
    return value


def write_bytes(target: str, content: bytes) -> None:
    """To a file, never over another, or to stdout for `-`."""
    try:
        if target == "-":
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()
            return
        with Path(target).open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise InputError(f"{target} is there already: choose another name, or remove it") from None
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}") from None


def progress() -> Progress:
    """A bar on stderr for long work; nothing where there is no terminal."""
    screen = console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=screen, transient=True, disable=not screen.is_terminal)
