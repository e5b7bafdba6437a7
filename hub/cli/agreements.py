"""`comity agreement`: checking, signing, publishing, ending and comparing what agencies agree."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError

from connectors import Refused, statements
from hub.cli.compare import Change, compare
from hub.cli.documents import hand_in, read_document
from hub.cli.options import DEFAULT_HUB, HubUrl, KeyFile, Output, Target, client, load_key
from hub.cli.output import (
    Format,
    InputError,
    moment,
    read_object,
    say,
    write_bytes,
    write_facts,
    write_json,
    write_table,
)
from hub.core import strict
from schemas.agreement import Agreement
from schemas.problems import explain_error

app = typer.Typer(name="agreement", help="What agencies agree: clauses that grant.", no_args_is_help=True)

Source = Annotated[str, typer.Argument(metavar="FILE", help="An agreement, or a signed statement of one; - is stdin.")]
HUB_PREFIX = "hub:"


@app.command()
def check(source: Source, output: Output = Format.text) -> None:
    """Check an agreement as the hub would when it is proposed, and show what it grants."""
    agreement, signed_by, _ = _read(source)
    if output is Format.json:
        write_json({"valid": True, "signed_by": list(signed_by), "agreement": agreement})
        return
    _show(agreement, {"signed by": signed_by or None})
    say(f"{source}: the agreement is valid", "green")


@app.command()
def sign(source: Source, key: KeyFile = None, out: Target = "-", output: Output = Format.text) -> None:
    """Sign for one party. The result is a statement for the next party to sign, or to publish; JSON either way."""
    del output
    agreement, signed_by, document = _read(source)
    signer = load_key(key)
    if signer.agency not in agreement["parties"] and not signed_by:
        raise InputError(f"{signer.agency} is not a party: {', '.join(agreement['parties'])} are")
    document = statements.sign(document, signer) if signed_by else statements.propose(agreement, signer)
    write_bytes(out, strict.dumps(document) + b"\n")
    present = {kid.partition("/")[0] for kid in statements.read(document).kids}
    missing = [party for party in agreement["parties"] if party not in present]
    say(
        f"signed as {signer.kid}; " + (f"still to sign: {', '.join(missing)}" if missing else "all parties have signed")
    )


@app.command()
def publish(source: Source, key: KeyFile = None, hub: HubUrl = DEFAULT_HUB, output: Output = Format.text) -> None:
    """Hand in an agreement that all parties have signed. --key is whose account it is handed in from."""
    document = read_document(source)
    event = asyncio.run(hand_in(document, hub, key))
    said = statements.read(document).payload["agreement"]
    _recorded(event, f"{said['id']} version {said['version']} is published", output)


@app.command()
def terminate(
    agreement: Annotated[str, typer.Argument(metavar="ID", help="Id of the agreement.")],
    reason: Annotated[str, typer.Option(help="Why; it goes on record.")],
    key: KeyFile = None,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """End an agreement, as one of its parties."""
    event = asyncio.run(hand_in(statements.terminate(agreement, reason, load_key(key)), hub, key))
    _recorded(event, f"{agreement} is terminated", output)


@app.command()
def show(
    agreement: Annotated[str | None, typer.Argument(metavar="[ID]", help="Id; without it, list all of yours.")] = None,
    key: KeyFile = None,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Show the agreements you are a party to, or one of them."""
    found = asyncio.run(_agreements(hub, key))
    if agreement is not None:
        found = _named(found, agreement)
    if output is Format.json:
        write_json(found)
    elif agreement is None:
        rows = [(each["id"], each["version"], each["status"], each["parties"], each["title"]) for each in found]
        write_table(("agreement", "version", "status", "parties", "title"), rows, empty="no agreement yet")
    else:
        _show(found[-1], {"status": found[-1]["status"], "digest": found[-1]["digest"]})


@app.command()
def diff(
    old: Annotated[str, typer.Argument(help="A file, -, or hub:<id> for what is published.")],
    new: Annotated[str, typer.Argument(help="Likewise.")],
    key: KeyFile = None,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Show what changes between two versions, clause by clause."""
    both = [_read_or_ask(source, hub, key) for source in (old, new)]
    changes = compare(*both)
    if output is Format.json:
        write_json([change.told() for change in changes])
    else:
        write_table(("what", "before", "after"), [_row(change) for change in changes], empty="nothing changes")


def _row(change: Change) -> tuple[str, str, str]:
    return change.what, _brief(change.before), _brief(change.after)


def _brief(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return ", ".join(value) or "none"
    return value if isinstance(value, str) else strict.dumps(value).decode()


def _read(source: str) -> tuple[dict[str, Any], tuple[str, ...], dict[str, Any]]:
    """The agreement of a file, plain or inside a statement; who has signed it; and the file's whole document.

    InputError names every fault.
    """
    document = agreement = read_object(source)
    signed_by: tuple[str, ...] = ()
    if "payload" in document:
        draft = statements.read(document)
        if draft.kind != "agreement.publish":
            raise InputError(f"{source} is a statement of another kind: {draft.kind}")
        agreement, signed_by = draft.payload["agreement"], draft.kids
    try:
        Agreement.model_validate(agreement)
    except ValidationError as error:
        raise InputError(f"{source}: {explain_error(error)}") from None
    return agreement, signed_by, document


def _read_or_ask(source: str, hub: str, key: Path | None) -> dict[str, Any]:
    if not source.startswith(HUB_PREFIX):
        return _read(source)[0]
    found = _named(asyncio.run(_agreements(hub, key)), source.removeprefix(HUB_PREFIX))
    return {name: value for name, value in found[-1].items() if name not in ("status", "digest")}


async def _agreements(hub: str, key: Path | None) -> list[dict[str, Any]]:
    async with client(hub, key) as asked:
        return await asked.agreements()


def _named(found: list[dict[str, Any]], agreement: str) -> list[dict[str, Any]]:
    versions = sorted((each for each in found if each["id"] == agreement), key=lambda each: int(each["version"]))
    if not versions:
        raise Refused("not-found", f"no agreement {agreement} that you are a party to", status=404)
    return versions


def _show(agreement: dict[str, Any], more: dict[str, Any]) -> None:
    window = agreement["in_force"]
    write_facts(
        {
            "agreement": f"{agreement['id']} version {agreement['version']}", "title": agreement["title"],
            "parties": agreement["parties"], "in force": f"{window['from']} to {window['until']}",
        } | more
    )  # fmt: skip
    columns = ("clause", "from", "to", "covers", "ceiling", "when", "withheld")
    write_table(columns, [_clause(clause) for clause in agreement["clauses"]])


def _clause(clause: dict[str, Any]) -> tuple[Any, ...]:
    conditions = [f"{c['field']} {c['op']} {_brief(c['value'])}" for c in clause.get("when", [])]
    covers = [*clause.get("areas", []), *clause.get("types", [])]
    ceiling, withheld = clause["ceiling"].removeprefix("TLP:"), clause.get("withhold", [])
    return clause["id"], clause["from"], clause["to"], covers, ceiling, "; ".join(conditions), withheld


def _recorded(event: dict[str, Any], what: str, output: Format) -> None:
    if output is Format.json:
        write_json(event)
    else:
        say(f"{what}, in effect from {moment(event['effective'])}, as registry event {event['position']}")
