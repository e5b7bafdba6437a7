"""What only the embedded log promises: shared transactions, one file for several processes, its faults told clearly."""

import asyncio
import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from hub.log import Fenced, LogError, Record, Shard, Unavailable, UnknownTopic
from hub.log.embedded import FAILPOINTS, MAX_READ, EmbeddedLog
from tests.log.test_contract import read_all, values

SHARD = Shard("s", topics=("in",))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "comity.db"


@pytest.fixture
async def opened(path):
    """Opens logs on `path`, and closes them."""
    logs = []

    async def opener(**options):
        logs.append(EmbeddedLog(path, **options))
        await logs[-1].create("in", "out")
        return logs[-1]

    yield opener
    for log in logs:
        await log.close()


@pytest.fixture
async def log(opened):
    return await opened()


def tamper(path, sql, *parameters):
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute(sql, parameters)
        db.commit()


class Gate:
    """A trip that holds the writer at a failpoint until it is let go on, so that operations gather behind it."""

    def __init__(self, point):
        self.point, self.hits = point, Counter()
        self.reached, self.go = threading.Event(), threading.Event()
        self.armed = False

    def __call__(self, name):
        self.hits[name] += 1
        if self.armed and name == self.point:
            self.reached.set()
            assert self.go.wait(20)

    @contextlib.asynccontextmanager
    async def held(self, log):
        """Within, the writer stands in a transaction of its own."""
        self.armed = True
        first = asyncio.ensure_future(log.append("out", Record(b"first")))
        await asyncio.to_thread(self.reached.wait, 20)
        self.armed = False
        yield
        self.go.set()
        await first


# Sharing a transaction


async def test_offsets_have_no_gaps(log):
    assert [await log.append("in", Record(b"")) for _ in range(5)] == [0, 1, 2, 3, 4]
    claim = await log.claim(SHARD)
    assert await claim.commit([], [("in", Record(b"")), ("out", Record(b"")), ("in", Record(b""))], {}) == [5, 0, 6]


async def test_operations_that_wait_share_one_transaction(opened):
    """A hundred appends and two commits gathered behind a busy writer: one more fsync for all of them."""
    gate = Gate("append.2-begun")
    log = await opened(trip=gate)
    claims = [await log.claim(SHARD), await log.claim(Shard("t", topics=("in",)))]
    before = gate.hits["append.4-committed"]
    async with gate.held(log):
        work = [asyncio.ensure_future(log.append("in", Record(b"%d" % n))) for n in range(100)]
        work += [asyncio.ensure_future(claim.commit([], [("out", Record(b"c"))], {})) for claim in claims]
        await asyncio.sleep(0.02)
        assert not any(task.done() for task in work)
    results = await asyncio.gather(*work)
    assert results[:100] == list(range(100))
    assert sorted(results[100:]) == [[1], [2]]
    assert gate.hits["append.4-committed"] - before == 2
    assert gate.hits["commit.6-committed"] == 1


async def test_what_is_refused_fails_alone_among_those_it_shares_a_transaction_with(opened):
    gate = Gate("append.2-begun")
    log = await opened(trip=gate)
    old = await log.claim(SHARD)
    new = await log.claim(SHARD)
    async with gate.held(log):
        work = [
            asyncio.ensure_future(work)
            for work in (
                log.append("in", Record(b"before")),
                new.commit([], [("out", Record(b"new"))], {"k": b"new"}),
                # Its epoch is looked at inside the transaction: pretend that it had not heard of the other.
                unsuspecting(old).commit([], [("out", Record(b"old"))], {"k": b"old"}),
                log.append("absent", Record(b"")),
                log.append("in", Record(b"after")),
            )
        ]
        await asyncio.sleep(0.02)
    results = await asyncio.gather(*work, return_exceptions=True)
    assert results[0] == 0
    assert results[1] == [1]
    assert isinstance(results[2], Fenced)
    assert isinstance(results[3], LogError)
    assert results[4] == 1
    assert values(await log.read("out")) == [b"first", b"new"]
    assert (await log.claim(SHARD)).state == {"k": b"new"}
    assert gate.hits["commit.6-committed"] == 1


def unsuspecting(claim):
    """A claim whose early look at the epoch finds nothing: only the check in the transaction is left."""
    claim._check = lambda: None
    return claim


async def test_a_claim_and_a_commit_of_the_holder_before_in_one_transaction(opened):
    """The commit comes after the claim in it: fenced by something not yet committed."""
    gate = Gate("append.2-begun")
    log = await opened(trip=gate)
    old = await log.claim(SHARD)
    async with gate.held(log):
        claiming = asyncio.ensure_future(log.claim(SHARD))
        await asyncio.sleep(0)
        commit = asyncio.ensure_future(old.commit([], [("out", Record(b"old"))], {}))
        await asyncio.sleep(0.02)
    with pytest.raises(Fenced):
        await commit
    assert (await claiming).epoch == old.epoch + 1


# Faults


@pytest.mark.parametrize("point", [p for p in FAILPOINTS if "committed" not in p])
async def test_a_fault_in_the_writer_undoes_the_whole_transaction(opened, path, point):
    """An error at a point before the commit: everyone in it hears Unavailable, nothing is there, the next goes well."""
    faulty = False

    def trip(name):
        if faulty and name == point:
            raise sqlite3.OperationalError("disk I/O error")

    log = await opened(trip=trip)
    claim = await log.claim(SHARD)
    faulty = True
    work = [
        asyncio.ensure_future(log.append("in", Record(b"1"))) if point.startswith("append")
        else asyncio.ensure_future(log.claim(SHARD)) if point.startswith("claim")
        else asyncio.ensure_future(claim.commit([], [("out", Record(b"1"))], {"k": b"1"}))
    ]  # fmt: skip
    for result in await asyncio.gather(*work, return_exceptions=True):
        assert isinstance(result, Unavailable)
        assert str(path) in str(result)
    faulty = False
    assert await read_all(log, "in") + await read_all(log, "out") == []
    again = await log.claim(SHARD)
    assert (again.epoch, again.state) == (claim.epoch + 1, {})
    assert await log.append("in", Record(b"2")) == 0


async def test_a_claim_whose_commit_failed_is_over(opened):
    def trip(name):
        if name == "commit.4-state":
            raise sqlite3.OperationalError("disk I/O error")

    log = await opened(trip=trip)
    claim = await log.claim(SHARD)
    with pytest.raises(Unavailable):
        await claim.commit([], [], {"k": b"v"})
    with pytest.raises(Fenced, match="claim it again"):
        await claim.batch()
    assert claim.state == {}


async def test_topics_made_in_a_transaction_that_failed_are_not_there(opened):
    """Nor does the writer believe that they are: it looked one up in the same transaction."""
    gate = Gate("append.2-begun")

    def trip(name):
        gate(name)
        if name == "append.3-written" and gate.hits[name] == 2:
            raise sqlite3.OperationalError("disk I/O error")

    log = await opened(trip=trip)
    async with gate.held(log):
        work = [asyncio.ensure_future(log.create("new"))]
        await asyncio.sleep(0)
        work.append(asyncio.ensure_future(log.append("new", Record(b""))))
        await asyncio.sleep(0.02)
    assert [type(r) for r in await asyncio.gather(*work, return_exceptions=True)] == [Unavailable, Unavailable]
    assert "new" not in await log.topics()
    with pytest.raises(UnknownTopic):
        await log.append("new", Record(b""))


async def test_a_file_that_another_process_holds_is_unavailable_until_it_lets_go(opened, path):
    log = await opened(busy=0.2)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(Unavailable, match=r"locked.*another process"):
            await log.append("in", Record(b"1"))
        assert time.monotonic() - began < 5
        assert await log.read("in") == []
        other.execute("ROLLBACK")
    assert await log.append("in", Record(b"2")) == 0


@pytest.mark.parametrize("how", ["moved", "replaced"])
async def test_a_file_that_is_gone_takes_no_more(log, path, how):
    """Its bytes still could be written, and nobody would ever find them."""
    await log.append("in", Record(b"1"))
    path.rename(path.with_suffix(".old"))
    if how == "replaced":
        path.write_bytes(b"")
    with pytest.raises(Unavailable, match="moved, deleted or replaced"):
        await log.append("in", Record(b"2"))
    path.unlink(missing_ok=True)
    path.with_suffix(".old").rename(path)
    assert await log.append("in", Record(b"3")) == 1


async def test_opening_waits_for_a_process_that_is_making_the_file(path):
    """SQLite itself does not wait when it turns write-ahead logging on."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Unavailable, match="locked"):
            EmbeddedLog(path, busy=0.1)
        timer = threading.Timer(0.2, other.execute, ["ROLLBACK"])
        timer.start()
        await EmbeddedLog(path, busy=20).close()
        timer.join()


async def test_a_claim_whose_state_cannot_be_read_is_none(log, path):
    """The shard is taken then, and whoever claims it next reads it."""
    claim = await log.claim(SHARD)
    await claim.commit([], [], {"k": b"v"})
    log.path = path.with_name("elsewhere.db")
    with pytest.raises(Unavailable, match=r"elsewhere\.db"):
        await log.claim(SHARD)
    log.path = path
    assert (await log.claim(SHARD)).state == {"k": b"v"}


def test_what_is_no_log_is_not_opened(tmp_path):
    """Each says what, where, and what to do."""
    (tmp_path / "text.db").write_text("no database at all " * 100)
    tamper(tmp_path / "other.db", "CREATE TABLE t (x)")
    cases = {
        tmp_path / "absent/comity.db": "directory exists",
        tmp_path: "unable to open|disk I/O error",
        tmp_path / "text.db": "no log, or a damaged one",
        tmp_path / "other.db": "not a log of Comity",
    }
    for path, text in cases.items():
        for read_only in (False, True):
            with pytest.raises(Unavailable, match=text) as told:
                EmbeddedLog.open(path, read_only=read_only)
            assert str(path) in str(told.value)
    with pytest.raises(Unavailable, match="unable to open"):
        EmbeddedLog.open(tmp_path / "absent.db", read_only=True)
    assert not (tmp_path / "absent.db").exists()


@pytest.mark.parametrize(("version", "text"), [(3, "newer"), (1, "older")])
async def test_a_file_of_another_format_is_refused(path, version, text):
    await EmbeddedLog(path).close()
    tamper(path, f"PRAGMA user_version = {version}")
    for read_only in (False, True):
        with pytest.raises(Unavailable, match=f"format {version}, of an?.*{text}.*use the version that wrote it"):
            EmbeddedLog(path, read_only=read_only)


async def test_a_damaged_file_is_unavailable(path):
    """Pages of records overwritten while nobody looked: reads and writes say that it is damaged."""
    log = EmbeddedLog(path)
    await log.create("in")
    for n in range(40):
        await log.append("in", Record(bytes(4000), str(n)))
    await log.close()
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8192)
        file.write(os.urandom(size - 8192))
    log = EmbeddedLog(path)
    for call in (
        log.read,
        log.end,
        log.topics,
        lambda topic: log.append(topic, Record(b"")),
        lambda _: log.claim(SHARD),
    ):
        with pytest.raises(Unavailable, match="damaged: restore it from a backup"):
            await call("in")
    await log.close()


async def test_closing_leaves_one_file(log, path, tmp_path):
    """Which can be copied and audited as it is."""
    await log.append("in", Record(b"1"))
    await log.read("in")
    await log.close()
    assert [file.name for file in tmp_path.iterdir()] == ["comity.db"]


async def test_a_text_header_that_is_damaged_is_no_crash(log, path):
    """Only what a foreign hand wrote into the file can be so."""
    await log.append("in", Record(b"1", None, {"a": "b"}))
    tamper(path, "UPDATE records SET headers = '{'")
    with pytest.raises(Unavailable, match="damaged"):
        await log.read("in")


# Durability, storage


async def test_the_writer_syncs_every_commit(log):
    """kill -9 does not show whether fsync is called; the settings do."""
    db = log._writer._db
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_offsets_go_on_after_old_records_were_dropped(opened, path):
    log = await opened()
    claim = await log.claim(SHARD)
    for n in range(3):
        await log.append("in", Record(b"%d" % n))
    tamper(path, "DELETE FROM records")
    assert await log.end("in") == 2
    assert await log.read("in") == []
    assert await claim.batch() == []
    assert await (await opened()).append("in", Record(b"3")) == 3
    assert values(await claim.batch()) == [b"3"]


async def test_a_read_of_large_records_is_cut(log):
    """So that a limit in records does not become a gigabyte; a single record always comes."""
    size, count = 1_000_000, 40
    await asyncio.gather(*(log.append("in", Record(bytes(size), str(n))) for n in range(count)))
    first = await log.read("in")
    assert 0 < len(first) <= MAX_READ // size + 1
    claim = await log.claim(SHARD)
    assert 0 < len(await claim.batch()) <= MAX_READ // size + 1
    assert [s.record.key for s in await read_all(log, "in")] == [str(n) for n in range(count)]


async def test_a_large_state_is_restored_quickly(log):
    """A million entries take about two seconds; here a tenth of it, with room for a busy machine."""
    claim = await log.claim(SHARD)
    await claim.commit([], [], {f"n/us-cisa/{n:036}": b"%064d" % n for n in range(100_000)})
    began = time.process_time()
    again = await log.claim(SHARD)
    assert time.process_time() - began < 2
    assert again.state == claim.state
    assert len(again.state) == 100_000


# Several processes, readers


async def test_a_read_only_log_follows_and_cannot_write(log, path):
    auditor = EmbeddedLog.open(path, read_only=True)
    waiting = asyncio.ensure_future(auditor.read("in", wait=20))
    await asyncio.sleep(0.05)
    await log.append("in", Record(b"1"))
    assert values(await waiting) == [b"1"]
    assert await auditor.topics() == ["in", "out"]
    for call in (auditor.append("in", Record(b"")), auditor.create("new"), auditor.claim(SHARD)):
        with pytest.raises(Unavailable, match="reading only"):
            await call
    await auditor.create("in")  # there already: nothing to write
    await auditor.close()


@pytest.fixture
def frozen(tmp_path):
    """Makes a directory read only, for root too."""
    mounted = []

    def freeze(directory):
        for command in (["mount", "--bind"], ["mount", "-o", "remount,ro,bind"]):
            done = subprocess.run([*command, str(directory), str(directory)], capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"NOT TESTED: a read-only medium; cannot mount here: {done.stderr.strip()}")
            mounted.append(directory)

    yield freeze
    for directory in {*mounted}:
        subprocess.run(["umount", str(directory)], check=True)


async def test_a_log_on_a_read_only_medium_can_be_audited(tmp_path, frozen):
    (tmp_path / "medium").mkdir()
    path = tmp_path / "medium/comity.db"
    log = EmbeddedLog(path)
    await log.create("in")
    await log.append("in", Record(b"1"))
    await log.close()
    frozen(path.parent)
    auditor = EmbeddedLog(path, read_only=True)
    assert values(await auditor.read("in")) == [b"1"]
    await auditor.close()
    with pytest.raises(Unavailable, match=r"may (read and )?write"):
        EmbeddedLog(path)


async def test_a_copy_with_an_unread_write_ahead_log_on_a_read_only_medium_says_what_to_do(tmp_path, path, log, frozen):
    """What stands in it would be missed."""
    await log.append("in", Record(b"1"))
    (tmp_path / "medium").mkdir()
    for name in ("comity.db", "comity.db-wal"):
        (tmp_path / "medium" / name).write_bytes((tmp_path / name).read_bytes())
    frozen(tmp_path / "medium")
    with pytest.raises(Unavailable, match=r"copy it together with comity.db-wal"):
        EmbeddedLog(tmp_path / "medium/comity.db", read_only=True)


WRITER = """
import asyncio, sys
from hub.log import Record
from hub.log.embedded import EmbeddedLog

async def main(path, name):
    log = EmbeddedLog(path)
    await log.create("in", "out")
    await asyncio.gather(*(log.append("in", Record(f"{name}/{n}".encode())) for n in range(50)))
    for n in range(50, 100):
        await log.append("in", Record(f"{name}/{n}".encode()))
    await log.close()

asyncio.run(main(*sys.argv[1:]))
"""


async def test_processes_that_make_the_file_at_once_and_write_at_once_agree(path):
    """Four processes: each record once, each process in its own order, while a reader here follows."""
    writers = [subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(n)], cwd=os.getcwd()) for n in range(4)]
    log = EmbeddedLog(path)
    found = []
    while len(found) < 400 and (batch := await log.read("in", after=len(found) - 1, wait=30)):
        found += batch
    assert [writer.wait(30) for writer in writers] == [0] * 4
    assert [s.offset for s in found] == list(range(400))
    for n in range(4):
        own = [value for value in values(found) if value.startswith(b"%d/" % n)]
        assert own == [b"%d/%d" % (n, i) for i in range(100)]
    await log.close()


async def test_commits_of_others_are_noticed_among_ones_own(opened):
    """This client is busy writing all the time; a reader of it that waits for another client's record wakes soon."""
    log, other = await opened(), await opened()
    stop = False

    async def keep_writing():
        while not stop:
            await log.append("out", Record(b"own"))
            await asyncio.sleep(0.001)

    busy = asyncio.ensure_future(keep_writing())
    for n in range(5):
        waiting = asyncio.ensure_future(log.read("in", after=n - 1, wait=20))
        await asyncio.sleep(0.07)
        began = time.monotonic()
        await other.append("in", Record(b"%d" % n))
        assert values(await waiting) == [b"%d" % n]
        assert time.monotonic() - began < 1
    stop = True
    await busy


async def test_a_waiting_reader_hears_when_the_file_cannot_be_read_any_more(log):
    """From the look for other processes' commits, not only at its end."""
    waiting = asyncio.ensure_future(log.read("in", wait=20))
    await asyncio.sleep(0.02)
    log._reader.close()
    with pytest.raises(Unavailable):
        await asyncio.wait_for(waiting, 5)


async def test_nobody_looks_for_other_processes_when_nobody_waits(log):
    await log.read("in", wait=0.12)
    assert log._waiting._timer is not None
    await asyncio.sleep(0.12)
    assert log._waiting._timer is None


async def test_a_log_that_never_wrote_closes(path):
    log = EmbeddedLog(path)
    await log.close()
    await log.close()


def test_the_failpoints_are_numbered_without_gaps():
    numbers = {}
    for name in FAILPOINTS:
        kind, _, rest = name.partition(".")
        numbers.setdefault(kind, []).append(int(rest.split("-")[0]))
    assert set(numbers) == {"append", "claim", "commit"}
    assert all(found == list(range(1, len(found) + 1)) for found in numbers.values())


async def test_every_failpoint_is_reached(opened):
    hits = Counter()
    log = await opened(trip=lambda name: hits.update([name]))
    await log.append("in", Record(b""))
    claim = await log.claim(SHARD)
    await claim.commit(await claim.batch(), [("out", Record(b""))], {"k": b""})
    assert set(hits) == set(FAILPOINTS)
