"""The shape of the house: imports go one way, files fit one sitting, importing touches nothing, documents point somewhere."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PRODUCT = ("schemas", "hub", "connectors")
SOURCES = sorted(path for package in PRODUCT for path in (ROOT / package).rglob("*.py"))
MAX_LINES, MAX_TEST_LINES, MAX_FUNCTION = 300, 600, 60
LONGER: dict[str, str] = {}  # file or file:function -> the reason that a reader accepts
SKIPPED = {".git", ".venv", ".uv", "node_modules", "__pycache__", "dist", "mutants", ".hypothesis"}
TEXT = {".py", ".md", ".toml", ".json", ".yml", ".yaml", ".sh", ".html", ".css", ".js", ".svg", ".txt", ".cfg", ""}


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def ours() -> list[Path]:
    """Every text file of the project. Does not ask git: an unpacked archive is tested too."""
    found = []
    for directory, names, files in os.walk(ROOT):
        names[:] = [name for name in names if name not in SKIPPED and not name.startswith((".comity", ".cache"))]
        names[:] = [name for name in names if not (name.startswith(".") and name.endswith("_cache"))]
        found += [Path(directory, file) for file in files if Path(file).suffix in TEXT]
    return sorted(found)


def test_imports_go_one_way() -> None:
    """The contracts stand in pyproject.toml; `make check` runs the same command."""
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.partition(".")[0])
    return names


def test_only_the_two_ends_of_kafka_import_its_client() -> None:
    outside = {named(path) for path in SOURCES if "aiokafka" in imported(path)}
    assert {name for name in outside if not name.startswith(("hub/log/kafka/", "connectors/kafka"))} == set()


def test_the_product_does_not_import_its_tests_or_tools() -> None:
    assert not [named(path) for path in SOURCES if imported(path) & {"tests", "tools", "bench", "pytest", "hypothesis"}]


def test_every_import_of_ours_is_from_a_package_of_ours_or_a_declared_dependency() -> None:
    """So that the wheel runs where only its own requirements are installed."""
    declared = {
        "aiokafka", "cryptography", "fastapi", "httpx2", "joserfc", "jinja2", "prometheus_client", "pydantic",
        "pydantic_settings", "pydantic_core", "nacl", "rich", "structlog", "typer", "uvicorn", "starlette", "click",
        "opentelemetry", "kafka", "uvloop", "httptools", "yaml",
    }  # fmt: skip
    known = declared | set(PRODUCT) | set(sys.stdlib_module_names)
    strange = {(named(path), name) for path in SOURCES for name in imported(path) - known}
    assert strange == set()


@pytest.mark.parametrize("path", SOURCES, ids=named)
def test_a_file_fits_one_sitting_and_a_function_one_screen(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    lines = len(text.splitlines())
    assert lines <= MAX_LINES or named(path) in LONGER, f"{lines} lines; split it, or say why in LONGER"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            assert length <= MAX_FUNCTION or f"{named(path)}:{node.name}" in LONGER, f"{node.name} has {length} lines"


def test_tests_can_be_read_too() -> None:
    tests = sorted((ROOT / "tests").rglob("*.py"))
    assert not [named(path) for path in tests if len(path.read_text(encoding="utf-8").splitlines()) > MAX_TEST_LINES]


def test_every_exception_to_the_rule_is_still_needed() -> None:
    assert not [name for name in LONGER if not (ROOT / name.partition(":")[0]).exists()]


WATCH = """
import sys
told = []
def watch(event, arguments):
    if event in ("socket.connect", "socket.bind", "sqlite3.connect", "subprocess.Popen", "os.mkdir", "os.remove"):
        told.append((event, str(arguments)[:200]))
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        told.append((event, str(arguments)[:200]))
sys.addaudithook(watch)
sys.dont_write_bytecode = True
import importlib, pkgutil
for package in ("schemas", "hub", "connectors"):
    for module in pkgutil.walk_packages(importlib.import_module(package).__path__, package + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(*told, sep="\\n")
"""


def test_importing_everything_opens_nothing() -> None:
    """No file written, no socket, no database, no process: what a module needs is passed to it."""
    ran = subprocess.run([sys.executable, "-c", WATCH], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == ""


def test_the_repository_stands_alone() -> None:
    """Nothing in it points to a place on somebody's machine."""
    place = re.compile(r"(?<![\w.~}\])/-])/(?:work|root|home|Users|tmp/[a-z])\b")
    foreign = [
        f"{named(path)}:{number}"
        for path in ours()
        if path.name != "uv.lock"
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1)
        if place.search(line)
    ]
    assert foreign == []


def test_documents_point_to_files_that_are_there() -> None:
    link = re.compile(r"\]\(([^)\s#]+)(?:#[^)]*)?\)")
    dead = [
        f"{named(path)}: {target}"
        for path in ours()
        if path.suffix == ".md"
        for target in link.findall(path.read_text(encoding="utf-8"))
        if not re.match(r"[a-z]+:", target) and not (path.parent / target).exists()
    ]
    assert dead == []


def test_the_licence_is_the_one_that_is_declared() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    assert 'license = "Apache-2.0"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
