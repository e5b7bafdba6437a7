"""What a subscriber believes of a delivery: everything false gets its reason, and nothing true is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from connectors import Delivery, InvalidDelivery, PartnerKey, UnexpectedAnswer
from connectors import notices as drafts
from connectors.deliveries import KeyRing, Numbering, read_item, verify
from connectors.ids import new_salt
from hub.core import envelope, strict
from tests.world import CYBER

SENDER, OTHER = PartnerKey.generate("us-cisa", "1"), PartnerKey.generate("de-bsi", "1")
ME = "jp-meti"


def listed(*keys: PartnerKey, revoked: int | None = None) -> dict[str, Any]:
    return {
        "agencies": [
            {"id": key.agency, "name": "n", "role": "partner", "keys": [
                {"kid": key.kid, "alg": "Ed25519", "x": strict.b64(key.public), "not_before": 0, "not_after": 1,
                 "revoked": revoked}]}
            for key in keys
        ],
        "registry": 1,
    }  # fmt: skip


def ring(*keys: PartnerKey, revoked: int | None = None) -> KeyRing:
    async def fetch() -> dict[str, Any]:
        return listed(*keys, revoked=revoked)

    return KeyRing(fetch)


def claims(**change: Any) -> dict[str, Any]:
    usual: dict[str, Any] = {"type": "threat.cyber.v1", "subject": "s", "tlp": "TLP:GREEN", "data": CYBER}
    return drafts.claims("us-cisa", **usual | change)


def item(raw: bytes, withhold: tuple[str, ...] = ("source_detail",), **headers: str | None) -> dict[str, Any]:
    usual = {
        "ce_number": "1", "ce_agreement": "alpine@1/c1", "ce_withheld": ",".join(withhold), "ce_reason": "clause",
        "ce_salt": "c2FsdA",
    }  # fmt: skip
    kept = {name: value for name, value in (usual | headers).items() if value is not None}
    return {"offset": 7, "notice": envelope.withhold(envelope.split(raw), withhold).decode(), "headers": kept}


async def judge(given: dict[str, Any], keys: KeyRing | None = None) -> Delivery | InvalidDelivery:
    return await verify(read_item(given), ME, keys or ring(SENDER, OTHER), Numbering(complete=True))


def reason_of(judged: Delivery | InvalidDelivery) -> str:
    assert isinstance(judged, InvalidDelivery), "it was believed"
    return judged.reason


async def test_a_true_delivery_is_believed_whole_or_redacted() -> None:
    notice = drafts.sign(claims(), SENDER)
    redacted = await judge(item(notice.raw))
    assert isinstance(redacted, Delivery)
    assert (redacted.digest, redacted.withheld, redacted.version) == (notice.digest, ("source_detail",), 1)
    assert "source_detail" not in redacted.notice.data
    whole = await judge(item(notice.raw, ()))
    assert isinstance(whole, Delivery) and whole.notice.data == CYBER
    assert whole.digest == notice.digest


async def test_a_changed_byte_anywhere_in_the_jws_is_not_believed() -> None:
    raw = drafts.sign(claims(), SENDER).raw
    for place in range(0, raw.index(b"~"), 17):
        flipped = raw[:place] + bytes([raw[place] ^ 1]) + raw[place + 1 :]
        given = item(raw) | {"notice": flipped.decode("latin-1")}
        assert isinstance(await judge(given), InvalidDelivery)


async def test_a_key_that_is_not_registered_or_is_anothers_is_not_believed() -> None:
    raw = drafts.sign(claims(), SENDER).raw
    assert reason_of(await judge(item(raw), ring(OTHER))) == "unknown-key"
    assert reason_of(await judge(item(raw), ring(replace(SENDER, private=OTHER.private)))) == "signature"
    borrowed = drafts.sign(claims() | {"iss": "us-cisa"}, OTHER).raw
    assert reason_of(await judge(item(borrowed))) == "wrong-sender"


async def test_an_unknown_key_is_looked_up_again_before_it_is_refused() -> None:
    answers = [listed(OTHER), listed(OTHER, SENDER)]

    async def fetch() -> dict[str, Any]:
        return answers.pop(0)

    keys = KeyRing(fetch)
    assert await keys.find(OTHER.kid)
    assert isinstance(await judge(item(drafts.sign(claims(), SENDER).raw), keys), Delivery)
    assert not answers


async def test_a_revocation_is_learnt_of_although_the_key_is_known() -> None:
    answers = [listed(SENDER), listed(SENDER, revoked=7)]

    async def fetch() -> dict[str, Any]:
        return answers.pop(0)

    keys, given = KeyRing(fetch, fresh_seconds=0.0), item(drafts.sign(claims(), SENDER).raw)
    judged = [await judge(given, keys), await judge(given, keys)]
    assert [each.key_revoked for each in judged if isinstance(each, Delivery)] == [None, 7]


async def test_a_key_revoked_since_is_told() -> None:
    judged = await judge(item(drafts.sign(claims(), SENDER).raw), ring(SENDER, revoked=1_800_000_000_000))
    assert isinstance(judged, Delivery) and judged.key_revoked == 1_800_000_000_000


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("", "a field is missing that nobody says was withheld"),
        ("source_detail,severity", "severity cannot be withheld"),
        ("title", "not the field that is missing"),
        ("source_detail,source_detail", "twice"),
    ],
)
async def test_what_is_missing_must_be_what_was_withheld(said: str, why: str) -> None:
    given = item(drafts.sign(claims(), SENDER).raw, ce_withheld=said)
    assert reason_of(await judge(given)) in ("withheld", "headers"), why


async def test_a_field_said_to_be_withheld_must_not_be_there() -> None:
    given = item(drafts.sign(claims(), SENDER).raw, (), ce_withheld="source_detail")
    assert reason_of(await judge(given)) == "withheld"


async def test_only_withholdable_fields_may_be_disclosures() -> None:
    everything = envelope.sign(claims(), kid=SENDER.kid, key=SENDER.private, withholdable=CYBER, salts=new_salt)
    assert reason_of(await judge(item(everything, ()))) == "disclosure"
    plain = envelope.sign(claims(), kid=SENDER.kid, key=SENDER.private, withholdable=(), salts=new_salt)
    assert reason_of(await judge(item(plain, ()))) == "disclosure"


async def test_a_disclosure_that_nothing_refers_to_is_not_believed() -> None:
    one, two = drafts.sign(claims(), SENDER).raw, drafts.sign(claims(), SENDER).raw
    foreign = two.split(b"~")[1]
    given = item(one) | {"notice": (one + foreign + b"~").decode()}
    assert reason_of(await judge(given)) == "disclosure"


async def test_a_notice_that_does_not_fit_its_schema_is_not_believed() -> None:
    said = claims() | {"data": {"kind": "gossip", "title": "t"}}
    raw = envelope.sign(said, kid=SENDER.kid, key=SENDER.private, withholdable=(), salts=new_salt)
    assert reason_of(await judge(item(raw, ()))) == "schema"


async def test_a_notice_released_to_others_is_not_for_us_but_its_recall_may_be() -> None:
    raw = drafts.sign(claims(rel_to=["de-bsi"]), SENDER).raw
    assert reason_of(await judge(item(raw))) == "not-for-us"
    assert isinstance(await judge(item(raw, ce_reason="recall")), Delivery)
    assert isinstance(await judge(item(drafts.sign(claims(rel_to=["de-bsi", ME]), SENDER).raw)), Delivery)


@pytest.mark.parametrize(
    "headers",
    [{"ce_number": None}, {"ce_number": "0"}, {"ce_number": "１"}, {"ce_agreement": "alpine"}, {"ce_reason": "whim"}],
)
async def test_hints_that_cannot_be_read_are_not_guessed(headers: dict[str, Any]) -> None:
    assert reason_of(await judge(item(drafts.sign(claims(), SENDER).raw, **headers))) == "headers"


@pytest.mark.parametrize("given", [{}, {"offset": 1, "notice": "x"}, {"offset": "1", "notice": "x", "headers": {}}])
async def test_what_is_no_delivery_at_all_ends_the_page(given: dict[str, Any]) -> None:
    with pytest.raises(UnexpectedAnswer):
        await judge(given)


def test_numbering_flags_jumps_and_repeats_and_goes_on_from_the_highest() -> None:
    numbering = Numbering({"us-cisa": 4}, complete=True)
    assert numbering.take("us-cisa", 5) is None
    assert numbering.take("us-cisa", 8) == (6, 8)
    assert numbering.take("us-cisa", 7) == (9, 7)
    assert numbering.take("us-cisa", 9) is None
    assert numbering.take("de-bsi", 2) == (1, 2)
    late = Numbering(complete=False)
    assert late.take("us-cisa", 17) is None
    assert late.take("us-cisa", 19) == (18, 19)
