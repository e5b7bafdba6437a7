"""On a real broker that checks everybody: an agency may write its notices and read its deliveries, and nothing else.

Agencies here do not use a client that asks first what exists; they send the requests themselves.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiokafka.errors import KafkaConnectionError, TopicAuthorizationFailedError, for_code

from hub.access.cluster import Cluster, Denied
from hub.access.keeping import AccessError, Pass, Task, keep
from hub.access.plan import Acl
from hub.cli.app import run
from hub.cli.faults import DENIED, FAILED
from hub.core.address import KafkaAddress
from hub.log import Unavailable
from tests.access.cluster import Access, by_hand, now, until
from tests.access.probe import TRANSACTION, Probe
from tests.kafka import broker
from tests.kafka.fixtures import need_kafka
from tests.kafka.private import Sealed
from tests.world import key_claim

pytestmark = [pytest.mark.kafka, pytest.mark.slow]
ME, OTHER, LONGER = "us-ab", "at-cert", "us-abc"  # LONGER's name begins with mine
NO = "TopicAuthorizationFailed"
WAYS = ("password", "certificate")


@pytest.fixture(scope="module")
def access(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Access]:
    """A cluster of this module's own, for everything that begins with comity. is its, with three agencies in its registry."""
    need_kafka(own=True)
    home = tmp_path_factory.mktemp("access")
    try:
        made = Access(Sealed.launch(home / "cluster"), home / "secrets")
        asyncio.run(found(made))
        yield made
    finally:
        broker.command("wipe", "--dir", home / "cluster")


async def found(access: Access) -> None:
    await access.apply()  # nothing can be written before there are topics
    access.enroll(ME, OTHER, LONGER)
    await access.tell()
    assert not (await access.apply()).failed


def address(access: Access, agency: str, way: str) -> str:
    return access.by_password(agency) if way == "password" else access.by_certificate(agency)


def lines(one: Pass) -> list[str]:
    return [f"{change.sign} {change}" for change in one.difference.changes]


def last(told: list[str], count: int) -> Callable[[], Awaitable[list[str]]]:
    async def said() -> list[str]:
        return told[-count:]

    return said


class TestWhatAnAgencyMay:
    @pytest.fixture(params=WAYS)
    async def me(self, access: Access, request: pytest.FixtureRequest) -> AsyncIterator[Probe]:
        async with Probe(address(access, ME, request.param)) as probe:
            yield probe

    async def test_write_its_notices_and_read_its_deliveries(self, me: Probe) -> None:
        assert await me.write(f"comity.notices.{ME}") == "ok"
        assert await me.read(f"comity.deliveries.{ME}") == "ok"
        assert await me.ends(f"comity.deliveries.{ME}") == "ok"

    async def test_commit_what_it_has_read_in_a_group_of_its_own(self, me: Probe) -> None:
        assert await me.commit(f"{ME}.readers", f"comity.deliveries.{ME}") == "ok"

    async def test_not_read_what_it_wrote(self, me: Probe) -> None:
        assert await me.read(f"comity.notices.{ME}") == NO

    async def test_not_write_what_it_is_to_read(self, me: Probe) -> None:
        assert await me.write(f"comity.deliveries.{ME}") == NO

    @pytest.mark.parametrize("other", [OTHER, LONGER])
    async def test_not_touch_what_is_anothers(self, me: Probe, other: str) -> None:
        for topic in (f"comity.notices.{other}", f"comity.deliveries.{other}"):
            assert [await me.read(topic), await me.ends(topic), await me.write(topic)] == [NO, NO, NO], topic
        assert await me.commit(f"{other}.readers", f"comity.deliveries.{ME}") == "GroupAuthorizationFailed"
        assert await me.offsets(f"{other}.readers", f"comity.deliveries.{ME}") == "GroupAuthorizationFailed"

    @pytest.mark.parametrize(
        "topic",
        ["ledger", "registry", "requests", "checkpoints", "layout", "leases", "assertions", "state.registry",
         "state.notary", "state.router-0-of-1"],
    )  # fmt: skip
    async def test_not_touch_what_is_the_hubs(self, me: Probe, topic: str) -> None:
        name = f"comity.{topic}"
        assert [await me.read(name), await me.ends(name), await me.write(name)] == [NO, NO, NO]

    @pytest.mark.parametrize("topic", ["__consumer_offsets", "__transaction_state", "__cluster_metadata"])
    async def test_not_touch_what_is_the_brokers(self, me: Probe, topic: str) -> None:
        assert [await me.read(topic), await me.write(topic)] == [NO, NO]

    @pytest.mark.parametrize("group", ["comity-hub", "comity-router", f"{ME}x", ME, "readers"])
    async def test_not_use_a_group_that_is_not_its_own(self, me: Probe, group: str) -> None:
        assert await me.coordinator(group) == "GroupAuthorizationFailed"
        assert await me.commit(group, f"comity.deliveries.{ME}") == "GroupAuthorizationFailed"

    @pytest.mark.parametrize("name", ["comity-router-0-of-1", "comity-registry", f"{ME}.mine", ME])
    async def test_not_begin_a_transaction(self, me: Probe, name: str) -> None:
        denied = "TransactionalIdAuthorizationFailed"
        assert await me.coordinator(name, TRANSACTION) == denied
        assert await me.begin(name) == denied
        assert await me.write(f"comity.notices.{ME}", transaction=name) == denied

    async def test_write_idempotently(self, me: Probe) -> None:
        async def begin() -> str:
            return await me.begin(None)

        await until(begin, "ok")

    async def test_not_learn_what_else_there_is(self, me: Probe) -> None:
        assert await me.topics() == {f"comity.notices.{ME}", f"comity.deliveries.{ME}"}
        assert await me.topic(f"comity.notices.{OTHER}") == await me.topic("comity.notices.xx-nobody") == NO
        assert await me.topic("comity.ledger") == await me.topic("comity.nothing") == NO


@pytest.mark.parametrize("way", WAYS)
async def test_an_agency_may_not_administer(access: Access, way: str) -> None:
    cluster = await Cluster.open(KafkaAddress.parse(address(access, ME, way)))
    try:
        with pytest.raises(Denied, match="administrator"):
            await cluster.read()
        one = await access.apply(dry_run=True)
        assert one.difference.changes == ()
    finally:
        await cluster.close()


async def test_the_hub_may_do_its_work_and_not_delete_the_ledger(access: Access) -> None:
    async with Probe(access.sealed.address("hub")) as hub:
        for topic in ("comity.ledger", f"comity.notices.{ME}", "comity.state.router-0-of-1"):
            assert [await hub.read(topic), await hub.write(topic)] == ["ok", "ok"]

        async def begin() -> str:
            await hub.coordinator("comity-test", TRANSACTION)
            return await hub.begin("comity-test")

        await until(begin, "ok")
        assert await hub.begin("other-test") == "TransactionalIdAuthorizationFailed"
    async with by_hand(access, "hub") as hand:
        assert for_code(await hand.delete("comity.ledger")) is TopicAuthorizationFailedError


class TestWhoIsLetIn:
    @pytest.mark.parametrize("name", ["admin", "hub", "broker"])
    async def test_a_certificate_with_the_name_of_one_of_us_gains_nothing(self, access: Access, name: str) -> None:
        with contextlib.suppress(KafkaConnectionError):
            async with Probe(access.by_certificate(name)) as probe:
                assert await probe.topics() == set()
                assert await probe.read("comity.ledger") == await probe.write(f"comity.notices.{ME}") == NO

    @pytest.mark.parametrize("fault", ["expired", "unknown"])
    async def test_a_certificate_that_is_not_good_is_refused(self, access: Access, fault: str) -> None:
        with pytest.raises(KafkaConnectionError):
            async with Probe(access.sealed.agency_address(ME, fault)):
                pass

    async def test_a_wrong_password_is_refused(self, access: Access, tmp_path: Path) -> None:
        wrong = tmp_path / "wrong"
        wrong.write_text((access.secrets / f"{OTHER}.password").read_text())
        with pytest.raises(KafkaConnectionError):
            async with Probe(access.sealed.address(ME, wrong)):
                pass
        with pytest.raises(Unavailable, match="user, password and files"):
            await Cluster.open(KafkaAddress.parse(access.sealed.address("admin", wrong)))

    @pytest.mark.parametrize("listener", ["client", "mtls"])
    async def test_a_connection_without_tls_and_nobody_in_particular_are_refused(
        self, access: Access, listener: str
    ) -> None:
        place = getattr(access.sealed, listener)
        for address in (f"kafka://{place}", f"kafka+ssl://{place}?ca={access.sealed.ca}"):
            with pytest.raises(KafkaConnectionError):
                async with Probe(address):
                    pass


class TestApplying:
    async def test_a_second_time_changes_nothing(self, access: Access) -> None:
        before = {path.name: path.read_bytes() for path in access.secrets.iterdir()}
        assert set(before) == {f"{agency}.password" for agency in (ME, OTHER, LONGER)}  # hub and admin were there
        assert (await access.apply()).difference.changes == ()
        assert {path.name: path.read_bytes() for path in access.secrets.iterdir()} == before
        assert {stat.S_IMODE(path.stat().st_mode) for path in access.secrets.iterdir()} == {0o600}
        assert min(len(password.strip()) for password in before.values()) >= 43  # base64url of 256 bits

    async def test_a_dry_run_shows_everything_and_changes_nothing(self, access: Access) -> None:
        access.enroll("sg-mpa")
        await access.tell()
        first, second = await access.apply(dry_run=True), await access.apply(dry_run=True)
        assert lines(first) == lines(second) == [
            "+ topic comity.notices.sg-mpa",
            "+ topic comity.deliveries.sg-mpa",
            "+ access User:sg-mpa Read on group sg-mpa.…",
            "+ access User:sg-mpa Describe, Read on topic comity.deliveries.sg-mpa",
            "+ access User:sg-mpa Describe, Write on topic comity.notices.sg-mpa",
            "+ user sg-mpa",
        ]  # fmt: skip
        assert not (access.secrets / "sg-mpa.password").exists()
        assert lines(await access.apply()) == lines(first)
        assert (await access.apply()).difference.changes == ()

    async def test_what_somebody_changed_by_hand_is_mended_and_what_is_not_ours_is_left(self, access: Access) -> None:
        foreign = Acl("User:payroll", "TOPIC", "LITERAL", "payroll.salaries", "READ")
        stray = Acl(f"User:{ME}", "TOPIC", "LITERAL", "comity.ledger", "READ")
        missing = Acl(f"User:{ME}", "TOPIC", "LITERAL", f"comity.notices.{ME}", "WRITE")
        async with by_hand(access) as hand:
            await hand.allow(foreign, stray)
            await hand.disallow(missing)
            await hand.configure("comity.ledger", {"max.message.bytes": "1000", "retention.ms": "60000"})
        async with Probe(access.by_password(ME)) as me:
            assert [await me.read("comity.ledger"), await me.write(f"comity.notices.{ME}")] == ["ok", NO]
            assert lines(await access.apply()) == [
                f"- access User:{ME} Read on topic comity.ledger",
                "~ topic comity.ledger: max.message.bytes 1000 → 1179648, retention.ms 60000 → -1",
                f"+ access User:{ME} Write on topic comity.notices.{ME}",
            ]
            assert [await me.read("comity.ledger"), await me.write(f"comity.notices.{ME}")] == [NO, "ok"]
        assert (await access.apply()).difference.changes == ()
        async with by_hand(access) as hand:
            assert foreign in (await hand.cluster.read()).acls  # type: ignore[operator]
            await hand.disallow(foreign)

    async def test_a_topic_with_two_partitions_is_told_and_left(self, access: Access) -> None:
        async with by_hand(access) as hand:
            await hand.create("comity.state.router-7-of-9", partitions=2)
            try:
                one = await access.apply()
                assert one.difference.changes == ()
                assert "comity.state.router-7-of-9 has 2 partitions" in one.difference.faults[0]
            finally:
                await hand.delete("comity.state.router-7-of-9")

    async def test_a_new_password_replaces_the_old_one(self, access: Access, tmp_path: Path) -> None:
        old = tmp_path / "old"
        old.write_text((access.secrets / f"{OTHER}.password").read_text())
        assert lines(await access.apply(rotate=OTHER)) == [f"~ user {OTHER}: a new password"]
        with pytest.raises(KafkaConnectionError):
            async with Probe(access.sealed.address(OTHER, old)):
                pass
        async with Probe(access.by_password(OTHER)) as probe:
            assert await probe.read(f"comity.deliveries.{OTHER}") == "ok"

    async def test_nobody_unknown_gets_a_password(self, access: Access) -> None:
        with pytest.raises(AccessError, match="xx-nobody gets no password"):
            await access.apply(rotate="xx-nobody")

    async def test_a_password_that_cannot_be_kept_makes_no_user(self, access: Access, tmp_path: Path) -> None:
        access.enroll("it-csirt")
        await access.tell()
        place = tmp_path / "file"
        place.write_text("not a directory")
        one = await access.apply(secrets=place)
        [(change, why)] = one.failed
        assert str(change) == "user it-csirt" and "cannot keep passwords in" in str(why)
        assert lines(await access.apply()) == ["+ user it-csirt"]


class TestFollowing:
    @contextlib.asynccontextmanager
    async def keeping(self, task: Task) -> AsyncIterator[list[str]]:
        """`--watch`, with what it told."""
        told: list[str] = []
        first = asyncio.Event()

        def tell(one: Pass) -> None:
            told.extend(lines(one))
            first.set()

        running = asyncio.create_task(keep(task, tell, lambda error, pause: told.append(f"trouble: {error}")))
        try:
            await asyncio.wait_for(first.wait(), 20)
            yield told
        finally:
            running.cancel()
            await asyncio.wait({running}, timeout=10)

    @pytest.mark.parametrize("way", WAYS)
    async def test_who_is_revoked_is_cut_off_within_a_second_on_open_connections(
        self, access: Access, way: str
    ) -> None:
        agency = f"fr-{way}"
        access.enroll(agency)
        await access.tell()
        async with self.keeping(access.task()) as told, Probe(address(access, agency, way)) as open_one:
            checks: list[Callable[[], Awaitable[str]]] = [
                lambda: open_one.write(f"comity.notices.{agency}"),
                lambda: open_one.read(f"comity.deliveries.{agency}"),
                lambda: open_one.topic(f"comity.deliveries.{agency}"),
            ]
            assert [await check() for check in checks] == ["ok", "ok", "ok"]
            access.revoke(agency)
            revoked = await access.tell()
            ends = await asyncio.gather(*(until(check, NO) for check in checks))
            print(f"{way}: cut off after {max(ends) - revoked:.3f} s")
            assert max(ends) - revoked < 1.0
            await until(last(told, 4), [
                f"- access User:{agency} Read on group {agency}.…",
                f"- access User:{agency} Describe, Read on topic comity.deliveries.{agency}",
                f"- access User:{agency} Describe, Write on topic comity.notices.{agency}",
                f"- user {agency}",
            ])  # fmt: skip
        with pytest.raises(KafkaConnectionError):
            async with Probe(access.by_password(agency)):
                pass

    async def test_who_is_enrolled_can_begin_within_a_second(self, access: Access) -> None:
        agency = "fi-ncsc"
        async with self.keeping(access.task()):
            access.enroll(agency)
            enrolled = await access.tell()
            async with Probe(access.by_certificate(agency)) as probe:
                able = await until(lambda: probe.write(f"comity.notices.{agency}"), "ok")
            print(f"may write after {able - enrolled:.3f} s")
            assert able - enrolled < 1.0

    async def test_a_key_that_ends_by_the_clock_ends_access_by_the_clock(self, access: Access) -> None:
        agency, lasts = "no-nsm", 3_000
        access.world.at = now()
        claim = key_claim(f"{agency}/1", not_after=now() + lasts)
        payload = {
            "statement": "agency.enroll",
            "agency": {"id": agency, "name": "NO", "role": "partner"},
            "key": claim,
        }
        access.world.record(payload, "operator/1", f"{agency}/1")
        await access.tell()
        async with self.keeping(access.task()), Probe(access.by_certificate(agency)) as probe:
            assert await probe.read(f"comity.deliveries.{agency}") == "ok"
            await until(lambda: probe.read(f"comity.deliveries.{agency}"), NO)
            assert 0 <= now() - claim["not_after"] < 1000

    async def test_a_broker_that_restarts_is_waited_for(self, access: Access) -> None:
        agency = "dk-cfcs"
        async with self.keeping(access.task()) as told:
            await asyncio.to_thread(access.sealed.nodes.kill)
            await asyncio.to_thread(access.sealed.nodes.start)
            access.enroll(agency)
            await access.tell()
            async with Probe(access.by_certificate(agency)) as probe:
                await until(lambda: probe.write(f"comity.notices.{agency}"), "ok", 30)
            await until(last(told, 1), [f"+ user {agency}"])


class TestTheCommand:
    def test_shows_then_makes_then_has_nothing_to_do(self, access: Access, capsys: pytest.CaptureFixture[str]) -> None:
        access.enroll("se-cert")
        asyncio.run(access.tell())
        command = ["topics", "apply", "--kafka", access.sealed.address(), "--secrets", str(access.secrets)]
        assert run([*command, "--dry-run"]) == 0
        shown = capsys.readouterr().out.splitlines()
        assert shown[0] == "+ topic comity.notices.se-cert" and shown[-1] == "+ user se-cert" and len(shown) == 6
        assert run([*command, "-o", "json"]) == 0
        made = json.loads(capsys.readouterr().out)
        assert [f"{change['sign']} {change['text']}" for change in made["changes"]] == shown
        assert {change["error"] for change in made["changes"]} == {None}
        assert run(command) == 0
        told = capsys.readouterr()
        assert told.out == "" and "nothing to change" in told.err

    def test_exit_codes_tell_who_is_not_allowed_and_what_is_a_fault(
        self, access: Access, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["topics", "apply", "--kafka", access.by_certificate(ME)]) == DENIED
        assert "run it as the cluster's administrator" in capsys.readouterr().err
        assert run(["topics", "apply", "--kafka", access.sealed.address(), "--replication", "3"]) == FAILED
        assert "comity.ledger has 1 of 3 copies" in capsys.readouterr().err

    def test_no_password_is_shown(self, access: Access, capfd: pytest.CaptureFixture[str]) -> None:
        command = ["topics", "apply", "--kafka", access.sealed.address(), "--secrets", str(access.secrets)]
        for output in ("text", "json"):
            assert run([*command, "--rotate", OTHER, "-o", output]) == 0
            told = capfd.readouterr()
            assert (access.secrets / f"{OTHER}.password").read_text().strip() not in told.out + told.err

    def test_watching_tells_a_line_for_each_change_until_it_is_stopped(self, access: Access) -> None:
        command = [sys.executable, "-c", "from hub.cli import main; main()", "topics", "apply", "--watch"]
        environment = os.environ | {"COMITY_KAFKA": access.sealed.address()}
        watching = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert watching.stderr is not None
        try:
            access.enroll("ee-ria")
            asyncio.run(access.tell())
            told = [watching.stderr.readline().rstrip() for _ in range(5)]
            assert told[0] == "+ topic comity.notices.ee-ria" and told[-1].startswith("+ access User:ee-ria ")
        finally:
            watching.send_signal(signal.SIGTERM)
            watching.communicate(timeout=30)
        assert watching.returncode == 0

    def test_without_an_authorizer_it_says_what_it_leaves_out(
        self, kafka_bootstrap: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert run(["topics", "apply", "--kafka", f"kafka://{kafka_bootstrap}", "--dry-run"]) == 0
        told = capsys.readouterr()
        assert told.err.count("no authorizer") == 1
        assert "access" not in told.out and "user" not in told.out
