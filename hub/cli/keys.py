"""`comity key`: making, rotating and revoking the keys that agencies sign with."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from connectors import PartnerKey, statements
from connectors.ids import now_ms
from hub.cli.documents import hand_in
from hub.cli.options import DEFAULT_HUB, HubUrl, KeyFile, Output, duration, instant, load_key
from hub.cli.output import Format, moment, say, write_facts, write_json
from hub.core.strict import b64

app = typer.Typer(name="key", help="The keys that agencies sign with.", no_args_is_help=True)

KeyTarget = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="The new key file; never over another.")]
KeyName = Annotated[str | None, typer.Option("--name", help="The key's name after the agency; by default the year.")]


@app.command()
def new(
    agency: Annotated[str, typer.Argument(help="Id of the agency: country, dash, short name, such as at-cert.")],
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The key's name; by default the year.")] = None,
    out: KeyTarget = None,
    output: Output = Format.text,
) -> None:
    """Make a key file (mode 0600). Nothing is sent; `comity agency enroll` registers an agency's first key."""
    key = PartnerKey.generate(agency, name or f"{datetime.now(UTC).year}-1")
    _written(key, key.save(out or Path(f"{agency}.key.json")), output)


@app.command()
def rotate(
    key: KeyFile = None,
    name: KeyName = None,
    out: KeyTarget = None,
    overlap: Annotated[str, typer.Option(help="How long the old key stays good, such as 24h.")] = "24h",
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the new key is valid.")] = 730,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Make a new key, register it with the old one, and let the old one retire."""
    old = load_key(key)
    retire_at = now_ms() + int(duration(overlap).total_seconds() * 1000)
    fresh = PartnerKey.generate(old.agency, name or _next(old.kid))
    # On disk before the hub knows it: a key that is registered and lost could not be revoked by itself.
    file = fresh.save(out or Path(f"{fresh.kid.replace('/', '.')}.key.json"))
    asyncio.run(hand_in(statements.add_key(old, fresh, retire_at=retire_at, days=days), hub, key))
    say(f"{old.kid} retires at {moment(retire_at)}; sign with {file} from now on")
    _written(fresh, file, output)


@app.command()
def revoke(
    kid: Annotated[str, typer.Argument(metavar="KID", help="Id of the key, such as at-cert/2026-1.")],
    reason: Annotated[str, typer.Option(help="Why; it goes on record.")],
    compromised_from: Annotated[
        str | None, typer.Option(metavar="INSTANT", help="From when its signatures are suspect: 2026-03-01T12:00:00Z.")
    ] = None,
    key: KeyFile = None,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """End a key at once: by any good key of its agency (that one, too), or by the operator."""
    suspect = None if compromised_from is None else instant(compromised_from)
    document = statements.revoke_key(load_key(key), kid, reason, compromised_from=suspect)
    event = asyncio.run(hand_in(document, hub, key))
    if output is Format.json:
        write_json(event)
    else:
        say(f"{kid} is revoked from {moment(event['effective'])} on, as registry event {event['position']}")


def _next(kid: str) -> str:
    """A name after the old one's: 2026-1 → 2026-2 within the year, else the year's first."""
    year, name = datetime.now(UTC).year, kid.partition("/")[2]
    counted = re.fullmatch(rf"{year}-([0-9]{{1,3}})", name)
    return f"{year}-{int(counted[1]) + 1 if counted else 1}"


def _written(key: PartnerKey, file: Path, output: Format) -> None:
    facts = {"agency": key.agency, "kid": key.kid, "public": b64(key.public), "file": str(file)}
    if output is Format.json:
        write_json(facts)
    else:
        write_facts(facts)
