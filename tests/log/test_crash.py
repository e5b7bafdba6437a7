"""kill -9 at every failpoint, and at random times: acknowledged is stored, nothing is doubled, commits are atomic."""

import contextlib
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import defaultdict

import pytest

from hub.log.embedded import FAILPOINTS, EmbeddedLog
from tests.log.crash_child import APPENDERS, COPIES, LEDGER, SHARD, SOURCES

pytestmark = pytest.mark.crash
KILLED = -signal.SIGKILL


class Run:
    """What one process said before it ended."""

    def __init__(self, said):
        self.acknowledged = {(topic, int(n)): value.encode() for word, topic, n, value in said if word == "ack"}
        self.moved = max((int(n) for word, n, *_ in said if word == "moved"), default=0)


class Server:
    """Asks the fork server for processes that work on a log until they are done or dead."""

    def __init__(self):
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.log.crash_child"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=os.getcwd(),
        )  # fmt: skip
        self._runs = 0

    def run(self, path, *, point=None, nth=1, count=8, kill_after=None):
        """`kill_after`: seconds from the first acknowledgement to SIGKILL. Returns (exit status, Run)."""
        self._runs += 1
        order = {"path": str(path), "run": f"r{self._runs}", "point": point, "nth": nth, "count": count}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        said, pid, deadline, failure = [], None, None, None
        for line in self._process.stdout:
            words = line.split()
            match words[0]:
                case "pid":
                    pid = int(words[1])
                case "exit" if failure:
                    pytest.fail(failure)
                case "exit":
                    return int(words[1]), Run(said)
                case "failed":
                    failure = line
                case _:
                    said.append((*words, *[""] * (4 - len(words))))
            if kill_after is not None and pid is not None and said:
                deadline = deadline or time.monotonic() + kill_after
                if time.monotonic() >= deadline:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
        pytest.fail("the fork server is gone")

    def close(self):
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture(scope="module")
def server():
    server = Server()
    yield server
    server.close()


async def contents(log, topic):
    found, after = [], -1
    while batch := await log.read(topic, after=after):
        found += batch
        after = batch[-1].offset
    return found


async def check(path, runs):
    """The promises, over all processes that ever worked on this file. AssertionError names the one that is broken."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    log = EmbeddedLog(path)
    try:
        stored = {topic: await contents(log, topic) for topic in (*SOURCES, COPIES, LEDGER)}
        claim = await log.claim(SHARD)
        left = await claim.batch(100_000)
    finally:
        await log.close()
    by_place = {(s.topic, s.offset): s.record.value for records in stored.values() for s in records}
    for topic, records in stored.items():
        assert [s.offset for s in records] == list(range(len(records))), f"offsets of {topic} have gaps"
    for run in runs:
        for place, value in run.acknowledged.items():
            assert by_place.get(place) == value, f"acknowledged and lost: {place} {value}"
    check_order(stored)
    copies = [s.record.value for s in stored[COPIES]]
    assert copies == [s.record.value for s in stored[LEDGER]], "outputs of one commit are apart"
    assert int(claim.state.get("moved", b"0")) == len(copies), "state and outputs are apart"
    assert len(copies) >= max(run.moved for run in runs), "an acknowledged commit is lost"
    copied = set(copies)
    assert len(copied) == len(copies), "moved twice"
    for topic in SOURCES:
        values = [s.record.value for s in stored[topic]]
        waiting = [s.record.value for s in left if s.topic == topic]
        moved = values[: len(values) - len(waiting)]
        assert values == moved + waiting, f"the position of {topic} is none"
        assert copied.issuperset(moved) and copied.isdisjoint(waiting), f"position of {topic} and outputs are apart"
        assert [value for value in copies if value in set(moved)] == moved, f"the order of {topic} is lost"
        assert claim.state.get(f"last/{topic}", b"-1") == b"%d" % (len(moved) - 1), f"state and position of {topic}"
        seen = {f"seen/{topic}/{n}": moved[n] for n in range(len(moved))[-5:]}
        kept = {key: value for key, value in claim.state.items() if key.startswith(f"seen/{topic}/")}
        assert kept == seen, f"state of {topic}"
    return left


def check_order(stored):
    """Each appender waits for its answer before it appends again: its records are 0, 1, 2 …, once each."""
    numbers = defaultdict(list)
    for topic in SOURCES:
        for s in stored[topic]:
            run, appender, n = s.record.value.decode().split("/")
            numbers[topic, run, appender].append(int(n))
    for place, found in numbers.items():
        assert found == list(range(len(found))), f"lost, doubled or out of order: {place} {found}"


@pytest.mark.parametrize("nth", [1, 3])
@pytest.mark.parametrize("point", FAILPOINTS)
async def test_killed_at_a_failpoint_the_log_keeps_its_promises(server, tmp_path, point, nth):
    """Killed there, killed there again at once after the restart, then left to finish."""
    path, runs = tmp_path / "comity.db", []
    for which in (nth, 1):
        status, run = server.run(path, point=point, nth=which)
        runs.append(run)
        assert status == KILLED, f"{point} was not reached {which} times"
        await check(path, runs)
    status, run = server.run(path)
    assert (status, len(run.acknowledged)) == (0, APPENDERS * 8)
    assert await check(path, [*runs, run]) == []


@pytest.mark.parametrize("seed", range(2))
async def test_killed_at_any_time_the_log_keeps_its_promises(server, tmp_path, seed):
    """One file, killed again and again under load, at times drawn from the seed."""
    rng, path, runs = random.Random(seed), tmp_path / "comity.db", []
    for _ in range(10):
        status, run = server.run(path, count=1_000_000, kill_after=rng.uniform(0.0, 0.3))
        assert status == KILLED
        runs.append(run)
        await check(path, runs)
    assert sum(len(run.acknowledged) for run in runs) > 100
    status, run = server.run(path)
    assert status == 0
    assert await check(path, [*runs, run]) == []


FRAUDS = {
    "acknowledged and lost": "UPDATE records SET value = 'x' WHERE id = (SELECT max(id) FROM records WHERE id >> 40 = 1)",
    "offsets of in.0 have gaps": "DELETE FROM records WHERE id = (1 << 40) | 2",
    "outputs of one commit are apart": "DELETE FROM records WHERE id = (SELECT max(id) FROM records WHERE id >> 40 = 5)",
    "state and outputs are apart": "UPDATE state SET value = CAST('31' AS BLOB) WHERE key = 'moved'",
    "position of in.0 and outputs": "UPDATE positions SET offset = offset - 1 WHERE topic = 1",
    "state of in.1": "DELETE FROM state WHERE key = 'seen/in.1/7'",
}


@pytest.mark.parametrize("fault", FRAUDS)
async def test_the_checker_sees_what_it_looks_for(server, tmp_path, fault):
    """Each fault is planted into a good file."""
    path = tmp_path / "comity.db"
    _, run = server.run(path)
    await check(path, [run])
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute(FRAUDS[fault]).rowcount == 1
        db.commit()
    with pytest.raises(AssertionError, match=fault):
        await check(path, [run])
