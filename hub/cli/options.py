"""Options that commands share, and what they stand for: a hub's address, a key, an output format."""

from __future__ import annotations

import logging
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from connectors import Client, PartnerKey
from connectors.errors import KeyFileError
from connectors.kafka import KafkaClient
from connectors.partner import Partner
from hub.cli.faults import UsageFault
from hub.cli.output import Format, InputError, read_bytes
from hub.core.address import SCHEMES, AddressError, KafkaAddress
from hub.registry import OPERATOR_KID

DEFAULT_HUB = "http://127.0.0.1:8470"
PATIENCE = 15.0  # seconds that a command waits for a hub to decide

HubUrl = Annotated[str, typer.Option("--hub", envvar="COMITY_CLIENT_URL", metavar="URL", help="Address of the hub.")]
HubOrKafka = Annotated[
    str,
    typer.Option(
        "--hub",
        envvar="COMITY_CLIENT_URL",
        metavar="URL",
        help="Address of the hub, or of its Kafka cluster: kafka://HOST:PORT.",
    ),
]
KeyFile = Annotated[
    Path | None,
    typer.Option("--key", envvar="COMITY_CLIENT_KEY", metavar="FILE", help="Your key file, or the operator's PEM."),
]
VkeyFile = Annotated[
    Path | None,
    typer.Option("--vkey", envvar="COMITY_CLIENT_VKEY", metavar="FILE", help="The hub's verifier key, `hub.vkey`."),
]
Output = Annotated[Format, typer.Option("--output", "-o", help="Form of what is written to stdout.")]
Target = Annotated[str, typer.Option("--out", metavar="FILE", help="Where to write; - is stdout.")]


def load_key(path: Path | None) -> PartnerKey:
    """A partner's key file, or the operator's PEM out of a hub's data directory."""
    if path is None:
        raise UsageFault("no key: name your key file with --key, or in COMITY_CLIENT_KEY")
    try:
        with path.open("rb") as file:
            pem = file.read(10) == b"-----BEGIN"
    except OSError as error:
        raise KeyFileError(f"cannot read the key file {path}: {error.strerror}") from None
    if not pem:
        return PartnerKey.load(path)
    if path.stat().st_mode & 0o077:
        raise KeyFileError(f"{path} can be read by others: chmod 600 {path}")
    return PartnerKey.from_pem(OPERATOR_KID, path.read_bytes(), str(path))


def load_vkey(path: Path | None) -> str | None:
    return None if path is None else read_bytes(str(path)).decode("utf-8", "replace").strip()


def client(hub: str, key: Path | None, vkey: Path | None = None, journal: Path | None = None) -> Client:
    """The client of a command over HTTP; use it as an async context manager."""
    return Client(over_http(hub), load_key(key), journal=journal, vkey=load_vkey(vkey), patience=PATIENCE)


def over_http(hub: str) -> str:
    """The address as given; UsageFault when it is a Kafka cluster's."""
    if _is_kafka(hub):
        raise UsageFault(
            f"{hub.partition('?')[0]}: this goes over HTTP only: name the hub's own address with --hub https://…; "
            "over Kafka go `comity notice publish` and `comity notice tail`"
        )
    return hub


def partner(hub: str, key: Path | None, vkey: Path | None = None, journal: Path | None = None) -> Partner:
    """The client of a command over whichever the address says. Kafka has no receipts, so nothing to verify by vkey."""
    if not _is_kafka(hub):
        return client(hub, key, vkey, journal)
    try:
        address = KafkaAddress.parse(hub)
    except AddressError as error:
        raise UsageFault(f"--hub: {error}") from None
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # what matters of it, the client says itself
    return KafkaClient(address, load_key(key), journal=journal, patience=PATIENCE)


def _is_kafka(hub: str) -> bool:
    return hub.partition("://")[0] in SCHEMES


def duration(text: str) -> timedelta:
    """`90s`, `30m`, `12h`, `30d`; UsageFault for anything else."""
    units = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text)
    if found is None:
        raise UsageFault(f"{text!r} is no duration: write a number and s, m, h or d, such as 30d")
    return timedelta(**{units[found[2]]: int(found[1])})


def instant(text: str) -> int:
    """An RFC 3339 instant as milliseconds since the epoch; UsageFault for anything else."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        raise UsageFault(f"{text!r} is no instant: write it as 2026-03-01T12:00:00Z") from None
    return round((parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).timestamp() * 1000)


def existing(directory: Path) -> Path:
    """The hub's data directory: `directory` itself, or the `data` inside the directory of a demo."""
    for place in (directory, directory / "data"):
        if (place / "comity.db").is_file():
            return place
    raise InputError(f"{directory} holds no ledger (comity.db): name the data directory of a hub with --dir")
