"""The demo's directory: what it leaves for anyone to look at.

keys/                     the partners' key files          hub.vkey        verifier key of the hub's checkpoints
agreements/               as signed by all parties         checkpoint      the newest signed checkpoint
notices/                  as posted, good and bad          ledger.jsonl    every ledger entry: leaf and sealed part
deliveries/<agency>/      as received: SD-JWT and claims   data/           the hub's data directory
inboxes/, journals/       the partners' own stores         comity-demo.json  what happened, for machines
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from connectors.inbox import StoredNotice
from hub.core.errors import ComityError
from hub.datadir import DataDir

MARK = "comity-demo.json"
README = "README.txt"
_PARTS = ("keys", "agreements", "notices", "deliveries", "inboxes", "journals", "data")
_FILES = ("hub.vkey", "checkpoint", "ledger.jsonl", README, MARK)


class DemoDirError(ComityError):
    """The directory cannot be the demo's; the message says what to do."""


def prepare(directory: Path) -> None:
    """An empty directory, or one that an earlier demo left: that is made empty. DemoDirError for any other."""
    try:
        if directory.exists():
            _clear(directory)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in _PARTS:
            (directory / part).mkdir(mode=0o700)
        (directory / MARK).write_text('{"demo":"running"}\n', encoding="utf-8")
    except OSError as error:
        raise DemoDirError(f"cannot use {directory} for the demo: {error.strerror}: name another with --dir") from None


def _clear(directory: Path) -> None:
    if not directory.is_dir():
        raise DemoDirError(f"{directory} is not a directory: name another with --dir")
    if any(directory.iterdir()) and not (directory / MARK).is_file():
        raise DemoDirError(f"{directory} is not empty and not of a demo: name a new directory with --dir, or empty it")
    if (directory / "data").is_dir():
        held = DataDir(directory / "data")
        held.lock()  # DataDirError when somebody has started a hub on it
        held.unlock()
    for part in _PARTS:
        shutil.rmtree(directory / part, ignore_errors=True)
    for name in _FILES:
        (directory / name).unlink(missing_ok=True)


def keep_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def keep_notice(directory: Path, number: int, id_: str, raw: bytes) -> None:
    """As posted, in the order of the story."""
    (directory / "notices" / f"{number:02d}-{id_}.sdjwt").write_bytes(raw)


def keep_deliveries(directory: Path, agency: str, received: Iterable[StoredNotice]) -> None:
    """As received: the SD-JWT, and its claims beside what the hub says of the delivery."""
    place = directory / "deliveries" / agency
    place.mkdir()
    for count, stored in enumerate(received, 1):
        name = f"{count:02d}-{stored.notice.iss}-{stored.number}"
        (place / f"{name}.sdjwt").write_bytes(stored.raw)
        claims = stored.notice.model_dump(mode="json", exclude_none=True)
        keep_json(place / f"{name}.json", {"digest": stored.digest, "headers": stored.headers, "claims": claims})


def keep_ledger(directory: Path, records: Iterable[bytes]) -> None:
    """One line per entry: the leaf's exact text, and the sealed part's."""
    lines = []
    for index, value in enumerate(records):
        leaf, _, sealed = value.decode().partition("\n")
        lines.append(json.dumps({"index": index, "leaf": leaf, "sealed": sealed or None}, ensure_ascii=False) + "\n")
    (directory / "ledger.jsonl").write_text("".join(lines), encoding="utf-8")


def keep_summary(directory: Path, summary: Mapping[str, Any]) -> None:
    keep_json(directory / MARK, summary)
    table = (__doc__ or "").partition("\n")[2]
    (directory / README).write_text(
        f"Left by `comity demo`. All of it is fictitious; the keys are worth nothing.\n{table}\n"
        f"Look on:\n  comity audit verify --dir {directory}\n  comity up --dir {directory / 'data'}\n",
        encoding="utf-8",
    )
