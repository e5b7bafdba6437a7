"""Partners of a running hub: enrolled through its own interface, with agreements between them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from connectors import Client, PartnerKey, statements
from connectors.partner import Partner
from tests.world import CYBER

_numbers = count(1)


@dataclass(frozen=True)
class Running:
    """A hub that serves."""

    url: str
    vkey: str
    operator: PartnerKey
    process: subprocess.Popen[str]

    def client(self, key: PartnerKey, journal: Path | None = None, **more: Any) -> Client:
        return Client(self.url, key, journal=journal, vkey=self.vkey, **{"patience": 20.0} | more)


@contextmanager
def running(directory: Path, port: int = 0) -> Iterator[Running]:
    command = [sys.executable, "-m", "tests.connectors.hub_process", str(directory), str(port)]
    log = directory.with_suffix(".log")
    with (
        log.open("wb") as errors,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as process,
    ):
        try:
            url = next((line.split()[1] for line in process.stdout or () if line.startswith("READY ")), None)
            assert url, log.read_text()[-2000:]
            operator = PartnerKey.from_pem("operator/1", (directory / "keys" / "operator.pem").read_bytes())
            yield Running(url, (directory / "hub.vkey").read_text(), operator, process)
        finally:
            process.terminate()


def fresh(country: str) -> PartnerKey:
    """The key of an agency that no other test has."""
    return PartnerKey.generate(f"{country}-test{next(_numbers)}", "2026-1")


async def enroll(hub: Running, *keys: PartnerKey, role: str = "partner") -> None:
    async with hub.client(hub.operator) as client:
        for key in keys:
            drawn = statements.enroll(key.agency, key.agency.upper(), key, role=role)
            await client.statement(statements.sign(drawn, hub.operator))


async def agree(hub: Running, sender: PartnerKey, recipient: PartnerKey, **clause: Any) -> None:
    """Sender's security notices up to AMBER go to the recipient, without source_detail."""
    usual = {"areas": ["security"], "types": [], "ceiling": "TLP:AMBER", "when": [], "withhold": ["source_detail"]}
    agreement = {
        "id": f"{sender.agency}-{recipient.agency}", "version": 1, "title": "Test agreement",
        "parties": sorted([sender.agency, recipient.agency]),
        "in_force": {"from": "2020-01-01T00:00:00Z", "until": "2090-01-01T00:00:00Z"},
        "clauses": [{"id": "c1", "from": [sender.agency], "to": [recipient.agency]} | usual | clause],
    }  # fmt: skip
    async with hub.client(sender) as client:
        await client.statement(statements.sign(statements.propose(agreement, sender), recipient))


async def pair(hub: Running, **clause: Any) -> tuple[PartnerKey, PartnerKey]:
    """A sender and a recipient with an agreement."""
    sender, recipient = fresh("us"), fresh("jp")
    await enroll(hub, sender, recipient)
    await agree(hub, sender, recipient, **clause)
    return sender, recipient


def cyber(client: Partner, subject: str = "edge-gateway", **change: Any) -> Any:
    """A notice of the client's agency."""
    usual: dict[str, Any] = {"type": "threat.cyber.v1", "subject": subject, "tlp": "TLP:GREEN", "data": CYBER}
    return client.notice(**usual | change)
