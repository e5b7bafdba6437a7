"""A sealed broker says no: every no has its cause in words, and comes soon."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from kafka.admin import (
    ACL,
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    KafkaAdminClient,
    NewTopic,
    ResourcePattern,
    ResourcePatternFilter,
    ResourceType,
)

from connectors import AuthenticationFailed, ConnectorError, Inbox, PartnerKey, Published, Refused, UnexpectedAnswer
from connectors.deliveries import Numbering
from connectors.kafka import DELIVERIES, NOTICES, KafkaClient
from tests.connectors.kafka_world import fresh, signed
from tests.kafka.private import Sealed

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def administer(sealed: Sealed) -> KafkaAdminClient:
    return KafkaAdminClient(
        bootstrap_servers=sealed.client, security_protocol="SASL_SSL", sasl_mechanism="SCRAM-SHA-512",
        sasl_plain_username="admin", sasl_plain_password=sealed.password("admin"), ssl_cafile=str(sealed.ca),
    )  # fmt: skip


def grants(agency: str) -> list[ACL]:
    rights = (
        (NOTICES, ACLOperation.WRITE), (NOTICES, ACLOperation.DESCRIBE),
        (DELIVERIES, ACLOperation.READ), (DELIVERIES, ACLOperation.DESCRIBE),
    )  # fmt: skip
    return [
        ACL(f"User:{agency}", "*", right, ACLPermissionType.ALLOW, ResourcePattern(ResourceType.TOPIC, topic + agency))
        for topic, right in rights
    ]


@pytest.fixture
def enrolled(sealed_cluster: Sealed) -> PartnerKey:
    """An agency with its topics and its rights, known by its certificate."""
    key = fresh()
    admin = administer(sealed_cluster)
    admin.create_topics([NewTopic(topic + key.agency, 1, 1) for topic in (NOTICES, DELIVERIES)])
    assert not admin.create_acls(grants(key.agency))["failed"]
    admin.close()
    return key


def client(address: str, key: PartnerKey, tmp_path: Path, **more: Any) -> KafkaClient:
    (tmp_path / "agencies.json").write_text('{"agencies": []}')
    more_address = f"{'&' if '?' in address else '?'}agencies={tmp_path / 'agencies.json'}"
    return KafkaClient(address + more_address, key, **{"patience": 5.0} | more)


async def test_an_agency_publishes_and_subscribes_by_its_certificate(
    sealed_cluster: Sealed, enrolled: PartnerKey, tmp_path: Path
) -> None:
    async with client(sealed_cluster.agency_address(enrolled.agency), enrolled, tmp_path) as partner:
        assert isinstance(await partner.publish(signed(enrolled)), Published)
        assert await partner.receiver.fetch(-1, Numbering(complete=True)) == ([], -1)


async def test_what_was_granted_to_another_is_denied_and_the_notice_stays_pending(
    sealed_cluster: Sealed, enrolled: PartnerKey, tmp_path: Path
) -> None:
    other = fresh()
    address = sealed_cluster.agency_address(other.agency)
    async with client(address, enrolled, tmp_path, journal=tmp_path) as intruder:
        began = time.monotonic()
        with pytest.raises(Refused, match=f"write {NOTICES}{enrolled.agency}") as refused:
            await intruder.publish(signed(enrolled))
        assert (refused.value.code, refused.value.status) == ("forbidden", 403)
        with pytest.raises(Refused, match=f"read {DELIVERIES}{enrolled.agency}"):
            await intruder.receiver.fetch(-1, Numbering(complete=True), wait=5)
        assert time.monotonic() - began < 5
        assert intruder.journal and await intruder.journal.counts() == {"pending": 1, "accepted": 0, "refused": 0}


async def test_a_right_that_is_taken_away_is_heard_by_whoever_waits(
    sealed_cluster: Sealed, enrolled: PartnerKey, tmp_path: Path
) -> None:
    async with (
        client(sealed_cluster.agency_address(enrolled.agency), enrolled, tmp_path) as partner,
        Inbox.open(tmp_path) as inbox,
    ):
        await partner.publish(signed(enrolled))
        running = asyncio.create_task(inbox.run(partner))
        await asyncio.sleep(2)
        assert not running.done()
        admin = administer(sealed_cluster)
        admin.delete_acls([_filter(acl) for acl in grants(enrolled.agency)])
        admin.close()
        with pytest.raises(Refused, match="forbidden"):
            await asyncio.wait_for(running, 15)
        with pytest.raises(Refused, match="forbidden"):
            await partner.publish(signed(enrolled))


def _filter(acl: ACL) -> ACLFilter:
    pattern = ResourcePatternFilter(
        acl.resource_pattern.resource_type, acl.resource_pattern.resource_name, ACLResourcePatternType.LITERAL
    )
    return ACLFilter(acl.principal, acl.host, acl.operation, acl.permission_type, pattern)


async def denied(partner: KafkaClient) -> list[ConnectorError]:
    """What publishing and reading say."""
    told = []
    async with partner:
        for work in (partner.publish(signed(partner.key)), partner.receiver.fetch(-1, Numbering(complete=True))):
            began = time.monotonic()
            with pytest.raises(ConnectorError) as error:
                await work
            assert time.monotonic() - began < 8
            told.append(error.value)
    return told


async def test_a_wrong_password_is_named(sealed_cluster: Sealed, tmp_path: Path) -> None:
    (tmp_path / "wrong").write_text("wrong\n")
    for error in await denied(client(sealed_cluster.address("hub", tmp_path / "wrong"), fresh(), tmp_path)):
        assert isinstance(error, AuthenticationFailed) and "password" in str(error) and "wrong" not in str(error)


async def test_a_password_may_end_with_a_line(sealed_cluster: Sealed, tmp_path: Path) -> None:
    (tmp_path / "right").write_text(sealed_cluster.password("admin").strip() + "\n")
    key = fresh()
    admin = administer(sealed_cluster)
    admin.create_topics([NewTopic(NOTICES + key.agency, 1, 1)])
    admin.close()
    async with client(sealed_cluster.address("admin", tmp_path / "right"), key, tmp_path) as partner:
        assert isinstance(await partner.publish(signed(key)), Published)


@pytest.mark.parametrize("fault", ["expired", "unknown"])
async def test_a_certificate_that_is_not_good_is_named(sealed_cluster: Sealed, tmp_path: Path, fault: str) -> None:
    key = fresh()
    for error in await denied(client(sealed_cluster.agency_address(key.agency, fault), key, tmp_path)):
        assert isinstance(error, AuthenticationFailed) and "does not take our certificate" in str(error)


async def test_no_certificate_is_named(sealed_cluster: Sealed, tmp_path: Path) -> None:
    for error in await denied(client(f"kafka+ssl://{sealed_cluster.mtls}?ca={sealed_cluster.ca}", fresh(), tmp_path)):
        assert isinstance(error, AuthenticationFailed) and "cert=FILE" in str(error)


async def test_a_broker_of_an_unknown_authority_is_not_believed(sealed_cluster: Sealed, tmp_path: Path) -> None:
    cert = sealed_cluster.certificate("us-cisa")
    for error in await denied(client(f"kafka+ssl://{sealed_cluster.mtls}?cert={cert}", fresh(), tmp_path)):
        assert isinstance(error, UnexpectedAnswer) and "ca=FILE" in str(error)


@pytest.mark.parametrize("door", ["client", "mtls"])
async def test_who_does_not_speak_tls_is_asked_whether_he_should(
    sealed_cluster: Sealed, tmp_path: Path, door: str
) -> None:
    address = f"kafka://{getattr(sealed_cluster, door)}"
    for error in await denied(client(address, fresh(), tmp_path, patience=0.5)):
        assert "does it want TLS" in str(error)


async def test_a_certificate_where_a_password_is_wanted_is_asked_for_it(sealed_cluster: Sealed, tmp_path: Path) -> None:
    address = sealed_cluster.agency_address("us-cisa").replace(sealed_cluster.mtls, sealed_cluster.client)
    for error in await denied(client(address, fresh(), tmp_path, patience=0.5)):
        assert "kafka+sasl://" in str(error)
