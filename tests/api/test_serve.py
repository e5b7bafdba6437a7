"""The server as a process: SIGTERM under load loses no acknowledged notice and exits 0; other ways to start and stop."""

import asyncio
import json
import signal
import socket
import sys

import httpx2
import pytest

from hub.api import ListenError, serve
from hub.app import Hub
from hub.core.process import digest_of
from tests.api.rig import SD_JWT, A, B, Rig, populate, rigged, settings_for

SCRIPT = """
import asyncio, sys
from pathlib import Path
from hub.api import serve
from hub.app import Hub
from hub.core.process import digest_of
from tests.api.rig import settings_for

async def main():
    settings = settings_for(Path(sys.argv[1]), port=0, public_url=None, drain_seconds=5)
    async with Hub.open(settings) as hub:
        await serve(hub, settings, ready=lambda url: print(url, flush=True))

asyncio.run(main())
"""


async def started(path):
    """A hub in a process of its own, and its base URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SCRIPT, str(path), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(30):
        while not (line := (await process.stdout.readline()).decode()).startswith("http"):
            assert line, (await process.stderr.read()).decode()
    return process, line.strip()


async def publish_until_stopped(rig, acknowledged):
    """Posts notice after notice; notes each that was acknowledged."""
    while True:
        raw = rig.now().notice(A)
        try:
            answer = await rig.publish(A, raw)
        except httpx2.TransportError:
            return
        if answer.status_code == 202:
            acknowledged[answer.json()["jti"]] = raw


@pytest.mark.slow
async def test_sigterm_under_load_loses_no_acknowledged_notice(tmp_path):
    process, url = await started(tmp_path)
    acknowledged = {}
    async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
        rig = Rig(None, client)
        await populate(rig)
        await rig.auth(A)
        stream_headers = await rig.auth(B) | {"accept": "text/event-stream"}
        async with client.stream("GET", "/v1/deliveries", headers=stream_headers) as stream:
            poll = asyncio.create_task(rig.get(B, "/v1/deliveries", after=10**6, wait=30))
            load = [asyncio.create_task(publish_until_stopped(rig, acknowledged)) for _ in range(8)]
            await asyncio.sleep(1.0)
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
            assert (await client.get("/readyz")).status_code == 503
            async with asyncio.timeout(20):
                assert (await poll).json()["deliveries"] == []  # a long poll is answered, not cut
                async for _ in stream.aiter_bytes():
                    pass  # and the stream ends
                await asyncio.gather(*load)
                assert await process.wait() == 0, (await process.stderr.read()).decode()
    assert len(acknowledged) > 10
    async with rigged(tmp_path, found=False) as rig:
        assert (await rig.http.get("/readyz")).status_code == 200
        for jti, raw in acknowledged.items():
            status = await rig.hub.index.notice(A, jti)
            assert status is not None and status.status == "accepted", "drained before it stopped"
            assert status.digest == digest_of(raw)
        entries = await rig.hub.index.entries(limit=10**6)
        digests = [e.leaf["digest"] for e in entries if e.leaf["kind"] == "notice"]
        assert len(digests) == len(set(digests)) >= len(acknowledged)


@pytest.mark.slow
async def test_a_killed_hub_answers_the_same_bytes_as_before(tmp_path):
    process, url = await started(tmp_path)
    async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
        rig = Rig(None, client)
        await populate(rig)
        raws = [rig.now().notice(A) for _ in range(20)]
        first = [(await rig.publish(A, raw)).content for raw in raws]
        process.kill()
        await process.wait()
    process, url = await started(tmp_path)
    async with httpx2.AsyncClient(base_url=url, timeout=30) as client:
        rig = Rig(None, client)
        assert [(await rig.publish(A, raw)).content for raw in raws] == first
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0


async def test_a_port_in_use_is_a_clear_error(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = settings_for(tmp_path, port=taken.getsockname()[1])
        async with Hub.open(settings) as hub:
            with pytest.raises(ListenError, match=r"cannot listen on 127.0.0.1 port \d+: .*COMITY_PORT"):
                await serve(hub, settings)


async def test_a_body_that_never_ends_or_stops_does_not_hold_the_hub(tmp_path):
    """Half a request, then a hang-up: nothing is logged as a fault, and others are served."""
    settings = settings_for(tmp_path, port=0, public_url=None)
    async with Hub.open(settings) as hub:
        ready = asyncio.get_running_loop().create_future()
        server = asyncio.create_task(serve(hub, settings, ready=ready.set_result))
        url = httpx2.URL(await ready)
        async with httpx2.AsyncClient(base_url=url) as client:
            rig = Rig(hub, client)
            await populate(rig)
            head = "".join(f"{k}: {v}\r\n" for k, v in (await rig.auth(A) | SD_JWT).items())
            _, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(f"POST /v1/notices HTTP/1.1\r\nhost: x\r\n{head}content-length: 100\r\n\r\nabc".encode())
            await writer.drain()
            await asyncio.sleep(0.1)
            writer.close()
            answer = await rig.publish(A, rig.now().notice(A))
            assert answer.status_code == 202 and json.loads(answer.content)["jti"]
            assert 'status="500"' not in (await client.get("/metrics")).text
        server.cancel()
        await asyncio.gather(server, return_exceptions=True)
