"""The image: made from a base that is named by digest, runs as nobody in particular, and can build nothing."""

from __future__ import annotations

import json
import re
import tomllib

from tests.deploy.composition import ROOT

TEXT = (ROOT / "Dockerfile").read_text(encoding="utf-8")
LINES = re.sub(r"\\\n\s*", "", re.sub(r"(?m)^#.*\n", "", TEXT)).splitlines()
STAGES = [i for i, line in enumerate(LINES) if line.startswith("FROM ")]
LAST = LINES[STAGES[-1] :]


def arguments(instruction: str, lines: list[str] = LAST) -> list[str]:
    return [line.partition(" ")[2].strip() for line in lines if line.startswith(instruction + " ")]


def test_every_stage_is_made_from_one_base_named_by_digest() -> None:
    assert [base for argument in arguments("ARG", LINES) if (base := argument.removeprefix("PYTHON=")) != argument] == [
        "python:3.11.15-slim-bookworm@sha256:d29f48a31a8b408ed19272ca1e7b10ebae13b240a27e862d3d4217c528e2e0c3"
    ]
    assert arguments("FROM", LINES) == ["${PYTHON} AS build", "${PYTHON}"]


def test_it_runs_as_a_number_that_is_not_root() -> None:
    assert arguments("USER")[-1] == "1000:1000"
    assert LAST.index("USER 1000:1000") > max(i for i, line in enumerate(LAST) if line.startswith("RUN"))


def test_nothing_of_what_builds_is_in_what_runs() -> None:
    assert "pip uninstall --yes --quiet pip setuptools wheel" in " ".join(arguments("RUN"))
    assert not re.search(r"apt|uv |pip install|gcc|curl", " ".join(arguments("RUN")))
    assert arguments("COPY") == ["--from=build /opt/comity /opt/comity"]


def test_dependencies_are_those_of_the_lock_and_none_of_development() -> None:
    synced = [line for line in arguments("RUN", LINES) if "uv sync" in line]
    assert len(synced) == 2 and all("--frozen" in line and "--no-dev" in line for line in synced)
    assert re.search(r"uv==\d+\.\d+\.\d+", TEXT)


def test_every_package_of_the_distribution_and_nothing_else_is_copied_and_let_in() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copied = {word for line in arguments("COPY", LINES) if "--from" not in line for word in line.split()[:-1]}
    assert copied == {*packages, "pyproject.toml", "uv.lock", "README.md", "LICENSE"}
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert "*" in ignored and {word[1:] for word in ignored if word.startswith("!")} == copied


def test_it_says_whether_it_lives_and_starts_the_command_line() -> None:
    (check,) = arguments("HEALTHCHECK")
    assert "/livez" in json.loads(check.partition("CMD ")[2])[2]
    assert arguments("ENTRYPOINT") == ['["comity"]']
