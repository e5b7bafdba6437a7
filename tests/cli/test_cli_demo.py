"""The demo: its data are sound, it fails when something is not as expected, and what it leaves can be audited and tampered with."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import sqlite3
import stat
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from hub.demo import run as run_demo
from hub.demo.play import Result
from hub.demo.signing import FAULTS
from hub.demo.story import Expected, Post, Rotation, Story, load
from schemas.agreement import Agreement
from schemas.notice import AREAS, TYPES, area, withholdable
from tests.cli.conftest import Comity


def played(monkeypatch: pytest.MonkeyPatch, directory: Path, story: Story) -> tuple[Result, str]:
    """The demo with another story, and what it printed."""
    monkeypatch.setattr("hub.demo.runner.load", lambda: story)
    printed = io.StringIO()
    return asyncio.run(run_demo(directory, Console(file=printed, width=100))), printed.getvalue()


def shortened(*ids: str) -> Story:
    story = load()
    return replace(story, steps=tuple(step for step in story.steps if isinstance(step, Post) and step.id in ids))


def test_the_story_covers_what_a_hub_is_for() -> None:
    story = load()
    for agreement in story.agreements:
        Agreement.model_validate(agreement)
    operators = {c["op"] for a in story.agreements for clause in a["clauses"] for c in clause.get("when", [])}
    assert operators == {"at_least", "one_of", "includes", "starts_with", "within"}
    assert len({len(a["parties"]) for a in story.agreements}) > 1 and len({a.id[:2] for a in story.agencies}) >= 4
    good = [post for post in story.posts if post.fault is None]
    assert {area(post.fields["type"]) for post in good} == set(AREAS)
    assert {post.fields["type"] for post in good} == set(TYPES)
    assert {post.fault for post in story.posts} == {None, *FAULTS}
    assert any(post.fields.get("rel_to") for post in good) and any(post.fields.get("updates") for post in good)
    assert any(each.recall for post in good for each in post.deliveries)
    assert any(isinstance(step, Rotation) for step in story.steps)
    withheld = {name for post in good for each in post.deliveries for name in each.withheld}
    assert withheld == {name for type_ in TYPES for name in withholdable(type_)}


def test_the_whole_demo_and_what_it_leaves(comity: Comity, tmp_path: Path) -> None:
    place = tmp_path / "out"
    answer = comity.ok("demo", "--dir", place, "-o", "json")
    result = answer.json
    assert result["good"] and result["ledger"]["holds"] and result["differences"] == []
    assert result["deliveries"] == result["ledger"]["deliveries"] == sum(len(post.deliveries) for post in load().posts)
    assert set(result["refused"]) == {post.refused for post in load().posts if post.refused}
    for said in ("✗ refused: key-revoked", "(recall)", "Why did de-bsi not receive", "✓ the ledger holds"):
        assert said in answer.err
    assert "\x1b" not in answer.err

    assert json.loads((place / "comity-demo.json").read_text())["good"]
    assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in (place / "keys").iterdir())
    assert len(list((place / "notices").iterdir())) == result["notices"]
    assert len(list((place / "deliveries").glob("*/*.sdjwt"))) == result["deliveries"]
    comity.ok("audit", "verify", "--dir", place, "--checkpoint", place / "checkpoint", "--vkey", place / "hub.vkey")
    entries = [json.loads(line) for line in (place / "ledger.jsonl").read_text().splitlines()]
    chosen = next(entry for entry in entries if '"clause":"neighbours"' in entry["sealed"])
    tamper(place / "data" / "comity.db", chosen["leaf"].encode() + b"\n", b'"neighbours"', b'"everybody"')
    found = comity("audit", "verify", "--dir", place, "--vkey", place / "hub.vkey", "-o", "json")
    assert found.code == 3 and found.json["findings"][0]["index"] == chosen["index"]
    assert f"ledger entry {chosen['index']}" in found.err
    replayed = comity("audit", "replay", str(chosen["index"]), "--dir", place)
    assert replayed.code == 3 and "the outcome differs" in replayed.err


def tamper(database: Path, start: bytes, old: bytes, new: bytes) -> None:
    """Change one record of the log, as someone with the disk could."""
    with contextlib.closing(sqlite3.connect(database)) as db, db:
        rows = {key: bytes(value) for key, value in db.execute("SELECT id, value FROM records")}
        (key,) = [key for key, value in rows.items() if value.startswith(start)]
        assert old in rows[key]
        db.execute("UPDATE records SET value = ? WHERE id = ?", (rows[key].replace(old, new), key))


def test_it_can_be_played_again_in_its_own_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "out"
    for _ in range(2):
        result, printed = played(monkeypatch, place, shortened("git", "zero-day"))
        assert result.good, printed


@pytest.mark.parametrize(
    "change",
    [
        {"deliveries": ()},
        {"deliveries": (Expected("at-cert", "trilateral-security/urgent-cyber", ("source_detail",), False),)},
        {"deliveries": (
            Expected("at-cert", "trilateral-security/urgent-cyber", (), False),
            Expected("de-bsi", "trilateral-security/urgent-cyber", ("source_detail",), False),
        )},
        {"refused": "schema"},
    ],
)  # fmt: skip
def test_it_fails_when_something_is_not_as_expected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, change: dict[str, object]
) -> None:
    story = shortened("git", "zero-day", "gateway")
    wrong = tuple(replace(post, **change) if post.id == "git" else post for post in story.posts)  # type: ignore[arg-type]
    result, printed = played(monkeypatch, tmp_path / "out", replace(story, steps=wrong))
    assert not result.good and result.audit.holds
    assert "not as expected" in printed and any("git" in each for each in result.differences)


def test_it_fails_when_what_must_be_refused_is_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    story = shortened("git", "zero-day", "tampered")
    honest = tuple(replace(post, fault=None) if post.id == "tampered" else post for post in story.posts)
    result, _ = played(monkeypatch, tmp_path / "out", replace(story, steps=honest))
    assert any("had to be refused" in each for each in result.differences)
