"""What the guides say of Kafka runs as it stands, against a real broker; only its address and the agencies are put in."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.connectors.kafka_world import World, headers_of, listed, records, signed
from tests.connectors.test_guides import GUIDES, KAFKA, python

pytestmark = pytest.mark.kafka


def blocks(guide: str, language: str, world: World) -> list[str]:
    [section] = KAFKA.findall((GUIDES / guide).read_text())
    found = re.findall(rf"^```{language}\n(.*?)^```$", section, re.DOTALL | re.MULTILINE)
    changes = {
        "127.0.0.1:9092": world.bootstrap, "us-cisa": world.sender.agency, "jp-meti": world.recipient.agency
    }  # fmt: skip
    return [re.sub("|".join(map(re.escape, changes)), lambda hit: changes[hit[0]], block) for block in found]


async def test_publishing_as_the_guide_says(world: World, tmp_path: Path) -> None:
    world.sender.save(tmp_path / f"{world.sender.agency}.key.json")
    publishing, by_hand = blocks("publisher.md", "python", world)
    assert (await asyncio.to_thread(python, publishing, tmp_path)).split() == [f"kafka:{world.notices}/0/0"]
    notice = signed(world.sender, "by-hand")
    call = f"\nimport asyncio\nprint(asyncio.run(write({notice.raw!r}, {notice.jti!r}, 'by-hand')))\n"
    assert (await asyncio.to_thread(python, by_hand + call, tmp_path)).split() == ["1"]
    ours, theirs = await records(world.bootstrap, world.notices)
    assert theirs.value == notice.raw and theirs.key == b"by-hand"
    said, told = headers_of(theirs), headers_of(ours)
    assert said.keys() <= told.keys() and said["ce_type"] == told["ce_type"] and said["ce_source"] == told["ce_source"]


async def test_subscribing_as_the_guide_says(world: World, tmp_path: Path) -> None:
    world.recipient.save(tmp_path / f"{world.recipient.agency}.key.json")
    (tmp_path / "agencies.json").write_text(json.dumps(listed(world.sender)))
    notice = signed(world.sender, "told")
    await world.deliver(world.delivery(signed(world.sender, "never").raw, 1), abort=True)
    await world.deliver(world.delivery(notice.raw, 1))
    storing, by_hand = blocks("subscriber.md", "python", world)
    assert (await asyncio.to_thread(python, storing, tmp_path)).split() == ["2", "1", "told", "None"]
    told = await asyncio.to_thread(python, by_hand + "\nimport asyncio\nasyncio.run(read())\n", tmp_path)
    assert told.split() == ["2", notice.jti, "1", "alpine@1/c1"]
    if shutil.which("kcat"):
        [shell] = blocks("subscriber.md", "sh", world)
        read = subprocess.run(["bash", "-euc", shell], capture_output=True, text=True, timeout=30)
        assert notice.jti in read.stdout and read.stdout.startswith("2 ")
