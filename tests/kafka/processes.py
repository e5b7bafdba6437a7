"""A hub of several processes on a cluster, each a real `comity` command, started and killed by a test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from connectors import Client, PartnerKey, statements
from hub.registry import OPERATOR_KID

COMITY = Path(sys.executable).with_name("comity")
START_SECONDS = 60
GRACE_SECONDS = 1.0


@dataclass
class Process:
    """One that runs; `url` is what it serves."""

    name: str
    child: subprocess.Popen[str]
    url: str
    log: Path

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()

    def stop(self) -> int:
        self.child.terminate()
        return self.child.wait(timeout=30)

    async def metrics(self) -> str:
        async with httpx2.AsyncClient() as client:
            return (await client.get(f"{self.url}/metrics")).text

    async def value(self, metric: str) -> float:
        """The sum of all its lines that begin so."""
        lines = [line for line in (await self.metrics()).splitlines() if line.startswith(metric)]
        return sum(float(line.rpartition(" ")[2]) for line in lines)


class Processes:
    """Starts roles on one cluster, with keys of their own; ends all of them with the test."""

    def __init__(self, home: Path, address: str, **environment: str) -> None:
        self.home, self.address = home, address
        self.operator = Ed25519PrivateKey.generate()
        keys = {"hub": Ed25519PrivateKey.generate(), "operator": self.operator}
        for name, key in keys.items():
            pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
            (home / f"{name}.pem").write_bytes(pem)
        plain = {name: value for name, value in os.environ.items() if not name.startswith("COMITY_")}
        self._environment = plain | {
            "COMITY_KAFKA": address,
            "COMITY_HUB_KEY_FILE": str(home / "hub.pem"),
            "COMITY_OPERATOR_KEY_FILE": str(home / "operator.pem"),
            "COMITY_GRACE_MS": f"{GRACE_SECONDS * 1000:.0f}",
            "COMITY_CHECKPOINT_INTERVAL_MS": "50",
            **environment,
        }
        self._children: list[subprocess.Popen[str]] = []

    def begin(self, role: str, **environment: str) -> tuple[subprocess.Popen[str], Path]:
        number = len(list(self.home.glob("*.log")))
        log = self.home / f"{number}-{role}.log"
        child = subprocess.Popen(
            [COMITY, role, "-o", "json", "--port", "0", "--dir", self.home / f"{number}-{role}"],
            env=self._environment | environment, stdout=subprocess.PIPE, stderr=log.open("w"), text=True,
        )  # fmt: skip
        self._children.append(child)
        return child, log

    async def start(self, *roles: str, **environment: str) -> list[Process]:
        """All at once; returns when each serves."""
        begun = [(role, *self.begin(role, **environment)) for role in roles]
        started = []
        for role, child, log in begun:
            assert child.stdout is not None
            line = await asyncio.wait_for(asyncio.to_thread(child.stdout.readline), START_SECONDS)
            assert line, f"{role} ended:\n{log.read_text()}"
            said = json.loads(line)
            started.append(Process(role, child, said.get("serves") or said["hub"], log))
        return started

    def close(self) -> None:
        for child in self._children:
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGCONT)
                child.kill()
            child.wait()

    def client(self, url: str, key: PartnerKey | None = None, vkey: str | None = None) -> Client:
        return Client(url, key or PartnerKey("operator", OPERATOR_KID, self.operator), vkey=vkey, patience=40.0)

    async def enrol(self, url: str, *agencies: str) -> dict[str, PartnerKey]:
        keys = {agency: PartnerKey.generate(agency, "1") for agency in agencies}
        operator = PartnerKey("operator", OPERATOR_KID, self.operator)
        async with self.client(url) as client:
            for agency, key in keys.items():
                drawn_up = statements.enroll(agency, agency, key, role="partner")
                await client.statement(statements.sign(drawn_up, operator))
        await asyncio.sleep(GRACE_SECONDS + 0.2)  # until the keys are good
        return keys

    async def agree(self, url: str, keys: dict[str, PartnerKey], agreement: dict[str, object]) -> None:
        first, *others = agreement["parties"]  # type: ignore[misc]
        document = statements.propose(agreement, keys[first])
        for party in others:
            document = statements.sign(document, keys[party])
        async with self.client(url, keys[first]) as client:
            await client.statement(document)
        await asyncio.sleep(GRACE_SECONDS + 0.2)
