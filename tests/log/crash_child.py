"""Processes to be killed: appenders and a relay on an embedded log, which say on stdout what was acknowledged.

Run as a module it is a fork server: one line of JSON in, one process forked for it, so that a hundred crashes do not pay
for a hundred starts of Python. It has no threads of its own. Lines out: `pid <n>`, what the process says, `exit <status>`.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections import Counter

from hub.log import Claim, Log, Record, Shard
from hub.log.embedded import EmbeddedLog

SOURCES = ("in.0", "in.1", "in.2")
COPIES, LEDGER = "out.copies", "out.ledger"
SHARD = Shard("relay", prefix="in.")
APPENDERS = 4


def say(*words: object) -> None:
    """One write, so that it is said before anything else happens."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def killer(point: str | None, nth: int):
    """Kills this process when `point` is reached for the nth time."""
    hits: Counter[str] = Counter()

    def trip(name: str) -> None:
        hits[name] += 1
        if name == point and hits[name] == nth:
            os.kill(os.getpid(), signal.SIGKILL)

    return trip


async def appender(log: Log, run: str, number: int, count: int) -> None:
    topic = SOURCES[number % len(SOURCES)]
    for n in range(count):
        offset = await log.append(topic, Record(f"{run}/{number}/{n}".encode()))
        say("ack", topic, offset, f"{run}/{number}/{n}")


async def relay(log: Log, done: asyncio.Event) -> None:
    """Copies everything from the sources, counts in its state, and takes its claim anew every other batch."""
    while True:
        claim = await log.claim(SHARD)
        for _ in range(2):
            batch = await claim.batch(7, wait=0.02)
            if not batch and done.is_set():
                return
            if batch:
                await move(claim, batch)


async def move(claim: Claim, batch: list) -> None:
    moved = int(claim.state.get("moved", b"0")) + len(batch)
    outputs = [(to, s.record) for s in batch for to in (COPIES, LEDGER)]
    last = {f"last/{s.topic}": b"%d" % s.offset for s in batch}
    oldest = {f"seen/{s.topic}/{s.offset - 5}": None for s in batch}
    seen = {f"seen/{s.topic}/{s.offset}": s.record.value for s in batch}
    await claim.commit(batch, outputs, {"moved": b"%d" % moved, **last, **seen, **oldest})
    say("moved", moved)


async def work(path: str, run: str, point: str | None, nth: int, count: int) -> None:
    log = EmbeddedLog(path, trip=killer(point, nth))
    await log.create(*SOURCES, COPIES, LEDGER)
    done = asyncio.Event()
    relaying = asyncio.ensure_future(relay(log, done))
    await asyncio.gather(*(appender(log, run, n, count) for n in range(APPENDERS)))
    done.set()
    await relaying
    await log.close()
    say("done")


def serve() -> None:
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            try:
                asyncio.run(work(**json.loads(line)))
            except BaseException as error:
                say("failed", repr(error))
                os._exit(1)
            os._exit(0)
        say("pid", pid)
        say("exit", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


if __name__ == "__main__":
    serve()
