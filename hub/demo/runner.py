"""Running the demo: a hub in this process, partners over HTTP, every outcome held against the story's expectation.

found → enrol → agree → subscribe → (post → judge → deliver → verify → store → acknowledge) × story → explain → prove → audit
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path

from rich.console import Console

from connectors import Client, PartnerKey, statements
from hub.api.serve import serve
from hub.app import Hub, open_log
from hub.auditor import verify
from hub.config import Settings
from hub.core.checkpoint import Verifier
from hub.datadir import DataDir
from hub.demo import keep
from hub.demo.partners import PATIENCE, DemoFailed, Place
from hub.demo.play import Play, Result
from hub.demo.show import Stage
from hub.demo.signing import FIRST_KEY
from hub.demo.story import Story, load
from hub.index import CHECKPOINTS, LEDGER
from hub.registry import OPERATOR_KID

PAGE = 500


async def run(directory: Path, console: Console, kafka: str | None = None) -> Result:
    """The whole demo, printed as it happens; what it leaves is in `directory`.

    kafka: address of an empty cluster; then the hub's log is there, and partners publish and subscribe there too.

    Raises DemoDirError, DemoFailed (something did not happen in time), and whatever a hub or partner cannot go on with.
    """
    began = time.monotonic()
    keep.prepare(directory)
    story, stage, result = load(), Stage(console), Result(directory)
    settings = _settings(directory, kafka)
    async with _hub(directory, settings) as (hub, operator):
        stage.opening(hub.url, kafka)
        async with Client(hub.url, operator, vkey=hub.vkey, patience=PATIENCE) as client:
            keys = await _enrol(story, operator, client, directory)
            stage.agencies(story.agencies)
            await _agree(story, keys, client, directory)
            stage.agreements(story.agreements)
        play = Play(story, stage, result, hub, keys)
        try:
            await play.all()
        finally:
            await play.close()
    await _audit(directory, settings, hub.vkey, result)
    stage.ledger(result.audit)
    result.seconds = time.monotonic() - began
    keep.keep_summary(directory, result.summary())
    stage.ending(result.good, _counts(result), str(directory))
    return result


def _counts(result: Result) -> str:
    refused = sum(result.refused.values())
    return (
        f"{result.notices} notices posted, {result.deliveries} deliveries verified and acknowledged, {result.undelivered} to nobody, "
        f"{refused} refused, {result.seconds:.1f} s"
    )


def _settings(directory: Path, kafka: str | None) -> Settings:
    """Of a hub that serves on a free loopback port. On Kafka too one process does all, so it needs no grace."""
    grace = {} if kafka is None else {"grace_ms": 0}
    return Settings.read(data_dir=directory / "data", host="127.0.0.1", port=0, public_url=None, kafka=kafka, **grace)


@contextlib.asynccontextmanager
async def _hub(directory: Path, settings: Settings) -> AsyncIterator[tuple[Place, PartnerKey]]:
    """The hub, and the operator's key."""
    async with Hub.open(settings) as hub:
        ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        stop = asyncio.Event()
        serving = asyncio.create_task(serve(hub, settings, ready=ready.set_result, stop=stop))
        demo = asyncio.current_task()
        serving.add_done_callback(lambda _: demo.cancel() if demo and not stop.is_set() else None)
        try:
            await ready
            vkey = (directory / "data" / "hub.vkey").read_text(encoding="utf-8")
            (directory / "hub.vkey").write_text(vkey, encoding="utf-8")
            place = Place(ready.result(), vkey, settings.kafka)
            yield place, PartnerKey("operator", OPERATOR_KID, hub.operator_key)
        except asyncio.CancelledError:
            if not serving.done():
                raise
            serving.result()
            raise DemoFailed("interrupted: the hub was told to stop, so the demo did not come to its end") from None
        finally:
            stop.set()
            await serving


async def _enrol(story: Story, operator: PartnerKey, client: Client, directory: Path) -> dict[str, PartnerKey]:
    """Every agency draws up its enrolment with its own new key; the operator countersigns and hands it in."""
    keys: dict[str, PartnerKey] = {}
    for agency in story.agencies:
        key = keys[agency.id] = PartnerKey.generate(agency.id, FIRST_KEY)
        key.save(directory / "keys" / f"{agency.id}.key.json")
        drawn_up = statements.enroll(agency.id, agency.name, key, role=agency.role)
        await client.statement(statements.sign(drawn_up, operator))
    return keys


async def _agree(story: Story, keys: dict[str, PartnerKey], client: Client, directory: Path) -> None:
    """One party proposes, the others sign the same bytes."""
    for agreement in story.agreements:
        first, *others = agreement["parties"]
        document = statements.propose(agreement, keys[first])
        for party in others:
            document = statements.sign(document, keys[party])
        await client.statement(document)
        keep.keep_json(directory / "agreements" / f"{agreement['id']}.json", document)


async def _audit(directory: Path, settings: Settings, vkey: str, result: Result) -> None:
    """With the hub stopped: the ledger and the newest checkpoint to files, then the auditor over everything."""
    log = await open_log(settings, DataDir(settings.data_dir))
    try:
        records, after = [], -1
        while page := await log.read(LEDGER, after=after, limit=PAGE):
            records += [stored.record.value for stored in page]
            after = page[-1].offset
        keep.keep_ledger(directory, records)
        newest = (await log.read(CHECKPOINTS, after=await log.end(CHECKPOINTS) - 1, limit=1))[-1].record.value
        (directory / "checkpoint").write_bytes(newest)
        result.audit = await verify(log, Verifier.parse(vkey.strip()), known=newest)
    finally:
        await log.close()
