"""`comity notice`: writing, signing, verifying, publishing, receiving and explaining notices."""

from __future__ import annotations

import asyncio
import json
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors import Refused, SignedNotice, notices
from hub.cli import tail as tailing
from hub.cli.checking import check_notice
from hub.cli.faults import UsageFault
from hub.cli.options import (
    DEFAULT_HUB,
    HubOrKafka,
    HubUrl,
    KeyFile,
    Output,
    Target,
    VkeyFile,
    client,
    duration,
    load_key,
    partner,
)
from hub.cli.output import (
    Format,
    InputError,
    moment,
    parse_object,
    read_bytes,
    read_object,
    say,
    write_bytes,
    write_facts,
    write_json,
    write_table,
)
from hub.cli.posting import publish_all, told
from hub.core import strict
from schemas.notice import TYPES

app = typer.Typer(name="notice", help="Notices: signed statements of one agency.", no_args_is_help=True)

REQUIRED = {"type", "subject", "tlp", "data"}
SET_BY_SIGNING = ("iss", "jti", "iat", "exp")
Signed = Annotated[str, typer.Argument(metavar="FILE", help="A signed notice (SD-JWT); - is stdin.")]
Jti = Annotated[str, typer.Argument(metavar="JTI", help="Id of the notice, as `notice publish` told it.")]


@app.command()
def new(
    type_: Annotated[str, typer.Argument(metavar="TYPE", help="Type of notice, such as threat.cyber.v1.")],
    out: Target = "-",
    output: Output = Format.text,
) -> None:
    """Write an example of a type, for you to edit and sign. It is JSON either way."""
    del output
    if type_ not in TYPES:
        raise UsageFault(f"no notice type {type_}; there are {', '.join(TYPES)}")
    example = json.loads((files("schemas") / "examples" / type_ / "good.json").read_text(encoding="utf-8"))
    fields = {name: value for name, value in example.items() if name not in SET_BY_SIGNING}
    write_bytes(out, json.dumps(fields, indent=2, ensure_ascii=False).encode() + b"\n")


@app.command()
def sign(
    source: Annotated[str, typer.Argument(metavar="FILE", help="Fields as JSON, as `notice new` writes; - is stdin.")],
    expires: Annotated[str, typer.Option(help="Lifetime, such as 12h or 30d, where the file has no exp.")] = "30d",
    key: KeyFile = None,
    out: Target = "-",
    output: Output = Format.text,
) -> None:
    """Check and sign a notice. Id and times are set here; nothing is sent.

    With -o json what is written is an object with jti, digest and notice; else the notice alone.
    """
    signer, fields = load_key(key), read_object(source)
    if set_already := [name for name in SET_BY_SIGNING[:3] if name in fields]:
        raise InputError(f"{source}: {', '.join(set_already)}: set by signing; take it out of the file")
    fields.setdefault("exp", duration(expires))
    unknown = fields.keys() - notices.NoticeFields.__annotations__.keys()
    missing = REQUIRED - fields.keys()
    if unknown or missing:
        wrong = [f"unknown: {name}" for name in sorted(unknown)] + [f"missing: {name}" for name in sorted(missing)]
        raise InputError(f"{source}: {'; '.join(wrong)}")
    signed = notices.sign(notices.claims(signer.agency, **fields), signer)
    facts = {"kid": signer.kid, "jti": signed.jti, "digest": signed.digest, "notice": signed.raw.decode()}
    write_bytes(out, signed.raw if output is Format.text else strict.dumps(facts) + b"\n")
    say(f"signed as {signer.kid}, jti {signed.jti}")


@app.command()
def verify(
    source: Signed,
    agencies: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Keys: the output of `agency list -o json`; else the hub is asked."),
    ] = None,
    key: KeyFile = None,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Verify a notice, whole or redacted: signature, sender, disclosures, schema. Exit code 3 when it does not hold."""
    listed = read_object(agencies) if agencies else asyncio.run(_agencies(hub, key))
    found = check_notice(read_bytes(source).strip(), listed)
    if output is Format.json:
        write_json(found)
        return
    claims = found["claims"]
    facts = {name: found[name] for name in ("kid", "digest", "withheld", "key_revoked")}
    facts |= {name: moment(claims[name] * 1000) for name in ("iat", "exp")}
    facts |= {name: value for name, value in sorted(claims.items()) if name not in ("data", "iat", "exp")}
    write_facts(facts | {f"data.{name}": value for name, value in claims["data"].items()})
    say("the notice holds", "green")


@app.command()
def publish(
    sources: Annotated[list[str], typer.Argument(metavar="FILE...", help="Signed notices; - is stdin.")],
    journal: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Journal: what is not answered is sent again, whatever happens.")
    ] = None,
    vkey: VkeyFile = None,
    key: KeyFile = None,
    hub: HubOrKafka = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Publish signed notices. Publishing the same bytes again does no harm: the answer is the same.

    Over HTTP what is published is accepted by the hub, with a receipt. Over Kafka it is written: durable in your topic, to
    be judged by the hub.
    """
    signed = [SignedNotice.read(read_bytes(source).strip()) for source in sources]
    names = {notice.jti: source for notice, source in zip(signed, sources, strict=True)}
    results = asyncio.run(publish_all(signed, hub, key, vkey, journal))
    rows = [told(result, names) for result in results]
    if output is Format.json:
        write_json(rows)
    else:
        write_table(
            ("file", "jti", "outcome", "digest"),
            [[each[n] for n in ("file", "jti", "outcome", "digest")] for each in rows],
        )
    refused = [result for result in results if isinstance(result, Refused)]
    for each in refused[1:] if len(results) > 1 else []:
        say(f"comity: refused: {each}", "red")
    if refused:
        raise refused[0]


@app.command()
def tail(
    after: Annotated[int, typer.Option(help="Only what comes after this offset.")] = -1,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for more, or end with what is there.")
    ] = True,
    inbox: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Store what comes here and acknowledge it; resumes by itself.")
    ] = None,
    pass_over: Annotated[
        bool, typer.Option("--pass-over", help="Go on behind deliveries that a Kafka topic does not hold any more.")
    ] = False,
    key: KeyFile = None,
    hub: HubOrKafka = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Show deliveries as they come, each verified. With -o json one object a line.

    Without --inbox nothing is stored or acknowledged, and the next call shows it again.
    """
    showing = tailing.tail(partner(hub, key), inbox, after, follow=follow, pass_over=pass_over, output=output)
    bad = asyncio.run(showing)
    if bad:
        raise typer.Exit(bad)


@app.command()
def preview(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A signed notice, or fields as JSON; - is stdin.")],
    key: KeyFile = None,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Show who would receive a notice now, and what would be withheld. Nothing is stored or sent on."""
    content = read_bytes(source).strip()
    answer = asyncio.run(_preview(content, source, hub, key))
    if output is Format.json:
        write_json(answer)
        return
    rows = [(each["recipient"], _clause(each), each["withheld"] or "–", each["reason"]) for each in answer["grants"]]
    write_table(("recipient", "clause", "withheld", "reason"), rows, empty="nobody would receive it")
    denied = [(each["agency"], _short(each["reasons"])) for each in answer["denied"]]
    write_table(("not", "why"), denied, empty="")


async def _preview(content: bytes, source: str, hub: str, key: Path | None) -> dict[str, Any]:
    async with client(hub, key) as asked:
        if not content.startswith(b"{"):
            return await asked.preview(SignedNotice.read(content))
        fields = parse_object(content, source)
        given = {name: value for name, value in fields.items() if name not in SET_BY_SIGNING}
        return await asked.preview(notices.claims(asked.key.agency, **given))


@app.command()
def explain(
    jti: Jti,
    agency: Annotated[str, typer.Argument(help="Why this agency received it, or why not.")],
    sender: Annotated[str | None, typer.Option(help="Whose notice it is; by default yours.")] = None,
    key: KeyFile = None,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Explain a decision: the clause that grants, or each reason why none does. For the sender and auditors."""
    answer = asyncio.run(_explain(jti, agency, sender, hub, key))
    if output is Format.json:
        write_json(answer)
        return
    if granted := answer["granted"]:
        withheld = ", ".join(granted["withheld"]) or "nothing"
        write_facts({"granted": agency, "clause": _clause(granted), "withheld": withheld, "reason": granted["reason"]})
        return
    say(f"{agency} did not receive it:")
    rows = [
        (each["agreement"] or "–", each["clause"] or "–", each["code"], each["detail"]) for each in answer["reasons"]
    ]
    write_table(("agreement", "clause", "code", "detail"), rows)


async def _explain(jti: str, agency: str, sender: str | None, hub: str, key: Path | None) -> dict[str, Any]:
    async with client(hub, key) as asked:
        return await asked.explain(jti, agency, iss=sender)


async def _agencies(hub: str, key: Path | None) -> dict[str, Any]:
    async with client(hub, key) as asked:
        return await asked.agencies()


def _clause(grant: dict[str, Any]) -> str:
    return f"{grant['agreement']}@{grant['version']}/{grant['clause']}"


def _short(reasons: list[dict[str, Any]]) -> str:
    """The reasons' codes, each once; the first one that is about the notice itself comes first."""
    return ", ".join(dict.fromkeys(each["code"] for each in reasons))
