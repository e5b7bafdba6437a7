"""What a cluster is: its nodes, ports and ids, kept in `layout.json`; and the properties that a node starts with."""

from __future__ import annotations

import base64
import json
import os
import random
import re
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"
LISTENERS = ("CLIENT", "MTLS", "INTERNAL", "CONTROLLER")
STEP = 10  # from the ports of one node to those of the next
BELOW_EPHEMERAL = range(20_000, 32_000, 40)  # where no outgoing connection takes a port away

Mode = Literal["plaintext", "sealed"]


class ClusterError(Exception):
    """The cluster cannot do what was asked; the message says why, and what to do."""


def new_id() -> str:
    """A Kafka uuid. Never a leading dash: it would read as an option."""
    return base64.urlsafe_b64encode(bytes([os.urandom(1)[0] & 0x7F, *os.urandom(15)])).decode()[:22]


@dataclass(frozen=True, slots=True)
class Layout:
    """Fixed when a cluster is first started.

    session_ms: a broker that is silent for so long is taken for dead. reauth_ms: an authenticated session lasts so long.
    """

    nodes: int
    mode: Mode
    port: int
    cluster: str
    session_ms: int = 6_000
    reauth_ms: int = 60_000

    @classmethod
    def new(cls, nodes: int, mode: Mode, port: int, **times: int) -> Layout:
        """port 0: free ones are found."""
        return cls(nodes, mode, port or free_port(nodes), new_id(), **times)

    @classmethod
    def read(cls, path: Path) -> Layout:
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def write(self, path: Path) -> None:
        part = path.with_suffix(".part")
        part.write_text(json.dumps(asdict(self), indent=1), encoding="utf-8")
        part.replace(path)

    @property
    def ids(self) -> range:
        return range(1, self.nodes + 1)

    def port_of(self, node: int, listener: str) -> int:
        return self.port + STEP * (node - 1) + LISTENERS.index(listener)

    def address(self, node: int, listener: str) -> str:
        return f"{HOST}:{self.port_of(node, listener)}"

    def bootstrap(self, listener: str = "CLIENT") -> str:
        return ",".join(self.address(node, listener) for node in self.ids)

    @property
    def voters(self) -> str:
        """The first quorum, as the formatting of every node is told it. Each node's folder has an id of its own."""
        where = {node: self.address(node, "CONTROLLER") for node in self.ids}
        return ",".join(f"{node}@{where[node]}:{node}{self.cluster[1:]}" for node in self.ids)

    def values(self, node: int, home: Path) -> dict[str, str]:
        """What is filled into the properties files."""
        values: dict[str, object] = {
            "NODE_ID": node,
            "QUORUM": self.bootstrap("CONTROLLER"),
            "DATA": home / f"node-{node}" / "data",
            "CERTS": home / "certificates",
            "BIND": HOST,
            "HOST": HOST,
            "PUBLIC_HOST": HOST,
            "REPLICATION": self.nodes,
            "MIN_ISR": 2 if self.nodes > 1 else 1,
            "SESSION_MS": self.session_ms,
            "REAUTH_MS": self.reauth_ms,
        }
        values |= {f"{listener}_PORT": self.port_of(node, listener) for listener in LISTENERS}
        return {name: str(value) for name, value in values.items()}


def render(mode: Mode, values: dict[str, str]) -> str:
    """A node's server.properties."""
    text = "\n".join((HERE / f"{name}.properties").read_text(encoding="utf-8") for name in ("common", mode))
    return re.sub(r"\$\{([A-Z_]+)\}", lambda found: values[found[1]], text)


def free_port(nodes: int) -> int:
    """The first of a row of ports that nobody listens on. Two that ask at once may get the same: readiness finds out."""
    for port in random.sample(BELOW_EPHEMERAL, len(BELOW_EPHEMERAL)):
        if all(_free(port + STEP * node + i) for node in range(nodes) for i in range(len(LISTENERS))):
            return port
    raise ClusterError("no free row of ports between 20000 and 32000; name one: --port N")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
