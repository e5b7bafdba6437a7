"""`comity topics apply`: what it says before it asks any broker."""

from __future__ import annotations

from pathlib import Path

import pytest

from hub.cli.app import run
from hub.cli.faults import UNAVAILABLE, USAGE

NOBODY = "kafka://127.0.0.1:1"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "name it with --kafka, or in COMITY_KAFKA"),
        (["--kafka", "127.0.0.1:9092"], "write kafka://HOST:PORT"),
        (["--kafka", NOBODY, "--rotate", "at-cert"], "--secrets DIR says where"),
        (["--kafka", NOBODY, "--dry-run", "--watch"], "give one of them"),
        (["--kafka", NOBODY, "--replication", "0"], "--replication"),
    ],
)
def test_what_is_used_wrongly_is_told(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COMITY_KAFKA", raising=False)
    assert run(["topics", "apply", *options]) == USAGE
    assert said in capsys.readouterr().err


def test_files_that_are_not_there_are_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    address = f"kafka+sasl://admin@127.0.0.1:1?password-file={tmp_path / 'none'}"
    assert run(["topics", "apply", "--kafka", address]) == UNAVAILABLE
    assert str(tmp_path / "none") in capsys.readouterr().err


@pytest.mark.slow
def test_where_no_broker_answers_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["topics", "apply", "--kafka", NOBODY]) == UNAVAILABLE
    assert "see whether the brokers run" in capsys.readouterr().err
