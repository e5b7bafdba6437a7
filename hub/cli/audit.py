"""`comity audit`: whether the ledger holds, proven to whoever asks, believing signed bytes only."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import typer

from connectors import SignedNotice
from connectors.evidence import Proof
from hub.auditor import Report
from hub.auditor import verify as audit
from hub.cli.faults import UNVERIFIED, UsageFault
from hub.cli.options import DEFAULT_HUB, HubUrl, KeyFile, Output, Target, VkeyFile, client, existing, load_vkey
from hub.cli.output import (
    Format,
    InputError,
    console,
    moment,
    progress,
    read_bytes,
    say,
    write_bytes,
    write_facts,
    write_json,
    write_table,
)
from hub.cli.replay import Replay, replay_entry
from hub.core.checkpoint import Verifier, open_checkpoint
from hub.core.strict import b64
from hub.log import Log
from hub.log.embedded import EmbeddedLog

app = typer.Typer(name="audit", help="Whether the ledger holds.", no_args_is_help=True)

Directory = Annotated[Path, typer.Option("--dir", help="Data directory of a hub, running or not, or of a demo.")]
Kafka = Annotated[
    str | None, typer.Option("--kafka", metavar="ADDRESS", help="A hub on a Kafka cluster instead: kafka://HOST:PORT.")
]


@app.command()
def verify(
    directory: Directory = Path("data"),
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A checkpoint kept earlier: the ledger must still contain it.")
    ] = None,
    vkey: VkeyFile = None,
    kafka: Kafka = None,
    allow_erased: Annotated[
        bool, typer.Option("--allow-erased", help="Parts may be missing that were erased lawfully.")
    ] = False,
    output: Output = Format.text,
) -> None:
    """Recompute the tree, check every signature, and decide every decision again.

    Exit code 3 when something does not hold; the first entry that does not is named. The verifier key in the
    directory is used unless you bring yours: an auditor should. On a cluster you must.
    """
    if kafka is not None and vkey is None:
        raise UsageFault("no verifier key: name the hub's `hub.vkey`, which you were given, with --vkey")
    text = load_vkey(vkey or existing(directory) / "hub.vkey") or ""
    known = None if checkpoint is None else read_bytes(str(checkpoint))
    report = asyncio.run(_verify(kafka, directory, Verifier.parse(text), known, allow_erased))
    if output is Format.json:
        write_json(_told(report))
    else:
        _show(report, brought=vkey is not None)
    if not report.holds:
        first = report.findings[0]
        say(f"comity: the ledger does not hold: {first}", "red")
        raise typer.Exit(UNVERIFIED)


async def _verify(
    kafka: str | None, directory: Path, vkey: Verifier, known: bytes | None, allow_erased: bool
) -> Report:
    async with _reading(kafka, directory) as log:
        with progress() as bar:
            task = bar.add_task("auditing", total=None)
            return await audit(
                log, vkey, known=known, allow_erased=allow_erased,
                progress=lambda done, total: bar.update(task, completed=done, total=total),
            )  # fmt: skip


@contextlib.asynccontextmanager
async def _reading(kafka: str | None, directory: Path) -> AsyncIterator[Log]:
    """A hub's log, that nothing is written to."""
    if kafka is None:
        log: Log = EmbeddedLog.open(existing(directory) / "comity.db", read_only=True)
    else:
        from hub.log.kafka import KafkaLog  # most commands need no Kafka client

        log = await KafkaLog.open(kafka)
    try:
        yield log
    finally:
        await log.close()


def _told(report: Report) -> dict[str, Any]:
    names = (
        "entries", "statements", "notices", "refused", "deliveries", "acknowledgements", "reads", "checkpoints",
        "uncovered", "pending", "erased",
    )  # fmt: skip
    findings = [{"index": f.index, "where": f.where, "what": f.what} for f in report.findings]
    counts = {name: getattr(report, name) for name in names}
    return {"holds": report.holds} | counts | {"root": b64(report.root), "findings": findings, "notes": report.notes}


def _show(report: Report, *, brought: bool) -> None:
    told = _told(report)
    write_facts({name: value for name, value in told.items() if name not in ("holds", "findings", "notes")})
    for note in report.notes:
        say(f"note: {note}", "dim")
    if not brought:
        say("note: the verifier key is the directory's own; bring the one that you were given with --vkey", "dim")
    if report.findings:
        write_table(
            ("where", "what does not hold"), [(finding.where, finding.what) for finding in report.findings[:50]]
        )
    else:
        console().print("the ledger holds", style="green")


@app.command()
def checkpoint(
    vkey: VkeyFile = None,
    out: Target = "-",
    key: KeyFile = None,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Fetch the newest checkpoint and verify it. Keep it: `audit verify --checkpoint` holds the ledger against it.

    For everyone with a key. Partners that compare theirs make sure that all are shown the same ledger.
    """
    if vkey is None:
        raise UsageFault("a checkpoint is checked under the hub's verifier key: name it with --vkey (hub.vkey)")
    note = asyncio.run(_checkpoint(hub, key, vkey))
    signed = open_checkpoint(note, Verifier.parse(load_vkey(vkey) or ""))
    if output is Format.json:
        facts = {"origin": signed.origin, "size": signed.size, "root": b64(signed.root), "checkpoint": note.decode()}
        write_json(facts)
        return
    write_bytes(out, note)
    say(f"a checkpoint over {signed.size} entries; it holds", "green")


async def _checkpoint(hub: str, key: Path | None, vkey: Path) -> bytes:
    async with client(hub, key, vkey) as asked:
        return await asked.checkpoint()


@app.command()
def prove(
    notice: Annotated[str, typer.Argument(metavar="NOTICE", help="A signed notice in a file, -, or its digest.")],
    vkey: VkeyFile = None,
    key: KeyFile = None,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Fetch the proof that the ledger holds a notice, and verify it under the hub's key.

    For its sender, its recipients (each its own delivery) and auditors.
    """
    if vkey is None:
        raise UsageFault("a proof is checked under the hub's verifier key: name it with --vkey (hub.vkey)")
    digest = notice
    if notice == "-" or Path(notice).exists():
        digest = SignedNotice.read(read_bytes(notice).strip()).digest
    elif len(notice) != 43:
        raise InputError(f"{notice} is neither a file nor a digest (43 characters, base64url)")
    proof = asyncio.run(_prove(digest, hub, key, vkey))
    facts = {
        "digest": digest, "entry": proof.index, "of": proof.checkpoint.size, "outcome": proof.leaf["outcome"],
        "at": moment(proof.leaf["at"]), "registry": proof.leaf["registry"], "root": b64(proof.checkpoint.root),
    }  # fmt: skip
    if output is Format.json:
        write_json(facts | {"leaf": proof.leaf, "sealed": proof.sealed, "delivery": proof.delivery})
        return
    write_facts(facts)
    for delivery in _deliveries(proof):
        clause = f"{delivery['agreement']}@{delivery['version']}/{delivery['clause']}"
        write_facts(
            {
                "delivery": f"{delivery['recipient']} #{delivery['number']}",
                "clause": clause,
                "withheld": delivery["withheld"],
            }
        )
    say("the proof holds", "green")


def _deliveries(proof: Proof) -> list[dict[str, Any]]:
    if proof.delivery is not None:
        return [proof.delivery]
    return list((proof.sealed or {}).get("deliveries", []))


async def _prove(digest: str, hub: str, key: Path | None, vkey: Path) -> Proof:
    async with client(hub, key, vkey) as asked:
        return await asked.proof(digest)


@app.command()
def replay(
    entry: Annotated[str, typer.Argument(metavar="ENTRY", help="Number of a ledger entry, or the jti of a notice.")],
    directory: Directory = Path("data"),
    kafka: Kafka = None,
    output: Output = Format.text,
) -> None:
    """Decide one notice again, with what the registry said at the time, and compare with the ledger.

    Exit code 3 when the decision differs.
    """
    found = asyncio.run(_replay(kafka, directory, entry))
    if output is Format.json:
        write_json(found.told())
    else:
        _show_replay(found)
    if not found.same:
        say(f"comity: ledger entry {found.index} does not hold: decided again, the outcome differs", "red")
        raise typer.Exit(UNVERIFIED)


async def _replay(kafka: str | None, directory: Path, entry: str) -> Replay:
    async with _reading(kafka, directory) as log:
        return await replay_entry(log, entry)


def _show_replay(found: Replay) -> None:
    write_facts(
        {
            "entry": found.index, "sender": found.sender, "jti": found.jti, "type": found.type, "at": moment(found.at),
            "registry": f"{found.registry} events", "ledger": found.ledger["outcome"], "again": found.again["outcome"],
            "reason": found.again.get("reason"),
        }
    )  # fmt: skip
    rows = [(d["recipient"], d["clause"], d["withheld"] or "–", d["reason"]) for d in found.again["deliveries"]]
    write_table(("recipient", "clause", "withheld", "reason"), rows, empty="to nobody")
    if not found.same:
        write_json({"ledger": found.ledger, "again": found.again})
    for agency, why in found.denied.items():
        say(f"  not {agency}: {json.dumps(why)}" if not isinstance(why, str) else f"  not {agency}: {why}", "dim")
