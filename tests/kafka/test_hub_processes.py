"""A hub of several processes on Kafka: shared, killed, handed over, resharded; then audited from the cluster alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest

from connectors import Client, Inbox, PartnerKey, Refused, notices
from hub.core import jws
from tests.kafka.private import StartCluster
from tests.kafka.processes import COMITY, Process, Processes
from tests.world import CYBER, agreement, clause

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(240)]
A, B = "at-cert", "de-bsi"


@pytest.fixture
async def hub(three_nodes: StartCluster, tmp_path: Path) -> AsyncIterator[Processes]:
    nodes = three_nodes(nodes=1)
    processes = Processes(tmp_path, f"kafka://{nodes.bootstrap}", COMITY_SHARDS="4")
    yield processes
    processes.close()


async def two_agencies(hub: Processes, url: str) -> dict[str, PartnerKey]:
    keys = await hub.enrol(url, A, B)
    await hub.agree(url, keys, agreement("alpine", [A, B], [clause("c1", [A], [B], withhold=["source_detail"])]))
    return keys


def notice(client: Client, title: str) -> bytes:
    signed = client.notice(type="threat.cyber.v1", subject=title, tlp="TLP:GREEN", data=CYBER | {"title": title})
    return bytes(signed.raw)


async def publish(hub: Processes, url: str, key: PartnerKey, titles: list[str]) -> list[str]:
    async with hub.client(url, key) as client:
        return [(await client.publish(notice(client, title))).jti for title in titles]


async def receive(
    hub: Processes, url: str, key: PartnerKey, inbox: Inbox, count: int, seconds: float = 30.0
) -> list[str]:
    """Fetch until `count` notices are stored; their titles in order."""
    deadline = time.monotonic() + seconds
    async with hub.client(url, key) as client:
        while len(stored := await inbox.notices()) < count:
            assert time.monotonic() < deadline, f"{len(stored)} of {count} came"
            await inbox.fetch(client, wait=1.0)
    assert all(each.gap is None for each in stored)
    return [each.notice.data["title"] for each in stored]


async def until(question: Callable[[], object], seconds: float = 30.0) -> float:
    """Seconds until the answer (perhaps awaited) is true."""
    began = time.monotonic()
    while True:
        answer = question()
        if asyncio.iscoroutine(answer):
            answer = await answer
        if answer:
            return time.monotonic() - began
        assert time.monotonic() - began < seconds, "it did not happen in time"
        await asyncio.sleep(0.1)


def audit(hub: Processes, api: Process) -> dict[str, object]:
    vkey = next(hub.home.glob("*-api/hub.vkey"))
    ran = subprocess.run(
        [COMITY, "audit", "verify", "--kafka", hub.address, "--vkey", vkey, "-o", "json"],
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return json.loads(ran.stdout)


async def test_shards_are_shared_taken_over_and_counted_anew(hub: Processes, tmp_path: Path) -> None:
    """Two routers share four shards; one is killed and the other has all within seconds; then there are three shards."""
    registry, api, first, second, notary = await hub.start("registry", "api", "router", "router", "notary")
    keys = await two_agencies(hub, api.url)
    inbox = Inbox.open(tmp_path / "inbox")
    titles = [f"before {n}" for n in range(5)]
    await publish(hub, api.url, keys[A], titles)
    assert await receive(hub, api.url, keys[B], inbox, 5) == titles

    async def held() -> list[float]:
        return [await each.value("comity_shard_held{") for each in (first, second)]

    await until_held(held, [2.0, 2.0])
    first.kill()
    more = [f"after {n}" for n in range(5)]
    await publish(hub, api.url, keys[A], more)
    took = await until(lambda: _all_held(second, 4.0))
    assert took < 12, f"taking over took {took:.1f} s"
    assert await receive(hub, api.url, keys[B], inbox, 10) == titles + more

    ran = subprocess.run([COMITY, "shards", "set", "3", "--kafka", hub.address], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    last = [f"resharded {n}" for n in range(5)]
    await publish(hub, api.url, keys[A], last)
    assert await receive(hub, api.url, keys[B], inbox, 15) == titles + more + last
    assert second.child.poll() is None
    assert (await status(second))["parts"].keys() >= {"router-0-of-3", "router-1-of-3", "router-2-of-3"}

    assert notary.stop() == second.stop() == registry.stop() == api.stop() == 0
    report = audit(hub, api)
    assert (report["holds"], report["notices"], report["deliveries"], report["pending"]) == (True, 15, 15, 0)
    await inbox.close()


async def until_held(held: Callable[[], object], wanted: list[float]) -> None:
    async def reached() -> bool:
        return await held() == wanted  # type: ignore[misc]

    await until(reached)


async def _all_held(process: Process, count: float) -> bool:
    return await process.value("comity_shard_held{") == count


async def status(process: Process) -> dict[str, dict[str, str]]:
    async with httpx2.AsyncClient() as client:
        found: dict[str, dict[str, str]] = (await client.get(f"{process.url}/readyz")).json()
        return found


async def test_every_api_gives_the_same_answer(hub: Processes, tmp_path: Path) -> None:
    """The same bytes posted to two processes at once get one receipt; an assertion buys one token; other bytes are told."""
    _, one, two, _, _ = await hub.start("registry", "api", "api", "router", "notary")
    keys = await two_agencies(hub, one.url)
    async with hub.client(one.url, keys[A]) as first, hub.client(two.url, keys[A]) as second:
        raw = notice(first, "twice")
        told = await first.publish(raw)
        assert await second.publish(raw) == told
        fields = {"type": "threat.cyber.v1", "subject": "other", "tlp": "TLP:GREEN", "data": CYBER}
        other = notices.sign(notices.claims(A, **fields) | {"jti": told.jti}, keys[A])
        with pytest.raises(Refused, match="equivocation"):
            await second.publish(other)
        jti = told.jti
    await until(lambda: _accepted(hub, two, keys[A], jti))
    assertion = _assertion(keys[A], "comity.local/ledger")
    answers = [await _token(each.url, assertion) for each in (one, two, one)]
    assert sorted(answers) == [200, 401, 401] or sorted(answers) == [200, 400, 400], answers


async def _accepted(hub: Processes, api: Process, key: PartnerKey, jti: str) -> bool:
    async with hub.client(api.url, key) as client:
        return (await client.status(jti))["status"] == "accepted"


def _assertion(key: PartnerKey, audience: str) -> str:
    now = int(time.time())
    said = {"iss": key.agency, "sub": key.agency, "aud": audience, "iat": now, "exp": now + 60, "jti": "once"}
    return jws.sign_compact(said, typ="JWT", kid=key.kid, key=key.private).decode()


async def _token(url: str, assertion: str) -> int:
    form = {
        "grant_type": "client_credentials", "client_assertion": assertion,
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
    }  # fmt: skip
    async with httpx2.AsyncClient() as client:
        return (await client.post(f"{url}/oauth/token", data=form)).status_code


async def test_a_notary_and_a_registry_stand_by(hub: Processes, tmp_path: Path) -> None:
    """Those that work are killed; checkpoints go on within seconds, and a new agency joins the running hub."""
    registries = await hub.start("registry", "registry")
    api, *_ = await hub.start("api", "router")
    notaries = await hub.start("notary", "notary")
    keys = await two_agencies(hub, api.url)
    await publish(hub, api.url, keys[A], ["one"])

    async def working(processes: list[Process], part: str) -> Process:
        states = {each.name + each.url: (await status(each))["parts"][part] for each in processes}
        assert sorted(states.values()) == ["running", "standby"], states
        return next(each for each in processes if states[each.name + each.url] == "running")

    for processes, part in ((registries, "registry"), (notaries, "notary")):
        active = await working(processes, part)
        active.kill()
    joined = await hub.enrol(api.url, "ch-ncsc")
    await publish(hub, api.url, joined["ch-ncsc"], ["of a new agency, to nobody"])
    await until(lambda: _uncovered(api))


async def _uncovered(api: Process) -> bool:
    return await api.value("comity_uncovered_entries") == 0 and await api.value("comity_index_lag_entries") == 0


async def test_a_process_without_what_it_needs_says_so(hub: Processes, tmp_path: Path) -> None:
    """No cluster, another hub's key, no founding: one line each, and the exit code of what went wrong."""
    ran = subprocess.run([COMITY, "router"], capture_output=True, text=True, env={"PATH": "/usr/bin"}, cwd=tmp_path)
    assert ran.returncode == 2
    assert "COMITY_KAFKA" in ran.stderr
    ran = subprocess.run(
        [COMITY, "router"], capture_output=True, text=True, cwd=tmp_path,
        env={"PATH": "/usr/bin", "COMITY_KAFKA": "kafka://127.0.0.1:1"},
    )  # fmt: skip
    assert ran.returncode == 5
    assert "127.0.0.1:1" in ran.stderr
    await hub.start("registry")
    other = Processes(tmp_path / "other", hub.address) if (tmp_path / "other").mkdir() is None else hub
    child, log = other.begin("api")
    assert await asyncio.to_thread(child.wait, 60) == 1
    assert "hub key is not the one" in log.read_text()


async def test_refusals_are_heard_at_once_and_on_record(hub: Processes, tmp_path: Path) -> None:
    """A notice of another's name is refused by whichever API it is posted to."""
    _, api, _ = await hub.start("registry", "api", "router")
    keys = await two_agencies(hub, api.url)
    async with hub.client(api.url, keys[A]) as mine, hub.client(api.url, keys[B]) as others:
        with pytest.raises(Refused, match="wrong-sender"):
            await others.publish(notice(mine, "not mine"))
