"""A node in a container has the settings of the brokers that tests start, apart from where it is."""

from __future__ import annotations

import ctypes
import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.deploy import composition
from tests.deploy.composition import ROOT
from tests.kafka.broker import BROKER, command
from tests.kafka.fixtures import need_kafka

CONTAINER = ROOT / "deploy" / "kafka" / "container"
# Where a node is; everything else must be the same.
PLACES = {
    "node.id", "controller.quorum.bootstrap.servers", "log.dirs", "listeners", "advertised.listeners",
    "ssl.keystore.location", "ssl.truststore.location",
}  # fmt: skip
# Says how it was called, with what its file of arguments holds; formats as little as can be.
JAVA = """#!/bin/sh
echo "$@" >>"$SCRATCH/called"
for word; do case $word in @*) cat "${word#@}" >>"$SCRATCH/formatted" ;; esac; done
mkdir -p "$VOLUME/log"
exit ${FAIL:-0}
"""


def load(name: str) -> ModuleType:
    """A module of deploy/kafka, which is no package."""
    spec = importlib.util.spec_from_file_location(f"deploy_kafka_{name}", BROKER.with_name(f"{name}.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def settings(text: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    assert all("=" in line for line in lines)
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@pytest.fixture
def place(tmp_path: Path) -> dict[str, str]:
    """The environment of a container whose java only takes notes."""
    subprocess.run([sys.executable, ROOT / "deploy" / "prepare", "--into", tmp_path], check=True, capture_output=True)
    for name in ("scratch", "volume", "bin"):
        (tmp_path / name).mkdir()
    (tmp_path / "bin" / "java").write_text(JAVA)
    (tmp_path / "bin" / "java").chmod(0o755)
    return {
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SCRATCH": str(tmp_path / "scratch"),
        "VOLUME": str(tmp_path / "volume"),
        "SECRETS": str(tmp_path / "deploy" / "secrets"),
    }


def run(place: dict[str, str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["sh", CONTAINER], env=place | environment, capture_output=True, text=True)


def rendered(place: dict[str, str]) -> dict[str, str]:
    return settings(Path(place["SCRATCH"], "server.properties").read_text(encoding="utf-8"))


def environment_in_compose(node: int, nodes: int) -> dict[str, str]:
    hosts = ",".join(f"kafka-{i}" for i in range(1, nodes + 1))
    service: dict[str, Any] = composition.read({"KAFKA_NODES": hosts})["services"][f"kafka-{node}"]
    return {name: str(value) for name, value in service["environment"].items()}


@pytest.mark.parametrize(("node", "nodes"), [(1, 1), (1, 3), (2, 3), (3, 3)])
def test_what_compose_starts_is_set_as_what_tests_start(place: dict[str, str], node: int, nodes: int) -> None:
    layout = load("layout")
    ran = run(place, **environment_in_compose(node, nodes))
    assert ran.returncode == 0, ran.stderr
    ours = rendered(place)
    theirs = settings(layout.render("sealed", layout.Layout.new(nodes, "sealed", 9092).values(node, Path("/x"))))
    assert list(ours) == list(theirs)
    assert {name for name in ours if ours[name] != theirs[name]} <= PLACES
    assert "${" not in "".join(ours.values())


def test_the_nodes_of_compose_know_each_other(place: dict[str, str]) -> None:
    run(place, **environment_in_compose(2, 3))
    ours = rendered(place)
    assert ours["controller.quorum.bootstrap.servers"] == "kafka-1:9095,kafka-2:9095,kafka-3:9095"
    assert ours["min.insync.replicas"] == "2" and ours["default.replication.factor"] == "3"
    assert ours["advertised.listeners"] == (
        "CLIENT://kafka-2:9092,MTLS://kafka-2:9193,INTERNAL://kafka-2:9094,CONTROLLER://kafka-2:9095"
    )


def test_all_nodes_are_formatted_with_the_same_quorum(place: dict[str, str]) -> None:
    """Each has its own folder's id in it, which no other node has to be told."""
    told = []
    for node in (1, 2, 3):
        run(place, **environment_in_compose(node, 3))
        words = Path(place["SCRATCH"], "formatted").read_text().splitlines()
        told.append(words[words.index('"--initial-controllers"') + 1])
        Path(place["SCRATCH"], "formatted").unlink()
        Path(place["VOLUME"], "log", ".formatted").unlink()
    cluster = Path(place["SECRETS"], "cluster-id").read_text()
    assert told == ['"' + ",".join(f"{n}@kafka-{n}:9095:{n}{cluster[1:]}" for n in (1, 2, 3)) + '"'] * 3


def test_passwords_are_on_no_command_line_and_in_no_file_that_stays(place: dict[str, str]) -> None:
    run(place, **environment_in_compose(1, 1))
    password = Path(place["SECRETS"], "admin.password").read_text()
    assert f"name=admin,password={password}" in Path(place["SCRATCH"], "formatted").read_text()
    assert password not in Path(place["SCRATCH"], "called").read_text()
    assert not Path(place["SCRATCH"], "format.args").exists()


def test_a_node_is_formatted_once_and_again_if_that_was_cut_short(place: dict[str, str]) -> None:
    environment = environment_in_compose(1, 1)
    assert run(place, **environment, FAIL="1").returncode == 1
    Path(place["VOLUME"], "log", "half-written").touch()
    run(place, **environment)
    assert not Path(place["VOLUME"], "log", "half-written").exists()
    Path(place["VOLUME"], "log", "data").touch()
    run(place, **environment)
    assert Path(place["VOLUME"], "log", "data").exists()
    calls = Path(place["SCRATCH"], "called").read_text().splitlines()
    assert ["kafka.Kafka" in call for call in calls] == [False, False, True, True]


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"NODES": "kafka-1", "NODE_ID": "2"}, "NODE_ID is 2, and NODES names 1"),
        (
            {"NODES": "kafka-1", "NODE_ID": "1", "SECRETS": "/nowhere"},
            "/nowhere/cluster-id is not there; deploy/prepare makes it",
        ),
        ({"NODE_ID": "1"}, "name the hosts of all nodes"),
    ],
)
def test_what_is_missing_is_said(place: dict[str, str], change: dict[str, str], complaint: str) -> None:
    ran = run(place, **change)
    assert ran.returncode != 0
    assert complaint in ran.stderr


def end_with_us() -> None:
    """Linux: no broker is left when the test is killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


@pytest.fixture
def real(place: dict[str, str]) -> Iterator[tuple[dict[str, str], subprocess.Popen[bytes]]]:
    """The same with the real Kafka, on free ports of this machine."""
    need_kafka(own=True)
    port = load("layout").free_port(1)
    names = ("CLIENT_PORT", "MTLS_PORT", "INTERNAL_PORT", "CONTROLLER_PORT")
    environment = place | {
        "PATH": os.environ["PATH"],
        "LIBRARIES": command("fetch"),
        "NODE_ID": "1",
        "NODES": "localhost",
        "BIND": "127.0.0.1",
        **{name: str(port + i) for i, name in enumerate(names)},
    }
    with (
        Path(place["SCRATCH"], "log").open("wb") as log,
        subprocess.Popen(["sh", CONTAINER], env=environment, stdout=log, stderr=log, preexec_fn=end_with_us) as process,
    ):
        try:
            yield environment, process
        finally:
            process.kill()


@pytest.mark.kafka
@pytest.mark.xdist_group("private clusters")
def test_a_node_starts_as_compose_starts_it_and_stops_when_told(
    real: tuple[dict[str, str], subprocess.Popen[bytes]],
) -> None:
    place, process = real
    begun = time.monotonic()
    while subprocess.run(["sh", CONTAINER, "healthy"], env=place, capture_output=True).returncode:
        assert process.poll() is None, Path(place["SCRATCH"], "log").read_text()
        assert time.monotonic() - begun < 60
        time.sleep(0.2)
    cluster, secrets = Path(place["SECRETS"], "cluster-id").read_text(), Path(place["SECRETS"])
    probe = load("probe")
    while not probe.live_brokers(f"localhost:{place['INTERNAL_PORT']}", cluster, secrets):
        assert time.monotonic() - begun < 60
        time.sleep(0.1)
    process.terminate()
    assert process.wait(30) in (0, 143)
    told = Path(place["SCRATCH"], "log").read_text()
    assert "storedKey" not in told and "UserScramCredential" not in told  # formatting prints them
