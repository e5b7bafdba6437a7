"""`comity agency`: who takes part."""

from __future__ import annotations

import asyncio
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors import Refused, statements
from hub.cli.documents import hand_in, read_document
from hub.cli.faults import UsageFault
from hub.cli.options import DEFAULT_HUB, HubUrl, KeyFile, Output, client, load_key
from hub.cli.output import Format, moment, say, write_facts, write_json, write_table

app = typer.Typer(name="agency", help="Who takes part.", no_args_is_help=True)


class Role(StrEnum):
    """What an agency may do."""

    partner = "partner"
    auditor = "auditor"


@app.command()
def enroll(
    request: Annotated[
        str | None, typer.Argument(metavar="[REQUEST]", help="An enrolment that the agency drew up: a file, or -.")
    ] = None,
    agency_key: Annotated[
        Path | None, typer.Option("--agency-key", metavar="FILE", help="The agency's new key: draws up the enrolment.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The agency's name, with --agency-key.")] = None,
    role: Annotated[Role, typer.Option(help="partner, or auditor: reads the whole ledger.")] = Role.partner,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the key is valid.")] = 730,
    draft: Annotated[bool, typer.Option("--draft", help="Only draw up: write the request to stdout.")] = False,
    key: KeyFile = None,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Enrol an agency: it draws up the request with its own key, the operator countersigns with --key.

    The agency: comity agency enroll --agency-key FILE --name NAME --draft > request.json
    The operator: comity agency enroll request.json --key operator.pem. Or both at once, where one has both keys.
    """
    if (request is None) == (agency_key is None):
        raise UsageFault("either a REQUEST that the agency drew up, or --agency-key and --name to draw one up")
    if agency_key is not None:
        drawer = load_key(agency_key)
        if not name:
            raise UsageFault("--name: how is the agency called?")
        document = statements.enroll(drawer.agency, name, drawer, role=role.value, days=days)
    else:
        document = read_document(request or "-")
    if draft:
        write_json(document)
        return
    event = asyncio.run(hand_in(statements.sign(document, load_key(key)), hub, key))
    said = statements.read(document).payload
    if output is Format.json:
        write_json(event)
    else:
        say(f"{said['agency']['id']} is enrolled with key {said['key']['kid']}, as registry event {event['position']}")


@app.command(name="list")
def list_(key: KeyFile = None, hub: HubUrl = DEFAULT_HUB, output: Output = Format.text) -> None:
    """List all agencies. With -o json also their keys, as `notice verify --agencies` reads them."""
    answer = asyncio.run(_agencies(hub, key))
    if output is Format.json:
        write_json(answer)
        return
    rows = [(each["id"], each["role"], each["name"], len(each["keys"])) for each in answer["agencies"]]
    write_table(("agency", "role", "name", "keys"), rows, empty="no agency is enrolled yet")


@app.command()
def show(
    agency: Annotated[str, typer.Argument(help="The agency's id, such as at-cert.")],
    key: KeyFile = None,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Show one agency and its keys."""
    answer = asyncio.run(_agencies(hub, key))
    found = next((each for each in answer["agencies"] if each["id"] == agency), None)
    if found is None:
        raise Refused("not-found", f"no agency {agency} is enrolled; `comity agency list` shows all", status=404)
    if output is Format.json:
        write_json(found)
        return
    write_facts({"agency": found["id"], "name": found["name"], "role": found["role"]})
    columns = ("key", "public key", "from", "until", "revoked")
    times = ("not_before", "not_after", "revoked")
    write_table(columns, [(k["kid"], k["x"], *(moment(k[name]) for name in times)) for k in found["keys"]])


async def _agencies(hub: str, key: Path | None) -> dict[str, Any]:
    async with client(hub, key) as asked:
        return await asked.agencies()
