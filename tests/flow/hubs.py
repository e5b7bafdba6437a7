"""A whole hub in a directory of a test, and partners who sign for it in real time."""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import asynccontextmanager

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hub.app import Hub
from hub.config import Settings
from hub.core import strict
from hub.log import Record
from tests.world import World, key_claim, key_of

A, B = "at-cert", "de-bsi"


def settings_for(path, **change):
    return Settings(data_dir=path / "data", checkpoint_interval_ms=20, **change)


def pem(name):
    return key_of(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@asynccontextmanager
async def opened(path, **change):
    """A hub whose operator's key is the one the World signs with."""
    async with Hub.open(settings_for(path, operator_key=pem("operator/1"), **change)) as hub:
        yield hub


async def until(question, seconds=10.0):
    """Ask until the answer is true."""
    async with asyncio.timeout(seconds):
        while not (answer := await question()):
            await asyncio.sleep(0.01)
    return answer


class Partners:
    """Signs for all agencies, in real time, and hands in through the log, as the API does."""

    def __init__(self, hub):
        self.hub = hub
        self.world = World()

    def now(self):
        self.world.at = time.time_ns() // 1_000_000
        return self.world

    async def state(self, payload, *kids):
        document = self.now().document(payload, *kids)
        id_ = json.loads(strict.unb64(json.loads(document)["payload"]))["id"]
        await self.hub.log.append("comity.requests", Record(document))

        async def judged():
            await self.hub.index.catch_up()
            found = await self.hub.index.statement(id_)
            return found if found and found.status != "pending" else None

        return await until(judged)

    async def enroll(self, *agencies):
        for agency in agencies:
            kid = f"{agency}/1"
            found = await self.state(
                {"statement": "agency.enroll", "agency": {"id": agency, "name": agency, "role": "partner"},
                 "key": key_claim(kid)}, "operator/1", kid)  # fmt: skip
            assert found.status == "accepted", found.entry

    async def publish(self, document):
        signers = [f"{party}/1" for party in document["parties"]]
        found = await self.state({"statement": "agreement.publish", "agreement": document}, *signers)
        assert found.status == "accepted", found.entry

    async def send(self, iss, **claims):
        raw = self.now().notice(iss, **claims)
        jti = json.loads(strict.unb64(raw.split(b".")[1].decode()))["jti"]
        headers = {"content-type": "application/sd-jwt", "ce_time": "2026-01-01T00:00:00Z"}
        await self.hub.log.append(f"comity.notices.{iss}", Record(raw, headers=headers))
        return jti, raw

    async def judged(self, iss, jti):
        async def asked():
            await self.hub.index.catch_up(iss)
            found = await self.hub.index.notice(iss, jti)
            return found if found and found.status != "pending" else None

        return await until(asked)
