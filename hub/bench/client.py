"""The client under which the server is measured, in a process of its own: python -m hub.bench.client.

Reads `{"url":…,"load":{…}}` from stdin, writes JSON lines: `{"progress":…}`, and at the end `{"found":{…}}`.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import mean, quantiles
from typing import Any
from urllib.parse import urlencode

from hub.bench import partners
from hub.bench.http import Connection, message
from hub.bench.serving import EMPTY, Load
from hub.config import DEFAULT_ORIGIN
from hub.core import strict

CONCURRENCY = 64
LONG_POLL = 30  # seconds
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


@dataclass
class Client:
    """`taken`: notices accepted so far; each recipient gets every one, so it is their number of deliveries too."""

    url: str
    tokens: dict[str, str]
    pool: list[Connection]
    taken: int = 0
    acknowledged: dict[str, float] = field(default_factory=dict)  # by jti: when the 202 came
    latencies: list[float] = field(default_factory=list)

    def get(self, agency: str, target: str) -> bytes:
        return message("GET", target, headers={"authorization": f"Bearer {self.tokens[agency]}"})

    def post(self, agency: str, target: str, body: bytes) -> bytes:
        headers = {"authorization": f"Bearer {self.tokens[agency]}", "content-type": "application/sd-jwt"}
        return message("POST", target, body, headers)

    async def empty(self, seconds: float) -> float:
        """Posts to the endpoint that does nothing, in a second; as large as notices, with the same headers."""
        [(sender, _, raw)] = partners.notices(1)
        request = self.post(sender, EMPTY, raw)
        began = time.perf_counter()

        async def work(connection: Connection) -> int:
            done = 0
            while time.perf_counter() - began < seconds:
                _expect(await connection.send(request), 202)
                done += 1
            return done

        done = sum(await asyncio.gather(*map(work, self.pool)))
        return done / (time.perf_counter() - began)

    async def accept(self, count: int) -> tuple[float, float]:
        """Notices accepted in a second while only accepting counts; and until all were delivered as well."""
        requests = iter([self.post(sender, "/v1/notices", raw) for sender, _, raw in partners.notices(count)])
        used, began = time.process_time(), time.perf_counter()

        async def work(connection: Connection) -> None:
            for request in requests:
                _expect(await connection.send(request), 202)

        await asyncio.gather(*map(work, self.pool))
        accepted = time.perf_counter() - began
        say(f"the client used {(time.process_time() - used) / accepted:.0%} of a core")
        self.taken += count
        readers = zip(self.pool, partners.RECIPIENTS, strict=False)
        await asyncio.gather(*(self._delivered(connection, recipient) for connection, recipient in readers))
        return count / accepted, count / (time.perf_counter() - began)

    async def _delivered(self, connection: Connection, recipient: str) -> None:
        """Returns when the newest delivery can be read."""
        target = f"/v1/deliveries?after={self.taken - 2}&limit=1&wait={LONG_POLL}"
        for _ in range(4):
            status, body = await connection.send(self.get(recipient, target))
            _expect((status, body), 200)
            if json.loads(body)["deliveries"]:
                return
        raise TimeoutError(f"notices accepted {4 * LONG_POLL} s ago are not delivered to {recipient}")

    async def pace(self, rate: float, seconds: float) -> None:
        """Post `rate` notices a second while the recipients follow their deliveries by long poll."""
        count = max(int(rate * seconds), 1)
        work = [(jti, self.post(sender, "/v1/notices", raw)) for sender, jti, raw in partners.notices(count)]
        first, self.taken = self.taken, self.taken + count
        readers = [await Connection.open(self.url) for _ in partners.RECIPIENTS]
        arrived: dict[str, list[float]] = {}
        reading = [
            asyncio.create_task(self._follow(reader, recipient, first, arrived))
            for reader, recipient in zip(readers, partners.RECIPIENTS, strict=True)
        ]
        began, places = time.perf_counter(), iter(enumerate(work))
        await asyncio.gather(*(self._keep_pace(each, places, began, rate) for each in self.pool))
        async with asyncio.timeout(60):
            await asyncio.gather(*reading)
        for reader in readers:
            reader.close()
        self.latencies += [max(0.0, at - self.acknowledged[jti]) for jti, all_ in arrived.items() for at in all_]

    async def _keep_pace(
        self, connection: Connection, work: Iterator[tuple[int, tuple[str, bytes]]], began: float, rate: float
    ) -> None:
        for number, (jti, request) in work:
            early = began + number / rate - time.perf_counter()
            if early > 0:
                await asyncio.sleep(early)
            _expect(await connection.send(request), 202)
            self.acknowledged[jti] = time.perf_counter()

    async def _follow(
        self, connection: Connection, recipient: str, first: int, arrived: dict[str, list[float]]
    ) -> None:
        after = first - 1
        while after < self.taken - 1:
            target = f"/v1/deliveries?after={after}&limit=500&wait={LONG_POLL}"
            status, body = await connection.send(self.get(recipient, target))
            _expect((status, body), 200)
            now, page = time.perf_counter(), json.loads(body)
            for delivery in page["deliveries"]:
                arrived.setdefault(delivery["headers"]["ce_id"], []).append(now)
            after = page["next"]


async def measure(url: str, load: Load) -> dict[str, Any]:
    pool = [await Connection.open(url) for _ in range(CONCURRENCY)]
    tokens = {agency: await _token(pool[0], agency) for agency in (*partners.SENDERS, *partners.RECIPIENTS)}
    client = Client(url, tokens, pool)
    await client.empty(min(0.3, load.empty_s))
    await client.accept(200)  # every code path once, before it counts
    empty, accepted, sustained = [], [], []
    for _ in range(load.rounds):  # in turn, so that a change of the machine's pace shows in both
        empty.append(await client.empty(load.empty_s))
        say(f"empty posts: {empty[-1]:.0f}/s")
        rates = await client.accept(load.accepted)
        accepted.append(rates[0])
        sustained.append(min(rates))
        say(f"accepted: {rates[0]:.0f}/s; until delivered: {rates[1]:.0f}/s")
    rate = mean(sustained) / 2
    say(f"posting {rate:.0f}/s, half of what can be sustained")
    await client.pace(rate, load.paced_s)
    for connection in pool:
        connection.close()
    cuts = quantiles(client.latencies, n=100)
    return {
        "accept_per_s": round(mean(accepted)),
        "empty_post_per_s": round(mean(empty)),
        "accept_to_empty": round(mean(accepted) / mean(empty), 3),
        "ack_to_delivery_ms": {"p50": round(cuts[49] * 1000, 1), "p99": round(cuts[98] * 1000, 1)},
    }


async def _token(connection: Connection, agency: str) -> str:
    now, kid = int(time.time()), partners.kid_of(agency)
    claims = {
        "iss": agency,
        "sub": agency,
        "aud": DEFAULT_ORIGIN,
        "iat": now,
        "exp": now + 60,
        "jti": os.urandom(8).hex(),
    }
    signing_input = f"{strict.b64(strict.dumps({'alg': 'Ed25519', 'kid': kid}))}.{strict.b64(strict.dumps(claims))}"
    assertion = f"{signing_input}.{strict.b64(partners.key_of(kid).sign(signing_input.encode()))}"
    form = {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": assertion}
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await connection.send(message("POST", "/oauth/token", urlencode(form).encode(), headers))
    _expect(answer, 200)
    token: str = json.loads(answer[1])["access_token"]
    return token


def _expect(answer: tuple[int, bytes], status: int) -> None:
    if answer[0] != status:
        raise AssertionError(f"the hub answered {answer[0]}, not {status}: {answer[1][:300].decode()}")


def say(line: str) -> None:
    print(json.dumps({"progress": line}), flush=True)  # noqa: T201


if __name__ == "__main__":
    asked = json.loads(sys.stdin.read())
    found = asyncio.run(measure(asked["url"], Load(**asked["load"])))
    print(json.dumps({"found": found}), flush=True)  # noqa: T201
