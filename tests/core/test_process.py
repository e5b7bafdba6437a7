"""The checklist: each step refuses with its own code, and nothing but a good notice gets through."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.core import envelope, jws, strict
from hub.core.decision import Received, Seen
from hub.core.process import Accepted, Duplicate, Outcome, Refused, Stored, process
from tests.world import CYBER, FAR, T0, World, agreement, clause, key_claim, key_of

A, B, C = "at-cert", "ch-ncsc", "de-bsi"


@pytest.fixture
def world() -> World:
    world = World(A, B, C)
    world.publish(agreement("a-1", [A, B, C], [clause("c1", [A], [B, C], withhold=["source_detail"])]))
    return world


def judge(world: World, raw: bytes, *, owner: str = A, at: int = T0, seen: dict | None = None) -> Outcome:
    memory = seen or {}
    return process(raw, owner=owner, at=at, view=world.registry.view(), seen=lambda iss, jti: memory.get((iss, jti)))


def refused(world: World, raw: bytes, **more) -> str:
    outcome = judge(world, raw, **more)
    assert isinstance(outcome, Refused), outcome
    assert len(outcome.detail) < 500
    return outcome.reason


def test_a_good_notice_is_accepted_with_its_decision(world: World) -> None:
    raw = world.notice(A)
    outcome = judge(world, raw)
    assert isinstance(outcome, Accepted)
    assert [(g.recipient, g.withheld) for g in outcome.decision.grants] == [
        (B, ("source_detail",)),
        (C, ("source_detail",)),
    ]
    assert outcome.digest == outcome.envelope.digest
    assert outcome.notice.data["source_detail"] == CYBER["source_detail"]


class TestRefusals:
    def test_1_size(self, world: World) -> None:
        assert refused(world, b"a" * 70_000 + b"~") == "too-large"
        assert refused(world, b"a" * 300_000) == "too-large"

    @pytest.mark.parametrize("raw", [b"", b"~", b"a.b.c~", b"\xff\xfe~", b"{}", b"...~", b"a.b.c~d", b"not a notice"])
    def test_2_split(self, world: World, raw: bytes) -> None:
        assert refused(world, raw) == "malformed"

    def test_3_header(self, world: World) -> None:
        for header in (
            {"alg": "none"},
            {"alg": "HS256"},
            {"alg": "EdDSA"},
            {"typ": "jwt"},
            {"crit": ["b64"]},
            {"jwk": {}},
        ):
            usual = {"alg": "Ed25519", "typ": envelope.TYP, "kid": f"{A}/1"}
            head = strict.b64(strict.dumps(usual | header)).encode()
            _, payload, signature = world.notice(A).split(b"~")[0].split(b".")
            assert refused(world, b".".join([head, payload, signature]) + b"~") == "header"

    def test_5_key(self, world: World) -> None:
        assert refused(world, world.notice(A, kid=f"{A}/9")) == "unknown-key"
        assert refused(world, world.notice(A, kid=f"{B}/1")) == "wrong-sender"
        assert refused(world, world.notice(B)) == "wrong-sender"
        assert refused(world, world.notice(A, exp=T0 // 1000 + 86_400), at=FAR) == "key-expired"

    def test_5_a_revoked_key_is_refused_from_the_effective_moment(self, world: World) -> None:
        world.grace = 5_000
        world.record({"statement": "key.revoke", "agency": A, "kid": f"{A}/1", "reason": "lost"}, "operator/1")
        assert isinstance(judge(world, world.notice(A), at=T0 + 4_999), Accepted)
        assert refused(world, world.notice(A), at=T0 + 5_000) == "key-revoked"

    def test_5_a_retired_key_is_refused_and_its_successor_is_good(self, world: World) -> None:
        world.record({"statement": "key.add", "agency": A, "key": key_claim(f"{A}/2"),
                      "replaces": {"kid": f"{A}/1", "retire_at": T0 + 1_000}}, f"{A}/1", f"{A}/2")  # fmt: skip
        assert isinstance(judge(world, world.notice(A), at=T0 + 999), Accepted)
        assert refused(world, world.notice(A), at=T0 + 1_000) == "key-expired"
        assert isinstance(judge(world, world.notice(A, kid=f"{A}/2"), at=T0 + 1_000), Accepted)

    def test_6_signature(self, world: World) -> None:
        assert refused(world, world.notice(A, key=f"{B}/1")) == "signature"

    @settings(max_examples=150, deadline=None)
    @given(st.data())
    def test_6_any_single_bit_flip_is_refused(self, data: st.DataObject) -> None:
        world = World(A, B)
        raw = bytearray(world.notice(A))
        bit = data.draw(st.integers(0, len(raw) * 8 - 1))
        raw[bit // 8] ^= 1 << bit % 8
        assert isinstance(judge(world, bytes(raw)), Refused)

    def test_7_disclosures(self, world: World) -> None:
        raw = world.notice(A)
        jws_, disclosure, _ = raw.split(b"~")
        assert refused(world, jws_ + b"~") == "disclosure"
        assert refused(world, b"~".join([jws_, disclosure, disclosure, b""])) == "disclosure"
        other = world.notice(A).split(b"~")[1]
        assert refused(world, b"~".join([jws_, other, b""])) == "disclosure"

    def test_7_a_withholdable_field_in_the_open_is_refused(self, world: World) -> None:
        signed = jws.sign_compact(world.claims(A), typ=envelope.TYP, kid=f"{A}/1", key=key_of(f"{A}/1"))
        outcome = judge(world, signed + b"~")
        assert isinstance(outcome, Refused)
        assert outcome.reason == "disclosure"
        assert "source_detail" in outcome.detail

    def test_7_a_plain_field_as_a_disclosure_is_refused(self, world: World) -> None:
        salts = iter([b"1" * 16, b"2" * 16])
        raw = envelope.sign(
            world.claims(A), kid=f"{A}/1", key=key_of(f"{A}/1"), withholdable={"title", "source_detail"}, salts=salts
        )
        assert refused(world, raw) == "disclosure"

    @pytest.mark.parametrize(
        "change",
        [
            {"type": "threat.unknown.v1"},
            {"tlp": "TLP:PURPLE"},
            {"jti": "018f2f3e-0000-4000-8000-000000000000"},
            {"data": CYBER | {"severity": "enormous"}},
            {"data": CYBER | {"surprise": 1}},
            {"data": {}},
            {"more": 1},
            {"rel_to": []},
            {"iat": "now"},
        ],
    )
    def test_8_schema(self, world: World, change: dict) -> None:
        claims = world.claims(A, **change)
        salts = iter([b"1" * 16] * 9)
        raw = envelope.sign(claims, kid=f"{A}/1", key=key_of(f"{A}/1"), withholdable={"source_detail"}, salts=salts)
        assert refused(world, raw) == "schema"

    def test_8_the_signed_sender_is_the_owner_of_the_topic(self, world: World) -> None:
        claims = world.claims(B)
        raw = envelope.sign(
            claims, kid=f"{A}/1", key=key_of(f"{A}/1"), withholdable={"source_detail"}, salts=iter([b"1" * 16])
        )
        assert refused(world, raw) == "wrong-sender"

    def test_10_freshness(self, world: World) -> None:
        now = T0 // 1000
        assert refused(world, world.notice(A, iat=now + 301)) == "not-yet-valid"
        assert isinstance(judge(world, world.notice(A, iat=now + 300)), Accepted)
        assert refused(world, world.notice(A, exp=now)) == "lifetime"
        assert refused(world, world.notice(A, exp=now + 401 * 86_400)) == "lifetime"
        assert refused(world, world.notice(A, iat=now - 100, exp=now)) == "expired"

    def test_9_equivocation_and_4_duplicate(self, world: World) -> None:
        jti = world.id()
        raw, other = world.notice(A, jti=jti), world.notice(A, jti=jti, subject="something else")
        first = judge(world, raw)
        assert isinstance(first, Accepted)
        seen = {(A, jti): Seen(first.digest, first.notice.exp)}
        assert judge(world, raw, seen=seen) == Duplicate(first.digest)
        assert judge(world, raw, seen=seen, at=T0 + 90_000_000) == Duplicate(first.digest)
        assert refused(world, other, seen=seen) == "equivocation"

    def test_4_the_very_bytes_on_record_get_their_old_answer_though_the_key_has_ended(self, world: World) -> None:
        jti = world.id()
        raw = world.notice(A, jti=jti)
        first = judge(world, raw)
        assert isinstance(first, Accepted)
        seen = {(A, jti): Seen(first.digest, first.notice.exp)}
        world.record({"statement": "key.revoke", "agency": A, "kid": f"{A}/1", "reason": "lost"}, "operator/1")
        assert judge(world, raw, seen=seen) == Duplicate(first.digest)
        assert refused(world, world.notice(A, jti=jti, subject="other"), seen=seen) == "key-revoked"
        assert refused(world, raw.replace(b"~", b"A~", 1), seen=seen) != "equivocation"

    @pytest.mark.parametrize("jti", [None, 7, [], {"a": 1}])
    def test_4_a_jti_that_is_no_text_is_looked_up_nowhere(self, world: World, jti: object) -> None:
        raw = jws.sign_compact(world.claims(A) | {"jti": jti}, typ=envelope.TYP, kid=f"{A}/1", key=key_of(f"{A}/1"))
        assert refused(world, raw + b"~") == "schema"

    @settings(max_examples=200, deadline=None)
    @given(st.binary(max_size=300))
    def test_whatever_comes_in_an_outcome_comes_out(self, raw: bytes) -> None:
        assert isinstance(judge(World(A), raw), Refused)


def test_a_cancel_knows_what_it_cancels(world: World) -> None:
    jti = world.id()
    seen = {(A, jti): Seen(b"d" * 32, T0 // 1000 + 50, (Received("fr-anssi", "old", 1, "c9"),))}
    outcome = judge(world, world.notice(A, cancels=jti), seen=seen)
    assert isinstance(outcome, Accepted)
    assert [(g.recipient, g.reason) for g in outcome.decision.grants] == [
        (B, "clause"),
        (C, "clause"),
        ("fr-anssi", "recall"),
    ]


class TestAcknowledgements:
    def ack(self, world: World, iss: str = B, kid: str | None = None, **change) -> bytes:
        stored = [{"sender": A, "number": 1, "digest": strict.b64(b"d" * 32)}]
        payload = {"iss": iss, "jti": world.id(), "iat": T0 // 1000, "stored": stored} | change
        kid = kid or f"{B}/1"
        return jws.sign_compact(payload, typ="ack+jwt", kid=kid, key=key_of(kid))

    def test_a_good_one_is_stored(self, world: World) -> None:
        outcome = judge(world, self.ack(world), owner=B)
        assert isinstance(outcome, Stored)
        assert outcome.acknowledgement.stored[0].number == 1

    def test_bad_ones_are_refused(self, world: World) -> None:
        assert refused(world, self.ack(world), owner=A) == "wrong-sender"
        assert refused(world, self.ack(world, iss=A), owner=B) == "wrong-sender"
        assert refused(world, self.ack(world, kid=f"{B}/7"), owner=B) == "unknown-key"
        assert refused(world, self.ack(world, stored=[]), owner=B) == "schema"
        assert refused(world, self.ack(world, iat=T0 // 1000 + 301), owner=B) == "not-yet-valid"

    def test_again_is_a_duplicate_and_other_bytes_are_equivocation(self, world: World) -> None:
        jti = world.id()
        raw = self.ack(world, jti=jti)
        first = judge(world, raw, owner=B)
        seen = {(B, jti): Seen(first.digest, T0 // 1000)}
        assert judge(world, raw, owner=B, seen=seen) == Duplicate(first.digest)
        assert refused(world, self.ack(world, jti=jti, iat=T0 // 1000 - 1), owner=B, seen=seen) == "equivocation"
