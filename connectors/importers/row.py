"""What an importer makes, and reading the cells it makes it from."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from connectors.errors import ConnectorError

LINE = 2_000  # characters of a line of text in the schemas
SUBJECT = 200


class BadRow(ConnectorError):  # noqa: N818 - a word of the domain
    """A row that cannot become a notice; the message names the column."""


@dataclass(frozen=True, slots=True)
class Item:
    """Arguments of `Client.notice`: all but tlp, which the publisher decides."""

    type: str
    subject: str
    data: dict[str, Any]


def read_csv(path: Path) -> Iterator[dict[str, str]]:
    """Rows of a CSV file with a header line, cells stripped. Raises BadRow for a row that does not fit its header."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        for row in reader:
            if None in row or None in row.values():
                raise BadRow(f"{path} line {reader.line_num}: not as many cells as the header")
            yield {name.strip(): cell.strip() for name, cell in row.items()}


def cell(row: Mapping[str, str], *names: str) -> str:
    """The first of these columns that is there and not empty, else the empty text."""
    return next((found for name in names if (found := row.get(name, "").strip())), "")


def needed(row: Mapping[str, str], *names: str) -> str:
    """Likewise; BadRow when there is none."""
    found = cell(row, *names)
    if not found:
        raise BadRow(f"column {names[0]} is missing or empty")
    return found


def split(text: str) -> list[str]:
    """The parts of a cell that lists several, each once."""
    return list(dict.fromkeys(part for part in re.split(r"[,;|]\s*|\s{2,}", text) if part))


def day(text: str, *forms: str) -> str:
    """A date in one of these forms (strptime) as YYYY-MM-DD; BadRow."""
    for form in forms:
        try:
            return datetime.strptime(text, form).date().isoformat()
        except ValueError:
            continue
    raise BadRow(f"{text[:40]!r} is not a date such as {forms[0]}")


def shorten(text: str, length: int = LINE) -> str:
    """One line of at most `length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else line[: length - 1] + "…"


def present(**fields: Any) -> dict[str, Any]:
    """Without what is empty: absent is not the same as empty."""
    return {name: value for name, value in fields.items() if value not in ("", None, [])}
