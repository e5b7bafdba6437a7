"""Clusters of a test's own: to be killed node by node, or sealed. Each is a folder; a guard wipes it if the test is killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.kafka.broker import BROKER, command

StartCluster = Callable[..., "Nodes"]


@dataclass(frozen=True)
class Nodes:
    """A cluster that a test may do anything to. Nodes are numbered from 1. bootstrap: `host:port[,…]` of all of them."""

    home: Path
    bootstrap: str

    @classmethod
    def launch(
        cls, home: Path, nodes: int = 3, mode: str = "plaintext", session_ms: int = 2_000, reauth_ms: int = 60_000
    ) -> Nodes:
        """session_ms: a broker that is silent for so long is dead. Shorter than in earnest, so that tests wait less."""
        times = ("--session-ms", session_ms, "--reauth-ms", reauth_ms)
        size = ("--nodes", nodes, "--mode", mode)
        told = command("start", "--dir", home, "--port", 0, "--watch", os.getpid(), *size, *times)
        return cls(home, told)

    def start(self, node: int | None = None) -> None:
        """Waits until it answers; without a number, until all nodes know of all."""
        command("start", *_only(node), "--dir", self.home)

    def stop(self, node: int | None = None) -> None:
        """In order: its leaderships go to others first."""
        command("stop", *_only(node), "--dir", self.home)

    def kill(self, node: int | None = None) -> None:
        command("kill", *_only(node), "--dir", self.home)

    def pause(self, node: int | None = None) -> None:
        command("pause", *_only(node), "--dir", self.home)

    def resume(self, node: int | None = None) -> None:
        command("resume", *_only(node), "--dir", self.home)

    def wipe(self) -> None:
        command("wipe", "--dir", self.home)

    def is_ready(self) -> bool:
        """Whether every node answers."""
        ran = subprocess.run([sys.executable, BROKER, "status", "--dir", self.home], capture_output=True)
        return ran.returncode == 0

    def log(self, node: int = 1) -> str:
        """What a node has written; every denial is a line."""
        return (self.home / f"node-{node}" / "server.log").read_text(encoding="utf-8", errors="replace")


def _only(node: int | None) -> tuple[int, ...]:
    return () if node is None else (node,)


@dataclass(frozen=True)
class Sealed:
    """A sealed node. client, mtls: `host:port` of its listeners (SASL_SSL with SCRAM-SHA-512; client certificates)."""

    nodes: Nodes
    client: str
    mtls: str

    @classmethod
    def launch(cls, home: Path, reauth_ms: int = 60_000) -> Sealed:
        nodes = Nodes.launch(home, nodes=1, mode="sealed", reauth_ms=reauth_ms)
        host, _, port = nodes.bootstrap.rpartition(":")
        return cls(nodes, nodes.bootstrap, f"{host}:{int(port) + 1}")

    @property
    def ca(self) -> Path:
        return self.nodes.home / "certificates" / "ca.pem"

    def password_file(self, user: str = "admin") -> Path:
        """Of `admin` or `hub`, who are there from the start."""
        return self.nodes.home / "secrets" / f"{user}.password"

    def password(self, user: str = "admin") -> str:
        return self.password_file(user).read_text(encoding="utf-8")

    def certificate(self, name: str, fault: str | None = None) -> Path:
        """Key and certificate CN=<name> in one file; fault: "expired", or "unknown" (of another authority)."""
        folder = self.ca.parent
        script = BROKER.with_name("certificates")
        wanted = (f"--{fault}", name) if fault else (name,)
        subprocess.run([sys.executable, script, folder, *wanted], check=True, capture_output=True)
        return folder / (f"{name}.{fault}.pem" if fault else f"{name}.pem")

    def address(self, user: str = "admin", password_file: Path | None = None) -> str:
        """By password, in the form of hub/core/address.py."""
        return (
            f"kafka+sasl://{user}@{self.client}?ca={self.ca}&password-file={password_file or self.password_file(user)}"
        )

    def agency_address(self, agency: str, fault: str | None = None) -> str:
        """By certificate, in the form of hub/core/address.py."""
        return f"kafka+ssl://{self.mtls}?ca={self.ca}&cert={self.certificate(agency, fault)}"
