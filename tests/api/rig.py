"""A real hub on a data directory, its application, and partners who sign; for tests of the HTTP interface."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from contextlib import asynccontextmanager

import httpx2
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from hub.api import create_app
from hub.app import Hub
from hub.config import DEFAULT_ORIGIN, Settings
from hub.core import jws, strict
from tests.world import World, agreement, clause, key_claim, key_of

A, B, C, OUT, AUDITOR = "at-cert", "ch-ncsc", "de-bsi", "fr-anssi", "eu-audit"
URL = "http://hub.test"
ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
SD_JWT = {"content-type": "application/sd-jwt"}
ACK = {"content-type": "application/jwt"}
JOSE = {"content-type": "application/jose+json"}


def pem(name):
    return key_of(name).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def settings_for(path, **change):
    usual = {"operator_key": pem("operator/1"), "public_url": URL, "checkpoint_interval_ms": 20}
    return Settings(**({"data_dir": path / "data"} | usual | change))


def now_s():
    return int(time.time())


def assertion(client, *, kid=None, key=None, header=None, **change):
    """A client assertion signed for `client`; `change` replaces claims, None removes them."""
    kid = kid or f"{client}/1"
    claims = {"iss": client, "sub": client, "aud": DEFAULT_ORIGIN, "iat": now_s(), "exp": now_s() + 60,
              "jti": secrets.token_hex(8)} | change  # fmt: skip
    claims = {name: value for name, value in claims.items() if value is not None}
    head = {"alg": "Ed25519", "kid": kid, "typ": "JWT"} | (header or {})
    signing_input = f"{strict.b64(strict.dumps(head))}.{strict.b64(strict.dumps(claims))}"
    return f"{signing_input}.{strict.b64(key_of(key or kid).sign(signing_input.encode()))}"


def token_form(signed):
    return {"grant_type": "client_credentials", "client_assertion_type": ASSERTION_TYPE, "client_assertion": signed}


async def until(question, seconds=10.0):
    """Ask until the answer is true."""
    async with asyncio.timeout(seconds):
        while not (answer := await question()):
            await asyncio.sleep(0.01)
    return answer


class Rig:
    def __init__(self, hub, client):
        self.hub, self.http = hub, client
        self.world = World()
        self.tokens = {}

    def now(self):
        self.world.at = time.time_ns() // 1_000_000
        return self.world

    async def token(self, name, **change):
        answer = await self.http.post("/oauth/token", data=token_form(assertion(name, **change)))
        assert answer.status_code == 200, answer.text
        return answer.json()["access_token"]

    async def auth(self, name, kid=None):
        if name not in self.tokens:
            self.tokens[name] = await self.token(name, kid=kid)
        return {"authorization": f"Bearer {self.tokens[name]}"}

    async def get(self, who, path, **params):
        return await self.http.get(path, params=params or None, headers=await self.auth(who))

    async def publish(self, who, raw, **headers):
        return await self.http.post("/v1/notices", content=raw, headers=await self.auth(who) | SD_JWT | headers)

    async def state(self, payload, *kids, by="operator"):
        """Hand in a registry statement."""
        document = self.now().document(payload, *kids)
        return await self.http.post("/v1/registry", content=document, headers=await self.auth(by) | JOSE)

    async def enroll(self, agency, role="partner"):
        kid = f"{agency}/1"
        answer = await self.state(
            {"statement": "agency.enroll", "agency": {"id": agency, "name": agency, "role": role}, "key": key_claim(kid)},
            "operator/1", kid,
        )  # fmt: skip
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def agree(self, document):
        kids = [f"{party}/1" for party in document["parties"]]
        answer = await self.state({"statement": "agreement.publish", "agreement": document}, *kids)
        assert answer.status_code == 201, answer.text

    async def settled(self, notice, who=A):
        """The status of a notice once it is judged and covered by a checkpoint."""
        jti = notice if isinstance(notice, str) else notice["jti"]

        async def judged():
            status = (await self.get(who, f"/v1/notices/{who}/{jti}")).json()
            return status if status.get("ledger") and self.hub.index.covered > status["ledger"]["index"] else None

        return await until(judged)

    def acknowledgement(self, who, stored, **change):
        claims = {"iss": who, "jti": self.now().id(), "iat": now_s(), "stored": stored} | change
        return jws.sign_compact(claims, typ="ack+jwt", kid=f"{who}/1", key=key_of(f"{who}/1"))


@asynccontextmanager
async def rigged(path, *, found=True, **change):
    """A rig over ASGI, without a socket. `found`: enrol the agencies and publish one agreement of A, B and C."""
    async with Hub.open(settings_for(path, **change)) as hub:
        app = create_app(hub)
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url=URL, timeout=30) as client:
            rig = Rig(hub, client)
            rig.app = app
            if found:
                await populate(rig)
            yield rig
        app.state.close()


async def populate(rig):
    for agency in (A, B, C, OUT):
        await rig.enroll(agency)
    await rig.enroll(AUDITOR, "auditor")
    clauses = [
        clause("open", [A], [B], ceiling="TLP:AMBER"),
        clause("narrow", [A], [C], ceiling="TLP:AMBER", withhold=["source_detail"]),
    ]
    await rig.agree(agreement("alpine-security", [A, B, C], clauses))


def problem(answer, status, code):
    """The answer is this problem, in form too."""
    assert (answer.status_code, answer.json().get("code")) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    said = json.loads(answer.content)
    assert (
        said["status"] == status and said["type"] == f"urn:comity:problem:{code}" and said["title"] and said["detail"]
    )
    return said["detail"]
