"""Fetching deliveries by page, long poll and event stream, over a real socket; acknowledging them."""

import asyncio
import time
from contextlib import asynccontextmanager

import httpx2
import pytest
import pytest_asyncio

from hub.api import deliveries, serve
from hub.app import Hub
from hub.core import envelope, strict
from tests.api.rig import ACK, AUDITOR, OUT, A, B, C, Rig, populate, problem, settings_for

pytestmark = pytest.mark.asyncio(loop_scope="module")


@asynccontextmanager
async def served(path, **change):
    """A rig whose client speaks to a real server on loopback."""
    settings = settings_for(path, port=0, public_url=None, drain_seconds=2, **change)
    async with Hub.open(settings) as hub:
        ready = asyncio.get_running_loop().create_future()
        server = asyncio.create_task(serve(hub, settings, ready=ready.set_result))
        await asyncio.wait({server, ready}, return_when=asyncio.FIRST_COMPLETED)
        async with httpx2.AsyncClient(base_url=ready.result(), timeout=30) as client:
            yield Rig(hub, client)
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def live(tmp_path_factory):
    async with served(tmp_path_factory.mktemp("hub")) as rig:
        await populate(rig)
        yield rig


async def publish(rig, count=1, **change):
    """Settled notices of A; their jti."""
    raws = [rig.now().notice(A, **change) for _ in range(count)]
    jtis = [(await rig.publish(A, raw)).json()["jti"] for raw in raws]
    await rig.settled(jtis[-1])
    return jtis


async def fetch(rig, who, **params):
    answer = await rig.get(who, "/v1/deliveries", **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def end_of(rig, who):
    return await rig.hub.log.end(f"comity.deliveries.{who}")


async def test_deliveries_come_in_order_each_once_and_pages_join(live):
    before = await end_of(live, B)
    jtis = await publish(live, 5)
    got, after = [], before
    while (page := await fetch(live, B, after=after, limit=2))["deliveries"]:
        assert len(page["deliveries"]) <= 2
        got += page["deliveries"]
        after = page["next"]
    assert [each["headers"]["ce_id"] for each in got] == jtis
    assert [each["offset"] for each in got] == list(range(before + 1, before + 6))
    assert page == {"deliveries": [], "next": after}


async def test_a_delivery_lacks_what_the_clause_withholds_and_still_verifies(live):
    after = await end_of(live, C)
    await publish(live)
    page = await fetch(live, C, after=after)
    [delivery] = page["deliveries"]
    env = envelope.split(delivery["notice"].encode())
    assert delivery["headers"]["ce_withheld"] == "source_detail" and not env.disclosures
    keys = {k["kid"]: k for a in (await live.get(C, "/v1/agencies")).json()["agencies"] for k in a["keys"]}
    assert envelope.verify(strict.unb64(keys[env.kid]["x"]), env.signature, env.signing_input)


async def test_without_after_reading_starts_from_the_beginning(live):
    await publish(live)
    first = (await fetch(live, B, limit=1))["deliveries"][0]
    assert first["offset"] == 0 and (await fetch(live, B, after=-1, limit=1))["deliveries"][0] == first


async def test_who_receives_nothing_reads_an_empty_page(live):
    await publish(live)
    assert await fetch(live, OUT) == {"deliveries": [], "next": -1}
    problem(await live.get("operator", "/v1/deliveries"), 403, "forbidden")


@pytest.mark.parametrize(
    "params",
    [{"limit": 0}, {"limit": 501}, {"after": -2}, {"after": "x"}, {"wait": 31}, {"wait": -1}, {"after": 2**60}],
)
async def test_parameters_out_of_range_are_named(live, params):
    assert next(iter(params)) in problem(await live.get(B, "/v1/deliveries", **params), 400, "bad-request")


async def test_a_long_poll_answers_as_soon_as_something_comes(live):
    after = await end_of(live, B)
    began = time.monotonic()
    poll = asyncio.create_task(fetch(live, B, after=after, wait=20))
    await asyncio.sleep(0.3)
    assert not poll.done()
    [jti] = await publish(live)
    page = await poll
    assert time.monotonic() - began < 10 and page["deliveries"][0]["headers"]["ce_id"] == jti


async def test_a_long_poll_ends_empty_after_its_wait(live):
    began = time.monotonic()
    after = await end_of(live, B)
    assert await fetch(live, B, after=after, wait=0.5) == {"deliveries": [], "next": after}
    assert 0.4 < time.monotonic() - began < 5


class Stream:
    """Reads server-sent events."""

    def __init__(self, response):
        self.lines = response.aiter_lines()

    async def next(self):
        """The next event as a dict, or a comment as a string."""
        event = {}
        async with asyncio.timeout(20):
            async for line in self.lines:
                if line.startswith(":"):
                    return line
                if not line and "data" in event:
                    return event
                if line:
                    name, _, value = line.partition(": ")
                    event[name] = value
        return None

    async def event(self):
        while isinstance(found := await self.next(), str):
            pass
        return found


@asynccontextmanager
async def streaming(rig, who, last=None, **params):
    headers = await rig.auth(who) | {"accept": "text/event-stream"}
    if last is not None:
        headers["last-event-id"] = str(last)
    async with rig.http.stream("GET", "/v1/deliveries", params=params, headers=headers) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Stream(response)


async def test_a_stream_sends_deliveries_as_they_come_and_resumes_where_it_broke(live):
    after = await end_of(live, B)
    async with streaming(live, B, after=after) as stream:
        first, second = await publish(live, 2)
        event = await stream.event()
        assert event["event"] == "delivery"
        said = strict.loads(event["data"].encode())
        assert said["headers"]["ce_id"] == first and str(said["offset"]) == event["id"]
    third = (await publish(live))[0]
    async with streaming(live, B, last=event["id"], after=-1) as stream:  # Last-Event-ID counts more than after
        got = [strict.loads((await stream.event())["data"].encode()) for _ in range(2)]
    assert [each["headers"]["ce_id"] for each in got] == [second, third]
    assert got[0] == (await fetch(live, B, after=after + 1, limit=1))["deliveries"][0]


@pytest.mark.parametrize("last", ["x", "-2", "1.5", "99999999999999999999"])
async def test_a_wrong_last_event_id_is_refused(live, last):
    headers = await live.auth(B) | {"accept": "text/event-stream", "last-event-id": last}
    problem(await live.http.get("/v1/deliveries", headers=headers), 400, "bad-request")


async def test_a_silent_stream_shows_that_it_lives(live, monkeypatch):
    monkeypatch.setattr("hub.api.deliveries.HEARTBEAT", 0.2)
    async with streaming(live, OUT) as stream:
        assert [await stream.next() for _ in range(3)] == [": deliveries", ": still here", ": still here"]


async def test_a_stream_whose_client_left_gives_its_place_back(live, monkeypatch):
    """The place, and with it the task, is free within moments, not only at the next heartbeat."""
    monkeypatch.setattr("hub.api.deliveries.HEARTBEAT", 60.0)
    before = len(asyncio.all_tasks())
    for _ in range(70):  # more than the places one client has
        async with streaming(live, C, after=await end_of(live, C)) as stream:
            assert await stream.next() == ": deliveries"
    async with asyncio.timeout(10):
        while len(asyncio.all_tasks()) > before + 5:
            await asyncio.sleep(0.05)


async def test_a_stream_ends_when_its_key_is_revoked_and_sends_nothing_more(live, monkeypatch):
    monkeypatch.setattr("hub.api.deliveries.HEARTBEAT", 0.2)
    await live.enroll("nl-ncsc")
    async with streaming(live, "nl-ncsc") as stream:
        revoke = {"statement": "key.revoke", "agency": "nl-ncsc", "kid": "nl-ncsc/1", "reason": "lost"}
        assert (await live.state(revoke, "operator/1")).status_code == 201
        while (found := await stream.next()) is not None:
            assert isinstance(found, str)


async def test_one_client_holds_only_so_many_streams(live):
    async with asyncio.timeout(60):
        opened = [await live.http.send(request, stream=True) for request in await requests(live, 64)]
        [extra] = await requests(live, 1)
        answer = await live.http.send(extra)
        problem(answer, 429, "rate-limited")
        for response in opened:
            await response.aclose()


async def requests(rig, count):
    headers = await rig.auth(AUDITOR) | {"accept": "text/event-stream"}
    return [rig.http.build_request("GET", "/v1/deliveries", headers=headers) for _ in range(count)]


async def acknowledge(rig, who, raw):
    return await rig.http.post("/v1/deliveries/acks", content=raw, headers=await rig.auth(who) | ACK)


async def test_an_acknowledgement_enters_the_ledger_and_the_sender_sees_it(live):
    after = await end_of(live, B)
    [jti] = await publish(live)
    [delivery] = (await fetch(live, B, after=after))["deliveries"]
    digest = strict.b64(envelope.split(delivery["notice"].encode()).digest)
    stored = [{"sender": A, "number": int(delivery["headers"]["ce_number"]), "digest": digest}]
    raw = live.acknowledgement(B, stored)
    first = await acknowledge(live, B, raw)
    assert first.status_code == 202, first.text
    again = await acknowledge(live, B, raw)
    assert (again.status_code, again.content) == (202, first.content)

    async with asyncio.timeout(10):
        while True:
            status = (await live.get(A, f"/v1/notices/{A}/{jti}")).json()
            seen = {each["recipient"]: each["acknowledged"] for each in status["deliveries"]}
            if seen[B]:
                break
            await asyncio.sleep(0.02)
    assert seen[C] is None
    topic = await live.hub.log.read(f"comity.notices.{B}")
    assert [each.record.value for each in topic].count(raw) == 1


async def test_acknowledgements_of_others_or_forged_or_misplaced_are_refused(live):
    stored = [{"sender": A, "number": 1, "digest": strict.b64(b"x" * 32)}]
    problem(await acknowledge(live, C, live.acknowledgement(B, stored)), 403, "wrong-sender")
    raw = live.acknowledgement(B, stored)
    problem(await acknowledge(live, B, raw[:-8] + b"AAAAAAAA"), 422, "signature")
    problem(await acknowledge(live, B, live.acknowledgement(B, [])), 422, "schema")
    problem(await acknowledge(live, B, live.now().notice(B)), 400, "malformed")
    problem(await acknowledge(live, B, b"x" * 200_000), 413, "too-large")
    headers = await live.auth(B) | {"content-type": "application/sd-jwt"}
    problem(await live.http.post("/v1/deliveries/acks", content=raw, headers=headers), 415, "unsupported-media-type")
    answer = await live.http.post("/v1/notices", content=raw, headers=headers)
    problem(answer, 400, "malformed")


async def test_the_heartbeat_is_the_one_promised():
    assert deliveries.HEARTBEAT == 15.0
