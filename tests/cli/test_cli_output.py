"""What is printed: foreign text is shown and never obeyed; the reference page is what the program says."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from hub.cli.compare import compare
from hub.cli.output import clean, moment
from hub.cli.reference import render
from schemas.notice import TYPES
from tests.cli.conftest import Comity

DOCS = Path(__file__).parents[2] / "docs"
REFERENCE = DOCS / "cli.md"
PROMISED = [
    line.strip().partition(" >")[0]
    for page in sorted((DOCS / "guides").glob("*.md"))
    for line in page.read_text(encoding="utf-8").splitlines()
    if line.startswith("    comity ")
]


def test_the_reference_is_what_the_program_says() -> None:
    assert REFERENCE.read_text(encoding="utf-8") == render(), "docs/cli.md is out of date: run `make generate`"


def test_every_command_writes_json_when_asked() -> None:
    sections = render().split("\n## ")[1:]
    assert len(sections) > 20
    assert [section.partition("\n")[0] for section in sections if "`--output`, `-o`" not in section] == []


@pytest.mark.parametrize("line", PROMISED)
def test_commands_in_the_guides_exist_with_these_options(comity: Comity, line: str) -> None:
    comity.ok(*shlex.split(line)[1:], "--help")


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("\x1b[2Jgone", "\\u001b[2Jgone"),
        ("safe\u202eexe.cod", "safe\\u202eexe.cod"),
        ("zero\u200bwidth", "zero\\u200bwidth"),
        ("冷凍枝豆", "冷凍枝豆"),
        (["a", {"b": 1}], 'a, {"b": 1}'),
        (None, "–"),
    ],
)
def test_foreign_text_is_shown_not_obeyed(foreign: object, shown: str) -> None:
    assert clean(foreign) == shown


def test_times_are_utc() -> None:
    assert moment(1_800_000_000_000) == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize("type_", sorted(TYPES))
def test_the_example_of_every_type_can_be_signed(comity: Comity, type_: str) -> None:
    comity.ok("key", "new", "us-cisa")
    example = comity.ok("notice", "new", type_).out
    signed = comity.ok("notice", "sign", "-", "--key", "us-cisa.key.json", "--expires", "12h", stdin=example)
    assert signed.out.endswith("~") and signed.out.count(".") >= 2
    told = comity.ok("notice", "sign", "-", "--key", "us-cisa.key.json", "-o", "json", stdin=example).json
    assert told["kid"].startswith("us-cisa/") and told["notice"].endswith("~") and told["digest"]


def test_no_colours_where_nobody_wants_them(comity: Comity, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b" not in comity("agreement", "check", "nowhere.json").err
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[31m" in comity("agreement", "check", "nowhere.json").err
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b[3" not in comity("agreement", "check", "nowhere.json").err


def test_version_and_help(comity: Comity) -> None:
    assert comity.ok("--version").out.startswith("comity ")
    for noun in ("agency", "key", "agreement", "notice", "audit"):
        assert "Commands" in comity.ok(noun, "--help").out


def test_a_comparison_names_what_changes_and_nothing_else() -> None:
    clause = {"id": "c1", "from": ["a"], "to": ["b", "c"], "ceiling": "TLP:GREEN"}
    old = {"id": "x", "version": 1, "parties": ["a", "b", "c"], "clauses": [clause, clause | {"id": "c2"}]}
    new = old | {
        "version": 2, "parties": ["c", "b", "a"],
        "clauses": [clause | {"id": "c3"}, clause | {"to": ["c", "b"], "ceiling": "TLP:AMBER", "withhold": []}],
    }  # fmt: skip
    told = [(change.what, change.before, change.after) for change in compare(old, new)]
    assert told[:2] == [("version", 1, 2), ("clause c1: ceiling", "TLP:GREEN", "TLP:AMBER")]
    assert [what for what, _, _ in told[2:]] == ["clause c2 removed", "clause c3 added"]
    assert compare(old, json.loads(json.dumps(old))) == []
