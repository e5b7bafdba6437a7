"""`comity notice publish` and `tail` over Kafka: the same commands, by another address."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Comity, comity  # noqa: F401  the fixture
from tests.connectors.kafka_world import World, delete_before, records, signed

Call = Callable[..., Awaitable[Any]]


@pytest.fixture
def call(comity: Comity) -> Call:  # noqa: F811
    """A command in a thread, for it runs an event loop of its own."""

    async def run(*arguments: str | Path) -> Any:
        return await asyncio.to_thread(comity, *arguments)

    return run


@pytest.mark.kafka
async def test_publishing_tells_that_it_is_written_and_not_that_it_is_accepted(world: World, call: Call) -> None:
    world.sender.save("key.json")
    notice = signed(world.sender)
    Path("notice.sdjwt").write_bytes(notice.raw + b"\n")
    over = ("--key", "key.json", "--hub", world.address(), "--journal", "outbox")
    answer = await call("notice", "publish", "notice.sdjwt", *over, "-o", "json")
    assert answer.code == 0, answer
    assert answer.json == [
        {
            "file": "notice.sdjwt", "jti": notice.jti, "outcome": "written", "digest": notice.digest, "receipt": None,
            "detail": f"kafka:{world.notices}/0/0",
        }
    ]  # fmt: skip
    again = await call("notice", "publish", "notice.sdjwt", *over)
    assert again.code == 0 and "written" in again.out
    assert [record.value for record in await records(world.bootstrap, world.notices)] == [notice.raw]


@pytest.mark.kafka
async def test_tail_shows_what_came_with_and_without_an_inbox(
    world: World, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.recipient.save("key.json")
    monkeypatch.setenv("COMITY_CLIENT_URL", world.address())
    await world.deliver_notices(3)
    shown = await call("notice", "tail", "--no-follow", "--key", "key.json", "-o", "json")
    assert shown.code == 0, shown
    assert [json.loads(line)["number"] for line in shown.out.splitlines()] == [1, 2, 3]
    for expected in (3, 0):
        stored = await call("notice", "tail", "--no-follow", "--key", "key.json", "--inbox", "in", "-o", "json")
        assert stored.code == 0 and len(stored.out.splitlines()) == expected
    assert len(await records(world.bootstrap, f"comity.notices.{world.recipient.agency}")) == 1


@pytest.mark.kafka
async def test_tail_stops_at_what_was_deleted_until_it_is_told_to_go_on(world: World, call: Call) -> None:
    world.recipient.save("key.json")
    over = ("--no-follow", "--key", "key.json", "--hub", world.address(), "-o", "json")
    await world.deliver_notices(2)
    assert (await call("notice", "tail", "--inbox", "in", *over)).code == 0
    offsets = await world.deliver_notices(3)
    await delete_before(world.bootstrap, world.deliveries, offsets[2])
    for how in (("--inbox", "in"), ("--after", "1")):
        lost = await call("notice", "tail", *how, *over)
        assert lost.code == 1 and "--pass-over" in lost.err and lost.out == ""
        shown = await call("notice", "tail", *how, "--pass-over", *over)
        assert shown.code == 0 and json.loads(shown.out)["number"] == 5


@pytest.mark.kafka
async def test_a_bad_notice_is_refused_with_the_hubs_own_word_and_the_others_are_written(
    world: World, call: Call
) -> None:
    world.sender.save("key.json")
    Path("good").write_bytes(signed(world.sender).raw)
    Path("bad").write_bytes(signed(world.recipient).raw)
    answer = await call("notice", "publish", "good", "bad", "--key", "key.json", "--hub", world.address(), "-o", "json")
    assert answer.code == 1
    assert {each["file"]: each["outcome"] for each in answer.json} == {
        "good": "written", "bad": "refused: wrong-sender"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("agency", "list", "--hub", "kafka://b:1"), 2, "HTTP"),
        (("notice", "explain", "x", "at-cert", "--hub", "kafka+ssl://b:1?ca=x"), 2, "notice publish"),
        (("doctor", "--hub", "kafka://b:1"), 2, "HTTP"),
        (("notice", "tail", "--hub", "kafka://b"), 2, "HOST:PORT"),
        (("notice", "tail", "--hub", "kafka+sasl://b:1"), 2, "USER"),
        (("notice", "tail", "--no-follow", "--hub", "kafka://127.0.0.1:9"), 1, "agencies=FILE"),
        (("notice", "tail", "--hub", "kafka+ssl://b:1?ca=nowhere.pem"), 1, "nowhere.pem"),
        (("notice", "tail", "--no-follow", "--hub", "kafka://127.0.0.1:9?agencies=none.json"), 1, "none.json"),
        (("notice", "tail", "--no-follow", "--hub", "kafka://127.0.0.1:9?agencies=all.json"), 5, "Connect"),
        (("notice", "publish", "notice", "--hub", "kafka://127.0.0.1:9"), 5, "127.0.0.1:9"),
    ],
)
async def test_what_is_wrong_with_an_address_is_said_in_one_line(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], code: int, told: str
) -> None:
    monkeypatch.setattr("hub.cli.options.PATIENCE", 0.2)
    world = World("", tmp_path)
    world.sender.save("key.json")
    Path("notice").write_bytes(signed(world.sender).raw)
    Path("all.json").write_text('{"agencies": []}')
    answer = await call(*arguments, "--key", "key.json")
    assert answer.code == code, answer
    assert told in " ".join(answer.err.split()) and answer.err.count("\n") == 1 and answer.out == ""
