"""docker-compose.yml as `docker compose` would understand it: merged, with the variables of an .env file filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
FILE = ROOT / "docker-compose.yml"
PROFILES = frozenset({"three", "demo"})
_VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")


def read(environment: Mapping[str, str] | None = None, profiles: frozenset[str] = PROFILES) -> dict[str, Any]:
    """The whole file, with the services of these profiles and those of none."""
    text = _VARIABLE.sub(lambda found: (environment or {}).get(found[1]) or found[2], FILE.read_text(encoding="utf-8"))
    document: dict[str, Any] = yaml.safe_load(text)
    document["services"] = {
        name: service
        for name, service in document["services"].items()
        if not service.get("profiles") or set(service["profiles"]) & profiles
    }
    return document


def variables() -> set[str]:
    """What the file asks its environment for."""
    return {name for name, _ in _VARIABLE.findall(FILE.read_text(encoding="utf-8"))}


def environment_of(file: Path) -> dict[str, str]:
    """An .env file."""
    lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def command_lines(service: Mapping[str, Any]) -> list[list[str]]:
    """Every `comity …` that a service runs, its health check included."""
    lines = [["comity", *service["command"]]] if "command" in service and "entrypoint" not in service else []
    test = service.get("healthcheck", {}).get("test", [])
    return lines + ([test[1:]] if test[:2] == ["CMD", "comity"] else [])
