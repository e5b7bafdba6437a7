"""`comity doctor`: what usually goes wrong, looked at one by one, and how to mend each."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from email.utils import parsedate_to_datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Literal

import httpx2
import typer
from rich.text import Text

from connectors import AuthenticationFailed, Client, PartnerKey
from connectors.errors import ConnectorError
from hub.cli.faults import FAILED, UNAVAILABLE
from hub.cli.options import DEFAULT_HUB, HubUrl, KeyFile, Output, load_key, over_http
from hub.cli.output import Format, clean, console, write_json
from hub.core.strict import b64
from hub.log.database import VERSION

Status = Literal["ok", "warning", "fault", "skipped"]
MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "fault": ("✗", "red"), "skipped": ("·", "dim")}
TIMEOUT = 5.0  # seconds
SKEW_WARNING, SKEW_FAULT = 5.0, 60.0  # seconds; the hub takes token assertions from clocks up to 60 s ahead
SPACE_WARNING, SPACE_FAULT = 5 << 30, 256 << 20  # bytes
OLDEST_SQLITE = (3, 37, 0)  # STRICT tables
LIBRARIES = ("cryptography", "pynacl", "pydantic", "fastapi", "uvicorn", "httpx2", "typer", "rich")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `mend` says what to do about it."""

    what: str
    status: Status
    found: str
    mend: str | None = None


def add_to(app: typer.Typer) -> None:
    app.command()(doctor)


def doctor(
    directory: Annotated[Path | None, typer.Option("--dir", help="Also look at this data directory of a hub.")] = None,
    key: KeyFile = None,
    hub: HubUrl = DEFAULT_HUB,
    output: Output = Format.text,
) -> None:
    """Check software, clock, key, hub and data directory, and say how to mend what is wrong.

    Exit code 1 when something is, 5 when it is only that the hub does not answer.
    """
    checks = [*software(), *asyncio.run(hub_checks(hub, key))]
    if directory is not None:
        checks += data_directory(directory)
    if output is Format.json:
        write_json([asdict(check) for check in checks])
    else:
        for check in checks:
            _show(check)
    faults = {check.what for check in checks if check.status == "fault"}
    if faults:
        raise typer.Exit(UNAVAILABLE if faults == {"hub"} else FAILED)


def _show(check: Check) -> None:
    mark, style = MARKS[check.status]
    screen = console()
    screen.print(Text.assemble((f"{mark} ", style), f"{check.what:<18}", clean(check.found)), soft_wrap=True)
    if check.mend:
        screen.print(Text(f"  {'':<18}→ {check.mend}", style="yellow"), soft_wrap=True)


def software() -> Iterator[Check]:
    """Python, SQLite and the libraries."""
    yield Check("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")
    good = sqlite3.sqlite_version_info >= OLDEST_SQLITE
    mend = None if good else "use a Python that is built with SQLite 3.37 or newer"
    yield Check("sqlite", "ok" if good else "fault", sqlite3.sqlite_version, mend)
    found, missing = [], []
    for name in ("comity", *LIBRARIES):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        yield Check(
            "libraries", "fault", f"missing: {', '.join(missing)}", "install comity anew, with its dependencies"
        )
    yield Check("versions", "ok", ", ".join(found))


async def hub_checks(url: str, key: Path | None) -> list[Check]:
    """Reachability, clock, and what the hub thinks of the key."""
    checks = [] if key is None else [_key_file(key)]
    url = over_http(url)
    try:
        async with httpx2.AsyncClient(timeout=TIMEOUT) as http:
            asked = time.time()
            answer = await http.get(f"{url.rstrip('/')}/version")
            elapsed = time.time() - asked
            said = answer.json() if answer.is_success else {}
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        mend = f"is it running? `comity up` starts one; name its address with --hub or COMITY_CLIENT_URL (now {url})"
        return [*checks, Check("hub", "fault", f"{url} does not answer: {type(error).__name__} {error}".strip(), mend)]
    if said.get("name") != "comity":
        mend = "check the address, and proxies on the way"
        return [*checks, Check("hub", "fault", f"{url} answers {answer.status_code}, and not as a Comity hub", mend)]
    checks.append(
        Check("hub", "ok", f"{url}: comity {said['version']}, ledger {said['origin']}, {elapsed * 1000:.0f} ms")
    )
    checks.append(_clock(answer.headers.get("date"), asked + elapsed / 2))
    if key is None:
        checks.append(Check("key", "skipped", "no key given: name yours with --key to have it looked at"))
    elif checks[0].status == "ok":
        checks.append(await _registration(url, load_key(key)))
    return checks


def _clock(date: str | None, now: float) -> Check:
    """Our clock against the hub's Date header, which has whole seconds."""
    try:
        skew = now - (parsedate_to_datetime(date or "").timestamp() + 0.5)
    except ValueError:
        return Check("clock", "skipped", "the hub sends no Date header to compare with")
    status: Status = "ok" if abs(skew) < SKEW_WARNING else "warning" if abs(skew) < SKEW_FAULT else "fault"
    mend = None if status == "ok" else "set both clocks by NTP: `timedatectl set-ntp true`"
    side = "in step with" if abs(skew) < 2 else f"{abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'}"
    return Check("clock", status, f"{side} the hub's", mend)


def _key_file(path: Path) -> Check:
    try:
        found = load_key(path)
    except ConnectorError as error:
        return Check("key file", "fault", str(error), f"chmod 600 {path}, or make another with `comity key new`")
    return Check("key file", "ok", f"{path}: {found.kid}, readable by its owner only")


async def _registration(url: str, key: PartnerKey) -> Check:
    """Whether the hub has this key, and it is good now."""
    try:
        async with Client(url, key, patience=TIMEOUT) as client:
            answer = await client.agencies()
    except AuthenticationFailed as error:
        return Check(
            "registration", "fault", str(error), "enrol it (`comity agency enroll`), or use a key that is good"
        )
    except ConnectorError as error:
        return Check("registration", "warning", f"cannot be looked up: {error}", "try again")
    keys = {k["kid"]: k for agency in answer["agencies"] for k in agency["keys"]}
    said = keys.get(key.kid)
    if said is None:  # the operator's key is no agency's
        return Check("registration", "ok", f"the hub accepts {key.kid}")
    if said["x"] != b64(key.public):
        return Check("registration", "fault", f"{key.kid} is registered with other bytes", "use the right key file")
    days = (said["not_after"] / 1000 - time.time()) / 86_400
    status: Status = "ok" if days > 30 else "warning"
    return Check(
        "registration",
        status,
        f"{key.kid} is good for {days:.0f} days",
        None if status == "ok" else "comity key rotate",
    )


def data_directory(path: Path) -> Iterator[Check]:
    """A hub's data directory: there, private, with room, of a layout that this release reads."""
    if not (path / "comity.db").is_file():
        yield Check("data directory", "fault", f"{path} holds no comity.db", "name the directory of `comity up --dir`")
        return
    yield from _private(path)
    free = shutil.disk_usage(path).free
    status: Status = "ok" if free > SPACE_WARNING else "warning" if free > SPACE_FAULT else "fault"
    mend = None if status == "ok" else "make room: a hub that cannot write accepts nothing"
    yield Check("free space", status, f"{free / (1 << 30):.1f} GiB", mend)
    yield _layout(path / "comity.db")


def _private(path: Path) -> Iterator[Check]:
    files = [path, path / "keys", path / "keys" / "hub.pem", path / "keys" / "operator.pem"]
    there = [file for file in files if file.exists()]
    open_ = [file for file in there if file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    if open_:
        mend = "; ".join(f"chmod {'700' if file.is_dir() else '600'} {file}" for file in open_)
        yield Check("data directory", "fault", f"others can read {', '.join(map(str, open_))}", mend)
    elif not os.access(path, os.W_OK):
        yield Check(
            "data directory", "fault", f"{path} cannot be written", f"give it to the user of the hub: chown {path}"
        )
    else:
        yield Check("data directory", "ok", f"{path}: private, {len(there) - 2} keys")


def _layout(path: Path) -> Check:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as db:
            (found,) = db.execute("PRAGMA user_version").fetchone()
            (sound,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return Check("log file", "fault", f"{path} cannot be read: {error}", "restore it from your backup")
    if found != VERSION:
        return Check(
            "log file", "fault", f"layout {found}; this release reads {VERSION}", "use the release that wrote it"
        )
    if sound != "ok":
        return Check("log file", "fault", f"{path} is damaged: {sound}", "restore it from your backup")
    return Check("log file", "ok", f"layout {found}, sound; `comity audit verify` checks what it says")
