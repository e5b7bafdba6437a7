"""A disk without room, a real one of two megabytes: nothing acknowledged is lost, and with room it goes on."""

import asyncio
import contextlib
import sqlite3
import subprocess

import pytest

from hub.log import Record, Shard, Unavailable
from hub.log.embedded import EmbeddedLog
from tests.log.test_contract import read_all, values

ROOM = 2 * 1_048_576


@pytest.fixture
def disk(tmp_path):
    directory = tmp_path / "disk"
    directory.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"NOT TESTED: a full disk; a tmpfs cannot be mounted here: {done.stderr.strip()}")
    yield directory
    subprocess.run(["umount", str(directory)], check=True)


@pytest.fixture
async def log(disk):
    log = EmbeddedLog(disk / "comity.db")
    await log.create("in", "out")
    yield log
    await log.close()


async def fill(log):
    """Append until there is no room; what was acknowledged, by offset."""
    acknowledged = {}
    with pytest.raises(Unavailable, match=r"comity\.db: .*full; make room on the disk"):
        for n in range(10_000):
            value = b"%d" % n + bytes(5_000)
            acknowledged[await log.append("in", Record(value))] = value
    assert acknowledged
    return acknowledged


def integrity(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA integrity_check").fetchall()


async def test_a_full_disk_loses_nothing_acknowledged_and_room_mends_it(log, disk):
    """Full, still full, room made, full again: then opened anew."""
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(ROOM // 2))
    acknowledged = await fill(log)
    for _ in range(3):
        with pytest.raises(Unavailable, match="full"):
            await log.append("in", Record(bytes(200_000)))
        assert {s.offset: s.record.value for s in await read_all(log, "in")} == acknowledged
    ballast.unlink()
    offset = await log.append("in", Record(b"there is room"))
    assert offset == len(acknowledged), "what failed has taken no offset"
    acknowledged[offset] = b"there is room"
    later = await fill(log)
    assert not acknowledged.keys() & later.keys()
    acknowledged |= later
    assert {s.offset: s.record.value for s in await read_all(log, "in")} == acknowledged
    await log.close()
    assert integrity(disk / "comity.db") == [("ok",)]
    again = EmbeddedLog(disk / "comity.db", read_only=True)
    assert {s.offset: s.record.value for s in await read_all(again, "in")} == acknowledged
    await again.close()


async def test_a_commit_without_room_writes_nothing(log, disk):
    """Outputs, state and positions: none of them. With room the shard is claimed again and the same batch commits."""
    shard = Shard("s", topics=("in",))
    for n in range(3):
        await log.append("in", Record(b"%d" % n))
    claim = await log.claim(shard)
    await claim.commit((await claim.batch())[:1], [("out", Record(b"0"))], {"n": b"1"})
    batch = await claim.batch()
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    with pytest.raises(Unavailable, match="full"):
        await claim.commit(batch, [("out", Record(bytes(100_000)))] * 5, {"n": b"3", "more": bytes(50_000)})
    assert claim.state == {"n": b"1"}
    ballast.unlink()
    again = await log.claim(shard)
    assert again.state == {"n": b"1"}
    assert await again.batch() == batch
    assert values(await log.read("out")) == [b"0"]
    await again.commit(batch, [("out", Record(b"1, 2"))], {"n": b"3"})
    assert values(await log.read("out")) == [b"0", b"1, 2"]


async def test_appends_that_share_a_transaction_fail_together_and_none_is_there(log, disk):
    acknowledged = await fill(log)
    results = await asyncio.gather(
        *(log.append("in", Record(bytes(50_000), str(n))) for n in range(20)), return_exceptions=True
    )
    assert all(isinstance(result, Unavailable) for result in results)
    assert len({id(result) for result in results}) == 20, "each has an error of its own"
    assert {s.offset: s.record.value for s in await read_all(log, "in")} == acknowledged


async def test_a_disk_that_is_full_at_once_says_so(disk):
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    with pytest.raises(Unavailable, match=r"comity\.db"):
        EmbeddedLog(disk / "comity.db")
    ballast.unlink()
    await EmbeddedLog(disk / "comity.db").close()
