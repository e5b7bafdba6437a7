"""A sealed broker lets in who proves himself, as himself, and allows nothing that was not granted."""

from __future__ import annotations

import asyncio
import re
import ssl
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError
from kafka.admin import ACL, ACLOperation, ACLPermissionType, KafkaAdminClient, NewTopic, ResourcePattern, ResourceType

from tests.kafka.private import Sealed

pytestmark = pytest.mark.slow


def by_password(sealed: Sealed, user: str, password: str | None = None) -> dict[str, Any]:
    return {
        "bootstrap_servers": sealed.client,
        "security_protocol": "SASL_SSL",
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": user,
        "sasl_plain_password": password or sealed.password(user),
        "ssl_context": ssl.create_default_context(cafile=str(sealed.ca)),
    }


def by_certificate(sealed: Sealed, certificate: Path | None) -> dict[str, Any]:
    context = ssl.create_default_context(cafile=str(sealed.ca))
    if certificate:
        context.load_cert_chain(certificate)
    return {"bootstrap_servers": sealed.mtls, "security_protocol": "SSL", "ssl_context": context}


@asynccontextmanager
async def producer(settings: dict[str, Any]) -> AsyncIterator[AIOKafkaProducer]:
    made = AIOKafkaProducer(**settings, request_timeout_ms=5_000)
    try:
        await made.start()
        yield made
    finally:
        await asyncio.wait_for(made.stop(), 10)


@contextmanager
def admin(sealed: Sealed) -> Iterator[KafkaAdminClient]:
    settings = by_password(sealed, "admin")
    client = KafkaAdminClient(
        bootstrap_servers=sealed.client,
        security_protocol="SASL_SSL",
        sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username="admin",
        sasl_plain_password=settings["sasl_plain_password"],
        ssl_cafile=str(sealed.ca),
    )
    try:
        yield client
    finally:
        client.close()


@pytest.fixture
def topic(sealed_cluster: Sealed) -> str:
    """A topic that nobody but the super users may touch."""
    name = f"test.{uuid.uuid4().hex[:8]}"
    with admin(sealed_cluster) as client:
        client.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    return name


def denied(sealed: Sealed, topic: str) -> set[str]:
    """Whom the broker says to have denied a topic, as it knows them."""
    lines = [line for line in sealed.nodes.log().splitlines() if topic in line]
    return {found[1] for line in lines if (found := re.search(r"Principal = (User:\S+) is Denied", line))}


async def test_the_administrator_may_write_what_nobody_was_granted(sealed_cluster: Sealed, topic: str) -> None:
    async with producer(by_password(sealed_cluster, "admin")) as client:
        assert (await client.send_and_wait(topic, b"1")).offset == 0


async def test_the_hub_is_let_in_by_password_and_may_do_nothing_ungranted(sealed_cluster: Sealed, topic: str) -> None:
    async with producer(by_password(sealed_cluster, "hub")) as client:
        with pytest.raises(TopicAuthorizationFailedError):
            await client.send_and_wait(topic, b"1")
    assert denied(sealed_cluster, topic) == {"User:hub"}


async def test_an_agency_is_known_by_the_name_in_its_certificate(sealed_cluster: Sealed, topic: str) -> None:
    async with producer(by_certificate(sealed_cluster, sealed_cluster.certificate("us-cisa"))) as client:
        with pytest.raises(TopicAuthorizationFailedError):
            await client.send_and_wait(topic, b"1")
    assert denied(sealed_cluster, topic) == {"User:us-cisa"}


async def test_an_agency_may_do_what_it_was_granted_and_another_may_not(sealed_cluster: Sealed, topic: str) -> None:
    grant = ACL(
        "User:jp-meti", "*", ACLOperation.WRITE, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, topic)
    )
    with admin(sealed_cluster) as client:
        assert not client.create_acls([grant])["failed"]
    async with producer(by_certificate(sealed_cluster, sealed_cluster.certificate("jp-meti"))) as client:
        assert (await client.send_and_wait(topic, b"1")).offset == 0
    async with producer(by_certificate(sealed_cluster, sealed_cluster.certificate("jp-meti-2"))) as client:
        with pytest.raises(TopicAuthorizationFailedError):
            await client.send_and_wait(topic, b"2")


@pytest.mark.parametrize("name", ["admin", "broker", "hub"])
async def test_no_certificate_makes_its_holder_one_of_us(sealed_cluster: Sealed, name: str) -> None:
    """Signed by the authority that brokers trust, it is not even let in: these names have no dash, so no rule knows them."""
    with pytest.raises(KafkaConnectionError):
        async with producer(by_certificate(sealed_cluster, sealed_cluster.certificate(name))):
            pass


@pytest.mark.parametrize("fault", ["expired", "unknown"])
async def test_a_certificate_that_is_not_good_is_refused(sealed_cluster: Sealed, fault: str) -> None:
    with pytest.raises(KafkaConnectionError):
        async with producer(by_certificate(sealed_cluster, sealed_cluster.certificate("us-cisa", fault))):
            pass


async def test_no_certificate_is_refused(sealed_cluster: Sealed) -> None:
    with pytest.raises(KafkaConnectionError):
        async with producer(by_certificate(sealed_cluster, None)):
            pass


async def test_a_wrong_password_is_refused(sealed_cluster: Sealed) -> None:
    with pytest.raises(KafkaConnectionError):
        async with producer(by_password(sealed_cluster, "hub", sealed_cluster.password("admin"))):
            pass


async def test_a_certificate_is_no_password(sealed_cluster: Sealed) -> None:
    """The listener for passwords takes no certificate instead of one."""
    settings = by_certificate(sealed_cluster, sealed_cluster.certificate("us-cisa"))
    with pytest.raises(KafkaConnectionError):
        async with producer(settings | {"bootstrap_servers": sealed_cluster.client}):
            pass


@pytest.mark.parametrize("listener", [0, 1, 2, 3])
async def test_no_listener_talks_without_tls(sealed_cluster: Sealed, listener: int) -> None:
    host, _, port = sealed_cluster.client.rpartition(":")
    with pytest.raises(KafkaConnectionError):
        async with producer({"bootstrap_servers": f"{host}:{int(port) + listener}"}):
            pass


async def test_the_brokers_own_listener_knows_brokers_only(sealed_cluster: Sealed) -> None:
    host, _, port = sealed_cluster.client.rpartition(":")
    internal = {"bootstrap_servers": f"{host}:{int(port) + 2}"}
    async with producer(by_certificate(sealed_cluster, sealed_cluster.ca.with_name("broker.pem")) | internal):
        pass
    with pytest.raises(KafkaConnectionError):
        async with producer(by_certificate(sealed_cluster, sealed_cluster.certificate("us-cisa")) | internal):
            pass


async def test_a_topic_that_is_not_there_is_not_made(sealed_cluster: Sealed) -> None:
    with admin(sealed_cluster) as client:
        before = set(client.list_topics())
        async with producer(by_password(sealed_cluster, "admin")) as writer:
            with pytest.raises(Exception, match=r"(?i)unknown|timeout|metadata"):
                await writer.send_and_wait("test.misspelt", b"1")
        assert set(client.list_topics()) == before


def test_no_file_but_their_own_holds_a_password_or_what_it_is_checked_with(sealed_cluster: Sealed) -> None:
    """Except the metadata log, which is what the broker itself reads."""
    home = sealed_cluster.nodes.home
    texts = {
        path: path.read_bytes()
        for path in home.rglob("*")
        if path.is_file() and not {"data", "secrets"} & set(path.relative_to(home).parts)
    }
    assert {"server.log", "format.log", "server.properties"} <= {path.name for path in texts}
    for secret in (sealed_cluster.password("admin").encode(), sealed_cluster.password("hub").encode(), b"storedKey"):
        assert [path for path, text in texts.items() if secret in text] == []
