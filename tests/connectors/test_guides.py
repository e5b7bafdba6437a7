"""The guides' programs run as they stand, against a real hub; only its address is put in."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

from connectors import PartnerKey, statements
from tests.connectors.partners import Running, agree, enroll

GUIDES = Path(__file__).parents[2] / "docs" / "guides"
KAFKA = re.compile(r"^## Over Kafka$.*?(?=^## )", re.DOTALL | re.MULTILINE)
ADDRESS = "http://127.0.0.1:8470"


def blocks(guide: str, language: str, hub: Running) -> list[str]:
    text = KAFKA.sub("", (GUIDES / guide).read_text())  # that part: test_kafka_guides.py
    found = re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block.replace(ADDRESS, hub.url) for block in found]


def python(program: str, directory: Path) -> str:
    done = subprocess.run([sys.executable, "-c", program], cwd=directory, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


async def test_both_guides_work_from_the_first_line_to_the_last(hub: Running, tmp_path: Path) -> None:
    key, enrolling, publishing, *more, foreign = blocks("publisher.md", "python", hub)
    python(key + enrolling, tmp_path)
    (tmp_path / "hub.vkey").write_text(hub.vkey)
    us, jp = PartnerKey.load(tmp_path / "us-cisa.key.json"), PartnerKey.generate("jp-meti", "2026-1")
    jp.save(tmp_path / "jp-meti.key.json")
    async with hub.client(hub.operator) as client:
        drawn = json.loads((tmp_path / "enrolment.json").read_text())
        await client.statement(statements.sign(drawn, hub.operator))
    await enroll(hub, jp)
    await agree(hub, us, jp)

    loading = 'from pathlib import Path\nfrom connectors import PartnerKey\nkey = PartnerKey.load("us-cisa.key.json")\n'
    jti = (await asyncio.to_thread(python, loading + publishing, tmp_path)).split()[0]
    shutil.copy(Path(__file__).parents[1] / "vectors" / "importers" / "kev.csv", tmp_path)
    calls = f'''
async def rest():
    async with Client("{hub.url}", key, journal="outbox", vkey=Path("hub.vkey").read_text()) as client:
        await ask(client, "{jti}")
        await publish_catalogue(client, Path("kev.csv"))
        await recover(client)
asyncio.run(rest())
'''
    told = await asyncio.to_thread(
        python, "\n".join([loading, "import asyncio\nfrom connectors import Client", *more, calls]), tmp_path
    )
    assert told.count("accepted") >= 2 and "refused:" not in told and "jp-meti" in told

    await asyncio.to_thread(python, "from pathlib import Path\n" + foreign, tmp_path)
    if shutil.which("curl"):
        [shell] = blocks("publisher.md", "sh", hub)
        sent = subprocess.run(["bash", "-euc", shell], cwd=tmp_path, capture_output=True, text=True, timeout=30)
        assert sent.returncode == 0 and json.loads(sent.stdout)["iss"] == "us-cisa", sent.stderr

    listen, store, prove, foreign = blocks("subscriber.md", "python", hub)
    calls = f'''
async def rest():
    async with Client("{hub.url}", key, vkey=Path("hub.vkey").read_text()) as client, Inbox.open("inbox") as inbox:
        stored = await inbox.notices()
        await prove(client, stored[0].digest)
        agencies = await client.agencies()
        for each in stored:
            assert read_notice(each.raw.decode(), agencies)["data"] == each.notice.data
        print("read by another library:", len(stored))
asyncio.run(rest())
'''
    told = await asyncio.to_thread(python, "\n".join([listen, store, prove, foreign, calls]), tmp_path)
    assert "source_detail" in told and "quarantined" not in told
    assert int(told.rsplit(":", 1)[1]) >= 3
