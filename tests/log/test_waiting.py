"""Waiting: nobody sleeps through a change, and nobody is woken for what is not theirs."""

import asyncio

import pytest

from hub.log import Unavailable
from hub.log.waiting import POLL, Waiting


class File:
    """Committed records, and a version that changes with them, as SQLite's does."""

    def __init__(self):
        self.records = []
        self.version = 1
        self.looks = 0

    def commit(self, *records):
        self.records += records
        self.version += 1

    def look(self):
        self.looks += 1
        return list(self.records)


@pytest.fixture
def file():
    return File()


@pytest.fixture
def waiting(file):
    return Waiting(lambda: file.version)


def wait(waiting, file, topic="a", seconds=20.0, look=None):
    return asyncio.ensure_future(waiting.until(look or file.look, lambda names: topic in names, seconds))


async def test_what_is_there_already_is_found_without_waiting(file, waiting):
    file.commit("r")
    assert await waiting.until(file.look, lambda names: False, 20) == ["r"]
    assert file.looks == 1


async def test_another_process_that_commits_right_after_the_first_look_is_noticed(file, waiting):
    """Before the version was noted: only looking once more finds it."""

    def look():
        found = file.look()
        if file.looks == 1:
            file.commit("r")
        return found

    assert await asyncio.wait_for(wait(waiting, file, look=look), 2) == ["r"]


async def test_another_process_that_commits_later_is_noticed_by_the_poll(file, waiting):
    task = wait(waiting, file)
    await asyncio.sleep(3 * POLL)
    assert file.looks == 2
    file.commit("r")
    assert await asyncio.wait_for(task, 2) == ["r"]


async def test_a_change_of_this_process_wakes_those_it_concerns(file, waiting):
    mine, others = wait(waiting, file), wait(waiting, file, "b", 0.3, look=list)
    await asyncio.sleep(0)
    file.commit("r")
    waiting.changed({"a"}, False)
    assert await asyncio.wait_for(mine, POLL / 2) == ["r"]
    assert await others == []


async def test_a_busy_process_does_not_wake_everyone_at_every_poll(file, waiting):
    """Its own commits change the version too, and are told apart from those of others."""
    task = wait(waiting, file, "b", look=lambda: file.look() and [])
    for _ in range(60):
        file.version += 1
        waiting.changed({"a"}, False)
        await asyncio.sleep(POLL / 10)
    assert file.looks == 2
    task.cancel()


async def test_a_commit_of_others_among_ones_own_wakes_everyone(file, waiting):
    task = wait(waiting, file, "b")
    await asyncio.sleep(0)
    file.commit("r")
    waiting.changed({"a"}, True)
    assert await asyncio.wait_for(task, POLL / 2) == ["r"]


async def test_a_commit_of_others_just_before_ones_own_last_is_noticed_when_it_is_quiet(file, waiting):
    """The poll skipped it, for the change might have been its own."""
    task = wait(waiting, file, "b")
    await asyncio.sleep(POLL / 2)
    waiting.changed({"a"}, False)
    file.commit("r")
    assert await asyncio.wait_for(task, 2) == ["r"]


async def test_who_waits_when_the_version_cannot_be_read_looks_for_itself(file):
    broken = False

    def version():
        if broken:
            raise Unavailable("gone")
        return 1

    def look():
        version()
        return []

    task = wait(Waiting(version), file, look=look)
    await asyncio.sleep(0)
    broken = True
    with pytest.raises(Unavailable, match="gone"):
        await asyncio.wait_for(task, 2)


async def test_closing_ends_the_waiting(file, waiting):
    task = wait(waiting, file)
    await asyncio.sleep(0)
    waiting.close("closed")
    with pytest.raises(Unavailable, match="closed"):
        await task


async def test_a_waiter_that_is_cancelled_leaves_nothing_behind(file, waiting):
    task = wait(waiting, file)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not waiting._waiters
    waiting.changed({"a"}, False)
