"""Registry and router on a real embedded log: statements and notices in, deliveries and a ledger out, in one commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from hub.clock import Clock
from hub.core import envelope, jws, record, strict
from hub.core.decision import Received, Seen
from hub.core.process import digest_of
from hub.layout import share_out
from hub.log import Fenced, Log, Record, Shard
from hub.log.embedded import EmbeddedLog
from hub.memory import Memory
from hub.registry import RegistryProcess
from hub.router import Router
from tests.world import CYBER, T0, World, agreement, clause, key_claim, key_of

A, B, C, D = "at-cert", "ch-ncsc", "de-bsi", "fr-anssi"
SHARD = Shard("router-0", prefix="comity.notices.")


class Hub:
    """A registry process and a router over one log, stepped by hand."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.now = T0
        self.clock = Clock(source=lambda: self.now * 1_000_000)
        gate = asyncio.Lock()
        self.registry = RegistryProcess(log, key_of("hub/1"), self.clock, grace_ms=0, gate=gate)
        self.router = Router(log, SHARD, self.clock, gate=gate)
        self.world = World()  # only for its builders: ids, signed documents and notices

    async def request(self, payload: dict[str, Any], *kids: str) -> dict[str, Any]:
        """Post a statement and have it judged; its ledger entry's sealed part."""
        self.world.at = self.now
        await self.log.append("comity.requests", Record(self.world.document(payload, *kids)))
        assert await self.registry.step() == 1
        return (await self.ledger())[-1][1]

    async def enroll(self, *agencies: str, role: str = "partner") -> None:
        for agency in agencies:
            kid = f"{agency}/1"
            about = {"id": agency, "name": agency, "role": role}
            await self.request(
                {"statement": "agency.enroll", "agency": about, "key": key_claim(kid)}, "operator/1", kid
            )

    async def publish(self, document: dict[str, Any]) -> dict[str, Any]:
        payload = {"statement": "agreement.publish", "agreement": document}
        return await self.request(payload, *(f"{party}/1" for party in document["parties"]))

    async def post(self, agency: str, *raws: bytes, **headers: str) -> None:
        for raw in raws:
            await self.log.append(f"comity.notices.{agency}", Record(raw, None, headers))

    async def ledger(self) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        decoded = [record.decode(stored.record.value) for stored in await self.log.read("comity.ledger")]
        return [(leaf, sealed or {}) for _, leaf, _, sealed in decoded]

    async def deliveries(self, agency: str) -> list[Any]:
        return await self.log.read(f"comity.deliveries.{agency}")


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    log = EmbeddedLog.open(tmp_path / "comity.db")
    await log.create("comity.requests", "comity.registry", "comity.ledger", "comity.checkpoints")
    hub = Hub(log)
    assert await hub.registry.found("comity.test/ledger", key_of("operator/1"))
    await hub.enroll(A, B, C)
    await hub.publish(agreement("a-1", [A, B, C], [clause("c1", [A], [B, C], withhold=["source_detail"])]))
    yield hub
    await log.close()


async def test_the_registry_is_founded_once(hub: Hub) -> None:
    assert not await hub.registry.found("comity.test/ledger", key_of("operator/1"))
    leaf, sealed = (await hub.ledger())[0]
    assert (leaf["kind"], leaf["outcome"], leaf["registry"], sealed["position"]) == ("registry", "accepted", 0, 0)


async def test_a_refused_statement_is_in_the_ledger_alone_with_its_reason(hub: Hub) -> None:
    events = await hub.log.read("comity.registry")
    sealed = await hub.request({"statement": "key.revoke", "agency": A, "kid": f"{A}/1", "reason": "x"}, f"{B}/1")
    assert sealed["reason"] == "unknown-key"
    assert (await hub.ledger())[-1][0]["outcome"] == "refused"
    assert await hub.log.read("comity.registry") == events


async def test_bytes_that_are_no_statement_are_refused_too(hub: Hub) -> None:
    await hub.log.append("comity.requests", Record(b"\xff{ nonsense"))
    await hub.registry.step()
    leaf, sealed = (await hub.ledger())[-1]
    assert (leaf["outcome"], sealed["reason"]) == ("refused", "malformed")


async def test_a_notice_becomes_deliveries_and_the_entry_that_explains_them(hub: Hub) -> None:
    raw = hub.world.notice(A)
    await hub.post(A, raw)
    assert await hub.router.step() == 1
    leaf, sealed = (await hub.ledger())[-1]
    assert (leaf["kind"], leaf["outcome"], leaf["registry"]) == ("notice", "accepted", 5)
    assert sealed["sender"] == A
    assert [(d["recipient"], d["clause"], d["withheld"], d["number"]) for d in sealed["deliveries"]] == [
        (B, "c1", ["source_detail"], 1), (C, "c1", ["source_detail"], 1),
    ]  # fmt: skip
    [delivered] = await hub.deliveries(B)
    env = envelope.split(delivered.record.value)
    assert envelope.verify(key_of(f"{A}/1").public_key().public_bytes_raw(), env.signature, env.signing_input)
    assert CYBER["source_detail"].encode() not in delivered.record.value
    claims, _, missing = envelope.read(env)
    assert "source_detail" not in claims["data"]
    assert len(missing) == 1
    headers = delivered.record.headers
    assert (headers["ce_id"], headers["ce_number"], headers["ce_agreement"]) == (claims["jti"], "1", "a-1@1/c1")
    assert headers["ce_salt"] == strict.b64(record.salt(strict.unb64(sealed["seed"]), B))


async def test_numbers_have_no_gap_and_survive_a_new_owner(hub: Hub) -> None:
    for _ in range(3):
        await hub.post(A, hub.world.notice(A), hub.world.notice(A, rel_to=[B]))
        await hub.router.step()
        hub.router = Router(hub.log, SHARD, hub.clock)
    assert [d.record.headers["ce_number"] for d in await hub.deliveries(B)] == ["1", "2", "3", "4", "5", "6"]
    assert [d.record.headers["ce_number"] for d in await hub.deliveries(C)] == ["1", "2", "3"]


async def test_the_same_bytes_are_in_the_ledger_once(hub: Hub) -> None:
    raw = hub.world.notice(A)
    await hub.post(A, raw, raw)
    await hub.router.step()
    length = len(await hub.ledger())
    await hub.post(A, raw)
    assert await hub.router.step() == 1
    assert len(await hub.ledger()) == length
    assert len(await hub.deliveries(B)) == 1


async def test_equivocation_is_refused_recorded_and_delivered_to_nobody(hub: Hub) -> None:
    jti = hub.world.id()
    await hub.post(A, hub.world.notice(A, jti=jti), hub.world.notice(A, jti=jti, subject="other"))
    await hub.router.step()
    leaf, sealed = (await hub.ledger())[-1]
    assert (leaf["outcome"], sealed["reason"], sealed["by"]) == ("refused", "equivocation", "router")
    assert len(await hub.deliveries(B)) == 1


async def test_a_refusal_is_written_once_however_often_it_is_tried(hub: Hub) -> None:
    forged = hub.world.notice(A, key=f"{B}/1")
    await hub.post(A, forged, forged)
    await hub.router.step()
    await hub.post(A, forged)
    await hub.router.step()
    assert [sealed["reason"] for _, sealed in await hub.ledger() if "reason" in sealed] == ["signature"]


async def test_what_the_api_refused_is_recorded_and_never_delivered(hub: Hub) -> None:
    good, forged = hub.world.notice(A), hub.world.notice(A, key=f"{B}/1")
    await hub.post(A, good, forged, **{"comity-refused": "unknown-key"})
    await hub.router.step()
    entries = [sealed for leaf, sealed in await hub.ledger() if leaf["outcome"] == "refused"]
    assert [(sealed["reason"], sealed["by"]) for sealed in entries] == [("unknown-key", "api"), ("signature", "api")]
    assert not await hub.deliveries(B)
    await hub.post(A, good)
    await hub.router.step()
    assert len(await hub.deliveries(B)) == 1


async def test_a_cancel_chases_everyone_who_received_the_original(hub: Hub) -> None:
    jti = hub.world.id()
    await hub.post(A, hub.world.notice(A, jti=jti))
    await hub.router.step()
    await hub.request({"statement": "agreement.terminate", "agreement": "a-1", "party": C, "reason": "over"}, f"{C}/1")
    await hub.post(A, hub.world.notice(A), hub.world.notice(A, cancels=jti))
    await hub.router.step()
    assert [d.record.headers["ce_reason"] for d in await hub.deliveries(C)] == ["clause", "recall"]
    assert (await hub.deliveries(C))[-1].record.headers["ce_agreement"] == "a-1@1/c1"


async def test_only_the_originator_can_cancel(hub: Hub) -> None:
    jti = hub.world.id()
    await hub.post(A, hub.world.notice(A, jti=jti))
    await hub.router.step()
    await hub.post(B, hub.world.notice(B, cancels=jti))
    await hub.router.step()
    assert (await hub.ledger())[-1][1]["deliveries"] == []


async def test_an_acknowledgement_enters_the_ledger_once(hub: Hub) -> None:
    stored = [{"sender": A, "number": 1, "digest": strict.b64(b"d" * 32)}]
    payload = {"iss": B, "jti": hub.world.id(), "iat": T0 // 1000, "stored": stored}
    ack = jws.sign_compact(payload, typ="ack+jwt", kid=f"{B}/1", key=key_of(f"{B}/1"))
    await hub.post(B, ack, ack)
    await hub.router.step()
    acks = [sealed for leaf, sealed in await hub.ledger() if leaf["kind"] == "ack"]
    assert [(sealed["sender"], sealed["stored"]) for sealed in acks] == [(B, stored)]


async def test_a_registry_change_holds_for_the_very_next_notice(hub: Hub) -> None:
    await hub.post(A, hub.world.notice(A))
    await hub.router.step()
    await hub.request({"statement": "key.revoke", "agency": A, "kid": f"{A}/1", "reason": "lost"}, "operator/1")
    await hub.post(A, hub.world.notice(A))
    await hub.router.step()
    assert (await hub.ledger())[-1][1]["reason"] == "key-revoked"


async def test_ledger_times_never_go_back_though_the_clock_does(hub: Hub) -> None:
    for step in (0, 5_000, -60_000):
        hub.now = T0 + step
        await hub.post(A, hub.world.notice(A))
        await hub.router.step()
    await hub.enroll(D)
    times = [leaf["at"] for leaf, _ in await hub.ledger()]
    assert times == sorted(times)


async def test_an_older_owner_writes_nothing(hub: Hub) -> None:
    await hub.router.open()
    other = Router(hub.log, SHARD, hub.clock)
    await other.open()
    await hub.post(A, hub.world.notice(A))
    with pytest.raises(Fenced):
        await hub.router.step()
    assert await other.step() == 1
    assert len(await hub.deliveries(B)) == 1


async def test_what_was_seen_is_forgotten_a_day_after_it_expired(hub: Hub) -> None:
    now = T0 // 1000
    raw = hub.world.notice(A, exp=now + 10)
    await hub.post(A, raw)
    await hub.router.step()
    hub.now = T0 + 90_000_000
    await hub.post(A, *(hub.world.notice(A, iat=now + 90_000, exp=now + 90_100) for _ in range(3)))
    await hub.router.step()
    state = (await hub.log.claim(SHARD)).state
    assert len([key for key in state if key.startswith("n/")]) == 3


async def test_a_refusal_is_forgotten_after_a_day_whenever_it_is_dropped(hub: Hub) -> None:
    """From that moment it is written again, also by a router that has not come around to dropping it."""
    forged = hub.world.notice(A, key=f"{B}/1", exp=T0 // 1000 + 300_000)
    memory = Memory({})
    memory.remember_refusal(A, digest_of(forged), "signature", T0)
    for later, reason in ((0, "signature"), (86_399_999, "signature"), (86_400_000, None)):
        memory.at = T0 + later
        assert memory.refused(A, digest_of(forged)) == reason


def test_a_sweep_drops_what_has_outlived_its_use_and_nothing_else() -> None:
    exp, day = T0 // 1000, 86_400
    state: dict[str, bytes] = {}
    memory = Memory(state)

    def commit() -> None:
        for key, value in memory.hand_over().items():
            state.pop(key, None) if value is None else state.update({key: value})
        memory.committed()

    received = (Received(B, "a-1", 1, "c1"), Received(C, "a-1", 2, "c1"))
    for number in range(20):
        memory.remember(A, f"jti-{number}", Seen(bytes([number]) * 32, exp + number, received[: number % 3]))
    commit()
    memory.at = (exp + 9 + day) * 1000
    for _ in range(8):
        memory.forget(memory.at, most=4)
    commit()
    assert {key for key in state if key.startswith("n/")} == {f"n/{A}/jti{number}" for number in range(10, 20)}
    again = Memory(state)
    assert again.seen(A, "jti-11") == Seen(bytes([11]) * 32, exp + 11, received)
    assert again.seen(A, "jti-9") is None


def test_grants_keep_their_meaning_when_shards_are_shared_out() -> None:
    """Each shard has numbers of its own for them."""
    exp, received = T0 // 1000, [Received(agency, "a-1", 1, "c1") for agency in (B, C, D)]
    states: list[dict[str, bytes]] = []
    for sender, order in ((A, (0, 1, 2)), (D, (2, 1))):
        memory = Memory({})
        memory.at = T0
        memory.remember(sender, "jti", Seen(b"d" * 32, exp, tuple(received[at] for at in order)))
        states.append({key: value for key, value in memory.hand_over().items() if value is not None})
    [shared] = share_out(states, 1, lambda agency: 0)
    memory = Memory(shared)
    assert memory.seen(A, "jti") == Seen(b"d" * 32, exp, tuple(received))
    assert memory.seen(D, "jti") == Seen(b"d" * 32, exp, (received[2], received[1]))
    assert len([key for key in shared if key.startswith("g/")]) == 3


async def test_an_agreement_that_lapses_is_recorded(hub: Hub) -> None:
    window = {"from": "2020-01-01T00:00:00Z", "until": "2030-01-01T00:00:00Z"}
    await hub.publish(agreement("short", [A, B], [clause("c1", [A], [B])], in_force=window))
    hub.now = 1_893_456_000_000
    assert await hub.registry.step() == 1
    assert await hub.registry.step() == 0
    statement = (await hub.ledger())[-1][1]["statement"]
    assert jws.read_general(statement, "statement+jws").payload["statement"] == "agreement.lapse"


async def test_a_refused_document_too_long_for_the_ledger_is_kept_by_its_digest(hub: Hub) -> None:
    """No poison pill: control characters grow sixfold in JSON, and would not fit into a record."""
    await hub.log.append("comity.requests", Record(b"\x01" * 500_000))
    await hub.registry.step()
    leaf, sealed = (await hub.ledger())[-1]
    assert (leaf["outcome"], sealed["reason"]) == ("refused", "malformed")
    assert "raw" not in sealed
    assert await hub.registry.step() == 0


async def test_only_an_auditor_reads_the_ledger_on_record(hub: Hub) -> None:
    """A partner may write to its topic itself; that it says it read the ledger is refused like anything that is no notice."""
    await hub.enroll(D, role="auditor")
    for agency in (A, D):
        await hub.post(agency, b'{"from":0}', **{"content-type": "application/vnd.comity.read+json"})
    await hub.router.step()
    told = {sealed["sender"]: (leaf["kind"], leaf["outcome"]) for leaf, sealed in (await hub.ledger())[-2:]}
    assert told == {A: ("notice", "refused"), D: ("read", "accepted")}


async def test_a_commit_is_bounded_by_bytes_and_order_is_kept(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large notices to many make shorter batches; what was left comes next, in both ways to run."""
    monkeypatch.setattr("hub.router.MAX_OUTPUTS", 10_000)
    await hub.post(A, *(hub.world.notice(A) for _ in range(20)))
    handled = await hub.router.step()
    assert 1 <= handled < 10
    assert len(await hub.deliveries(B)) == handled
    running = asyncio.create_task(hub.router.run())
    async with asyncio.timeout(10):
        while len(await hub.deliveries(B)) < 20:
            await asyncio.sleep(0.01)
    running.cancel()
    numbers = [int(stored.record.headers["ce_number"]) for stored in await hub.deliveries(B)]
    assert numbers == list(range(1, 21))


@pytest.mark.parametrize("trace", ["x" * 900_000, "00-zz", ""])
async def test_what_a_sender_writes_into_a_header_goes_no_further(hub: Hub, trace: str) -> None:
    """An agency that writes to its topic itself may put anything there: were it passed on, it could stop the router."""
    good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await hub.post(A, hub.world.notice(A), traceparent=trace, ce_extra="y" * 1000)
    await hub.post(A, hub.world.notice(A), traceparent=good)
    assert await hub.router.step() == 2
    first, second = (stored.record.headers for stored in await hub.deliveries(B))
    assert "traceparent" not in first and "ce_extra" not in first
    assert second["traceparent"] == good


async def test_a_router_told_to_stop_finishes_its_commit_and_gives_the_shard_back(hub: Hub) -> None:
    """Cancelled in the middle of a commit: it is there, and the claim is over, with nothing left open."""
    claim = await hub.router.open()
    commit, begun = claim.commit, asyncio.Event()

    async def slow(*args: Any) -> list[int]:
        begun.set()
        await asyncio.sleep(0.1)
        return await commit(*args)

    claim.commit = slow  # type: ignore[method-assign]
    await hub.post(A, hub.world.notice(A))
    running = asyncio.create_task(hub.router.run())
    await begun.wait()
    running.cancel()
    await asyncio.wait({running}, timeout=5)
    assert running.cancelled()
    assert len(await hub.deliveries(B)) == 1
    with pytest.raises(Fenced, match="released"):
        await claim.batch()
    await hub.post(A, hub.world.notice(A))
    assert await hub.router.step() == 1
    assert [d.record.headers["ce_number"] for d in await hub.deliveries(B)] == ["1", "2"]


async def test_registry_events_that_were_held_up_are_not_committed_but_dated_anew(hub: Hub) -> None:
    """Between dating and writing more than half the grace went by: routers may have decided without them by then."""
    process = RegistryProcess(hub.log, key_of("hub/1"), hub.clock, grace_ms=200)
    claim = await process.open()
    commit = claim.commit

    async def held_up(*args: Any) -> list[int]:
        await asyncio.sleep(0.15)
        return await commit(*args)

    claim.commit = held_up  # type: ignore[method-assign]
    before = await hub.log.end("comity.registry")
    about = {"id": D, "name": D, "role": "partner"}
    payload = {"statement": "agency.enroll", "agency": about, "key": key_claim(f"{D}/1")}
    await hub.log.append("comity.requests", Record(hub.world.document(payload, "operator/1", f"{D}/1")))
    with pytest.raises(Fenced, match="dated"):
        await process.step()
    assert await hub.log.end("comity.registry") == before
    assert await process.step() == 1
    assert await hub.log.end("comity.registry") == before + 1
