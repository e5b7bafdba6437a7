"""A real `comity up` for the commands to talk to, and the commands themselves, run in this process."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hub.cli.app import run


@dataclass(frozen=True)
class Answer:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Up:
    """A serving hub. data: its directory."""

    url: str
    data: Path
    process: subprocess.Popen[str]

    @property
    def operator(self) -> str:
        return str(self.data / "keys" / "operator.pem")


def start(data: Path, **environment: str) -> Up:
    command = [
        sys.executable,
        "-c",
        "from hub.cli import main; main()",
        "up",
        "--dir",
        str(data),
        "--port",
        "0",
        "-o",
        "json",
    ]
    env = {name: value for name, value in os.environ.items() if not name.startswith("COMITY_")} | environment
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, "comity up ended before it served"
    return Up(json.loads(line)["hub"], data, process)


def stop(up: Up) -> int:
    up.process.send_signal(signal.SIGTERM)
    return up.process.wait(30)


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    served = start(tmp_path_factory.mktemp("up") / "data")
    try:
        yield served
    finally:
        assert stop(served) == 0


class Comity:
    """Calls commands: `comity("key", "new", "at-cert")`. stdin: what `-` reads."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys, self._monkeypatch = capsys, monkeypatch

    def __call__(self, *arguments: str | Path, stdin: str = "") -> Answer:
        self._monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        self._capsys.readouterr()
        code = run([str(argument) for argument in arguments])
        out, err = self._capsys.readouterr()
        return Answer(code, out, err)

    def ok(self, *arguments: str | Path, stdin: str = "") -> Answer:
        answer = self(*arguments, stdin=stdin)
        assert answer.code == 0, answer
        return answer


@pytest.fixture
def comity(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Comity:
    for name in ("COMITY_CLIENT_URL", "COMITY_CLIENT_KEY", "COMITY_CLIENT_VKEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    return Comity(capsys, monkeypatch)
