"""What the documents name is there: commands and their options, targets of make, headings that links point to, records."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from hub.cli.app import app

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("hub/**/*.md")])
FENCE = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
COMMANDS = typer.main.get_command(app)


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def anchors(path: Path) -> set[str]:
    """Of every heading, as GitHub makes them: lower case, without punctuation, spaces as dashes."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    titles = re.findall(r"^#{1,6} +(.+?)\s*$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("path", DOCUMENTS, ids=named)
def test_links_to_headings_resolve(path: Path) -> None:
    links = re.findall(r"\]\(((?![a-z]+:)[^)\s#]*)#([^)\s]+)\)", path.read_text(encoding="utf-8"))
    dead = [
        f"{target}#{name}" for target, name in links if name not in anchors(path.parent / target if target else path)
    ]
    assert dead == []


def commands_in(path: Path) -> list[str]:
    """Every `comity …` that a document shows: in code blocks, indented or fenced, and inside a line of text."""
    text = path.read_text(encoding="utf-8")
    shown = re.findall(r"(?:^|[|(`]|^ {4})\s*(comity(?: [a-z][a-z-]*)+[^`|\n>#)]*)", text, re.MULTILINE)
    return [line.strip() for line in shown]


def fault(line: str) -> str | None:
    """What of a command the program does not know."""
    try:
        words = shlex.split(line)
    except ValueError:  # a quotation that goes on in the next line of the text
        words = line.split()
    command: Any = COMMANDS
    for word in words[1:]:
        if word.startswith("--"):
            known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
            if word.partition("=")[0].rstrip(".,;") not in known | {"--help"}:
                return f"{line}: no option {word}"
        elif (below := getattr(command, "commands", None)) is not None:
            if word not in below:
                return f"{line}: no command {word}"
            command = below[word]
    return None


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if commands_in(path)], ids=named)
def test_commands_exist_with_these_options(path: Path) -> None:
    assert [told for line in commands_in(path) if (told := fault(line))] == []


def test_a_command_that_does_not_exist_would_be_found() -> None:
    assert (
        fault("comity notice forge FILE")
        and fault("comity audit verify --quick")
        and not fault("comity key new at-cert")
    )
    assert "comity audit verify" in commands_in(ROOT / "README.md")


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    told = {
        (named(path), target)
        for path in DOCUMENTS
        for target in re.findall(r"(?:`|^ {4})make ([a-z]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert {target for _, target in told} >= {"demo", "test", "check"}
    assert [(document, target) for document, target in sorted(told) if target not in targets] == []


def test_every_decision_has_one_number_three_parts_and_a_place_in_the_list() -> None:
    place = ROOT / "docs" / "decisions"
    records = sorted(path for path in place.glob("*.md") if path.name != "README.md")
    assert [path.name[:4] for path in records] == [f"{number:04}" for number in range(1, len(records) + 1)]
    listed = re.findall(r"\[\d{4}\]\(([^)]+)\)", (place / "README.md").read_text(encoding="utf-8"))
    assert listed == [path.name for path in records]
    for path in records:
        text = path.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 40, path.name
        assert all(f"**{part}.**" in text for part in ("Context", "Decision", "Consequences")), path.name
