"""The wheel as a stranger meets it: built, installed into an empty environment outside the tree, and put to work."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OFFLINE = ("Could not find a version", "No matching distribution", "Max retries", "Connection", "Temporary failure")

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600), pytest.mark.xdist_group("package")]


def run(*command: str | Path, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    """With nothing of this environment but what says where the index and its certificates are."""
    keep = ("PATH", "HOME", "TMPDIR", "LANG", "http_proxy", "https_proxy", "no_proxy", "SSL_CERT_FILE", "SSL_CERT_DIR")
    env = {name: value for name, value in os.environ.items() if name in keep or name.upper() in keep or "PIP_" in name}
    if "SSL_CERT_FILE" in env:
        env.setdefault("PIP_CERT", env["SSL_CERT_FILE"])
    ran = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True)
    assert not check or ran.returncode == 0, f"{command}: {ran.stdout}\n{ran.stderr}"
    return ran


def pip(environment: Path, *arguments: str | Path) -> None:
    """Skips where no package index can be reached."""
    ran = run(environment / "bin/python", "-m", "pip", "--quiet", *arguments, cwd=environment, check=False)
    if ran.returncode and any(told in ran.stderr for told in OFFLINE):
        pytest.skip("no package index can be reached, so the wheel was not installed anywhere")
    assert ran.returncode == 0, ran.stderr


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and what it requires, at the versions that the other tests run with."""
    place = tmp_path_factory.mktemp("outside")
    python = Path(sys.base_prefix) / "bin" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    run(python, "-m", "venv", place / "env", cwd=place)
    constraints = place / "constraints.txt"
    versions = (f"{dist.name}=={dist.version}" for dist in metadata.distributions() if dist.name != "comity")
    constraints.write_text("\n".join(versions))
    pip(place / "env", "wheel", "--no-deps", "--wheel-dir", place / "dist", ROOT)
    [wheel] = (place / "dist").glob("comity-*.whl")
    pip(place / "env", "install", "-c", constraints, wheel)
    return place


def test_the_wheel_holds_the_product_and_nothing_else(outside: Path) -> None:
    [wheel] = (outside / "dist").glob("comity-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.partition("/")[0].partition("-")[0] for name in names}
    assert tops == {"hub", "connectors", "schemas", "comity"}
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {f"{package}/py.typed" for package in ("hub", "connectors", "schemas")} <= set(names)


def test_the_installed_command_runs_the_demo_and_audits_what_it_left(outside: Path, tmp_path: Path) -> None:
    comity = outside / "env/bin/comity"
    where = run(outside / "env/bin/python", "-c", "import hub; print(hub.__file__)", cwd=tmp_path).stdout
    assert str(outside) in where
    demo = run(comity, "demo", "--dir", tmp_path / "left", cwd=tmp_path)
    assert "the ledger holds" in demo.stdout
    [log] = (tmp_path / "left").rglob("comity.db")
    audit = run(comity, "audit", "verify", "--dir", log.parent, cwd=tmp_path)
    assert "the ledger holds" in audit.stdout
