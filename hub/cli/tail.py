"""Following deliveries: verified, shown, and with an inbox also stored and acknowledged."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from rich.text import Text

from connectors import DeliveriesLost, Delivery, Inbox, InvalidDelivery, Unreachable
from connectors.deliveries import Numbering
from connectors.inbox import StoredNotice
from connectors.partner import Partner
from hub.cli.faults import OK, UNVERIFIED
from hub.cli.output import Format, clean, console, say, write_line

WAIT = 25.0  # seconds of one long poll


async def tail(
    client: Partner, inbox: Path | None, after: int, *, follow: bool, pass_over: bool, output: Format
) -> int:
    """Show deliveries; the exit code, which says whether one did not verify.

    pass_over: go on behind deliveries that the topic does not hold any more, where that would be an error.
    """
    code = OK
    async with client:
        how = (after, follow, pass_over)
        source = _fetched(client, *how) if inbox is None else _stored(client, inbox, *how)
        async for each in source:
            if isinstance(each, InvalidDelivery):
                code = UNVERIFIED
                say(f"comity: {each}", "red")
            elif output is Format.json:
                write_line(_told(each))
            else:
                _show(each)
    return code


async def _fetched(
    client: Partner, after: int, follow: bool, pass_over: bool
) -> AsyncIterator[Delivery | InvalidDelivery]:
    numbering = Numbering(complete=after < 0)
    while True:
        try:
            page, after = await client.receiver.fetch(after, numbering, wait=WAIT if follow else 0.0)
        except DeliveriesLost as lost:
            if not pass_over or lost.resume is None:
                raise
            say(f"comity: {lost}", "red")
            after = lost.resume
            continue
        except Unreachable as error:
            if not follow:
                raise
            say(f"comity: {error}", "yellow")
            continue
        for each in page:
            yield each
        if not page and not follow:
            return


async def _stored(
    client: Partner, directory: Path, after: int, follow: bool, pass_over: bool
) -> AsyncIterator[StoredNotice | InvalidDelivery]:
    """By way of an inbox: stored in one commit, acknowledged, then shown."""
    async with Inbox.open(directory) as inbox:
        shown = max(after, await inbox.position()) if after < 0 else after
        while True:
            try:
                fresh = await inbox.fetch(client, wait=WAIT if follow else 0.0)
            except DeliveriesLost as lost:
                if not pass_over:
                    raise
                await inbox.pass_over(lost)
                say(f"comity: {lost}", "red")
                continue
            except Unreachable as error:
                if not follow:
                    raise
                say(f"comity: {error}", "yellow")
                continue
            for bad in await inbox.quarantine(after=shown):
                yield InvalidDelivery(bad.offset, bad.reason, bad.detail, bad.raw, bad.headers)
            while page := await inbox.notices(after=shown):
                for each in page:
                    yield each
                    shown = each.offset
            shown = max(shown, await inbox.position())
            if not fresh and not follow:
                return


def _told(each: Delivery | StoredNotice) -> dict[str, Any]:
    return {
        "offset": each.offset, "number": each.number, "digest": each.digest, "gap": each.gap,
        "headers": dict(each.headers), "claims": each.notice.model_dump(mode="json", exclude_none=True),
        "notice": each.raw.decode(),
    }  # fmt: skip


def _show(each: Delivery | StoredNotice) -> None:
    notice, headers = each.notice, each.headers
    named = (notice.data[name] for name in ("title", "headline", "name", "product") if name in notice.data)
    recall = "  recall" if headers.get("ce_reason") == "recall" else ""
    without = f"  without {headers['ce_withheld']}" if headers.get("ce_withheld") else ""
    line = Text.assemble(
        (f"{each.offset:>6}  ", "dim"), (f"{notice.iss}#{each.number}", "bold"), f"  {notice.type}  {notice.tlp}  ",
        (clean(headers.get("ce_agreement", "")), "dim"), (clean(without), "yellow"), (recall, "cyan"),
    )  # fmt: skip
    screen = console()
    screen.print(line, soft_wrap=True)
    screen.print(Text(f"        {clean(next(named, notice.subject))}"), soft_wrap=True)
    if each.gap:
        say(f"        a gap: expected number {each.gap[0]} of {notice.iss}, got {each.gap[1]}", "red")
