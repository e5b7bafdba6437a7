"""What docker-compose.yml starts, started as processes of this machine: the same commands, settings, secrets and order.

Only what a container would give is put in its place: host names, folders, ports.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy import composition
from tests.deploy.composition import ROOT
from tests.deploy.test_container import end_with_us, load
from tests.kafka.broker import command
from tests.kafka.fixtures import need_kafka

ROLES = ("registry", "router", "notary", "api")
pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(240),
    pytest.mark.xdist_group("private clusters"),
]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Machine:
    """Services by name, each a process; a volume is a folder, so is a tmpfs."""

    def __init__(self, home: Path) -> None:
        self.home = home
        subprocess.run([sys.executable, ROOT / "deploy" / "prepare", "--into", home], check=True, capture_output=True)
        self.services: dict[str, dict[str, Any]] = composition.read(composition.environment_of(home / ".env"))[
            "services"
        ]
        self.kafka = load("layout").free_port(1)
        self.ports = {name: free_port() for name in ROLES}
        self.running: dict[str, subprocess.Popen[bytes]] = {}
        self.began: set[str] = set()
        self.tools = f"{Path(sys.executable).parent}:{os.environ['PATH']}"

    def here(self, text: str) -> str:
        """A value of the file, as it is on this machine."""
        for there, port in {
            "kafka-1:9092": self.kafka,
            "kafka-1:9093": self.kafka + 1,
            "api:8470": self.ports["api"],
        }.items():
            text = text.replace(there, f"localhost:{port}")
        text = re.sub(r"\bkafka-1\b", "localhost", text)
        text = text.replace("/run/secrets", str(self.home / "deploy" / "secrets"))
        return text.replace("/etc/comity", str(ROOT / "deploy"))

    def folder(self, name: str, inside: str) -> Path:
        """What a container has at a path: a volume that others may have too, or something of its own."""
        mounted = [volume.split(":") for volume in self.services[name].get("volumes", [])]
        volume = next(
            (source for source, target, *_ in mounted if target == inside), f"{name}{inside.replace('/', '-')}"
        )
        place = self.home / volume
        place.mkdir(mode=0o700, exist_ok=True)
        return place

    def up(self, name: str) -> None:
        """Starts it, and before it what it depends on, as far as it says."""
        if name in self.began:
            return
        self.began.add(name)
        for other, wanted in self.services[name].get("depends_on", {}).items():
            self.up(other)
            match wanted["condition"]:
                case "service_healthy":
                    self.wait(other, lambda other=other: self.is_healthy(other))  # type: ignore[misc]
                case "service_completed_successfully":
                    assert self.running[other].wait(90) == 0, self.log(other)
                case "service_started":
                    pass
        self.start(name)

    def start(self, name: str) -> None:
        service = self.services[name]
        environment = {key: self.here(str(value)) for key, value in service.get("environment", {}).items()}
        environment |= {"PATH": self.tools, "HOME": str(self.home), "SECRETS": str(self.home / "deploy" / "secrets")}
        environment |= {"SCRATCH": str(self.folder(name, "/tmp"))}
        words = [self.here(word) for word in [*service.get("entrypoint", ["comity"]), *service.get("command", [])]]
        if name.startswith("kafka"):
            names = ("CLIENT_PORT", "MTLS_PORT", "INTERNAL_PORT", "CONTROLLER_PORT")
            environment |= {key: str(self.kafka + i) for i, key in enumerate(names)}
            environment |= {"VOLUME": str(self.folder(name, "/var/lib/kafka/data")), "LIBRARIES": command("fetch")}
        elif name.startswith("demo"):
            environment |= {"DATA": str(self.home / "demo"), "KEYS": str(self.home / "demo"), "PAUSE": "1"}
            environment |= {"HERE": str(ROOT / "deploy" / "demo"), "INBOX": str(self.folder(name, "/data") / "inbox")}
            environment |= {"COMITY_CLIENT_URL": self.url("api"), "API": self.url("api")}
            self.folder("demo-setup", "/data")
        elif name in self.ports:
            environment |= {"COMITY_PORT": str(self.ports[name]), "COMITY_HOST": "127.0.0.1"}
            environment |= {"COMITY_DATA_DIR": str(self.folder(name, "/data"))}
        with (self.home / f"{name}.log").open("wb") as log:
            self.running[name] = subprocess.Popen(
                words, env=environment, stdout=log, stderr=log, cwd=self.home, preexec_fn=end_with_us
            )

    def url(self, role: str) -> str:
        return f"http://localhost:{self.ports[role]}"

    def wait(self, name: str, true: Callable[[], bool], seconds: float = 90) -> None:
        begun = time.monotonic()
        while not true():
            ended = self.running[name].poll()
            late = time.monotonic() - begun > seconds
            assert ended is None and not late, f"{name} ({ended}):\n" + self.log(name)[-4_000:]
            time.sleep(0.2)

    def is_healthy(self, name: str) -> bool:
        """A broker whose port is open, a role that answers that it is ready."""
        if name.startswith("kafka"):
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.kafka)) == 0
        try:
            with urllib.request.urlopen(self.url(name) + "/readyz", timeout=4) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    def log(self, name: str) -> str:
        return (self.home / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> dict[str, int]:
        """In the order of a stop: brokers last. Each one's exit code."""
        codes = {}
        for name in reversed(self.running):
            self.running[name].send_signal(signal.SIGTERM)
            try:
                codes[name] = self.running[name].wait(30)
            except subprocess.TimeoutExpired:
                self.running[name].kill()
                codes[name] = self.running[name].wait()
        return codes


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    need_kafka(own=True)
    made = Machine(tmp_path_factory.mktemp("machine"))
    try:
        yield made
    finally:
        made.stop()


def test_two_partners_talk_through_a_hub_of_many_processes(machine: Machine) -> None:
    for name in machine.services:
        if name not in ("kafka-2", "kafka-3"):
            machine.up(name)
    for role in ROLES:
        machine.wait(role, lambda role=role: machine.is_healthy(role))  # type: ignore[misc]
    published = machine.home / "demo-publisher-tmp" / "published"
    machine.wait("demo-publisher", published.exists)
    inbox = machine.folder("demo-subscriber", "/data") / "inbox"
    machine.wait(
        "demo-subscriber", lambda: "Information disclosure" in machine.log("demo-subscriber") and inbox.exists()
    )
    codes = machine.stop()
    assert {name: codes[name] for name in ROLES} == dict.fromkeys(ROLES, 0)
