"""The scripts of the demo profile, run against a hub that serves HTTP: what they say to a hub on Kafka, they say to this one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Up, start, stop
from tests.deploy.composition import ROOT

DEMO = ROOT / "deploy" / "demo"
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    served = start(tmp_path_factory.mktemp("up") / "data")
    try:
        yield served
    finally:
        assert stop(served) == 0


@pytest.fixture(scope="module")
def place(up: Up, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of the scripts. The operator's key is readable by others, as a secret of a container is."""
    folder = tmp_path_factory.mktemp("demo")
    for name in ("secrets", "data", "scratch"):
        (folder / name).mkdir()
    shutil.copy(up.operator, folder / "secrets" / "operator.pem")
    (folder / "secrets" / "operator.pem").chmod(0o444)
    own = {name: value for name, value in os.environ.items() if not name.startswith("COMITY_")}
    return own | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "SECRETS": str(folder / "secrets"),
        "DATA": str(folder / "data"),
        "KEYS": str(folder / "data"),
        "INBOX": str(folder / "inbox"),
        "SCRATCH": str(folder / "scratch"),
        "HERE": str(DEMO),
        "HUB": up.url,
        "COMITY_CLIENT_URL": up.url,
        "PAUSE": "1",
    }


def setup(place: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", DEMO / "setup"], env=place, capture_output=True, text=True)


def test_what_one_publishes_the_other_stores(place: dict[str, str]) -> None:
    ran = setup(place)
    assert ran.returncode == 0, ran.stderr
    began = [
        subprocess.Popen(["sh", DEMO / script], env=place, stdout=subprocess.DEVNULL)
        for script in ("publisher", "subscriber")
    ]
    try:
        begun = time.monotonic()
        while not (Path(place["SCRATCH"], "published").exists() and any(Path(place["INBOX"]).rglob("*"))):
            assert time.monotonic() - begun < 60
            assert [process.poll() for process in began] == [None, None]
            time.sleep(0.2)
    finally:
        for process in began:
            process.terminate()
            process.wait(20)


def test_setting_up_again_does_nothing_again(place: dict[str, str]) -> None:
    first = setup(place)
    keys = {path: path.read_bytes() for path in Path(place["DATA"]).glob("*.key.json")}
    again = setup(place)
    assert first.returncode == again.returncode == 0
    assert len(keys) == 2
    assert {path: path.read_bytes() for path in Path(place["DATA"]).glob("*.key.json")} == keys
    assert again.stdout.splitlines() == ["setup: at-cert and de-bsi are enrolled and have agreed"]


def test_the_agreement_is_that_of_the_readme() -> None:
    """One story, told in both places."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert '"id": "alpine", "version": 1, "title": "Alpine security"' in readme
    assert '"id": "alpine"' in (DEMO / "alpine.json").read_text(encoding="utf-8")
