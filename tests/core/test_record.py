"""Ledger records, and the delivery tree that tells a recipient nothing of the others."""

import hmac
from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.core import merkle, record, strict
from hub.core.errors import Refusal, VerificationFailed
from hub.core.record import Delivery, DeliveryTree, verify_delivery
from hub.core.strict import b64

SEED = bytes(range(32))
DIGEST = sha256(b"notice").digest()
AGENCIES = ["at-cert", "ch-ncsc", "de-bsi", "fr-anssi", "it-acn", "jp-nisc", "kr-ncsc", "uk-ncsc"]


def delivery(recipient: str, **changes: Any) -> Delivery:
    base = Delivery(recipient, "us-cisa", "alpine-security", 1, "c1", ("source_detail",), 7, "clause")
    return replace(base, **changes)


def tree(*recipients: str, seed: bytes = SEED, slots: int = 16) -> DeliveryTree:
    return DeliveryTree(seed, DIGEST, [delivery(recipient) for recipient in recipients], slots)


RECIPIENTS = st.sets(st.sampled_from(AGENCIES))
SEEDS = st.binary(min_size=32, max_size=32)


# The tree


def naive_root(seed: bytes, deliveries: list[Delivery], slots: int) -> bytes:
    """The delivery tree as docs/architecture.md §4 defines it, from the top, with nothing shared."""
    placed: dict[int, Delivery] = {}
    for one in sorted(deliveries, key=lambda d: d.recipient):
        slot = int.from_bytes(hmac.new(seed, b"slot" + one.recipient.encode(), sha256).digest()[:8], "big") % slots
        while slot in placed:
            slot = (slot + 1) % slots
        placed[slot] = one

    def node(level: int, index: int) -> bytes:
        under = range(index << level, (index + 1) << level)
        if not any(slot in placed for slot in under):
            return sha256(seed + b"empty" + bytes([level]) + index.to_bytes(8, "big")).digest()
        if level == 0:
            one = placed[index]
            leaf = {
                name: getattr(one, name) for name in ("agreement", "clause", "number", "reason", "recipient", "sender")
            }
            salt = hmac.new(seed, b"salt" + one.recipient.encode(), sha256).digest()
            leaf |= {"version": one.version, "withheld": one.withheld, "digest": b64(DIGEST), "salt": b64(salt)}
            return merkle.leaf_hash(strict.dumps(leaf))
        return merkle.node_hash(node(level - 1, 2 * index), node(level - 1, 2 * index + 1))

    return node(slots.bit_length() - 1, 0)


@given(RECIPIENTS, SEEDS, st.sampled_from([16, 32, 1024]))
@settings(max_examples=80)
def test_the_root_is_that_of_the_definition(recipients: set[str], seed: bytes, slots: int) -> None:
    deliveries = [delivery(recipient) for recipient in recipients]
    assert DeliveryTree(seed, DIGEST, deliveries, slots).root == naive_root(seed, deliveries, slots)


def test_a_delivery_leaf_is_canonical_json_whatever_its_texts_hold() -> None:
    odd = delivery('q"\\', agreement="é\u2028\n\x7f", clause="\t", withheld=("a", 'b"'), reason="recall")
    leaf = DeliveryTree(SEED, DIGEST, [odd], 16).proof('q"\\').leaf
    assert strict.dumps(strict.loads(leaf)) == leaf
    assert strict.loads(leaf) == {
        "agreement": "é\u2028\n\x7f", "clause": "\t", "digest": b64(DIGEST), "number": 7, "reason": "recall",
        "recipient": 'q"\\', "salt": b64(record.salt(SEED, 'q"\\')), "sender": "us-cisa", "version": 1,
        "withheld": ["a", 'b"'],
    }  # fmt: skip
    bare = DeliveryTree(SEED, DIGEST, [delivery("at-cert", withheld=())], 16).proof("at-cert").leaf
    assert strict.loads(bare)["withheld"] == []


@given(RECIPIENTS, SEEDS, st.sampled_from([16, 64]))
@settings(max_examples=60)
def test_every_recipient_proves_its_own_delivery(recipients: set[str], seed: bytes, slots: int) -> None:
    whole = tree(*recipients, seed=seed, slots=slots)
    for recipient in recipients:
        proof = whole.proof(recipient)
        assert strict.loads(proof.leaf)["recipient"] == recipient
        verify_delivery(proof.leaf, proof.slot, proof.slots, proof.path, whole.root)
        with pytest.raises(VerificationFailed):
            verify_delivery(proof.leaf.replace(b":7,", b":8,"), proof.slot, slots, proof.path, whole.root)
        with pytest.raises(VerificationFailed):
            verify_delivery(proof.leaf, proof.slot ^ 1, slots, proof.path, whole.root)
        with pytest.raises(VerificationFailed):
            verify_delivery(proof.leaf, proof.slot, slots, proof.path[:-1], whole.root)
    for other in set(AGENCIES) - recipients:
        with pytest.raises(KeyError):
            whole.proof(other)


@given(SEEDS, RECIPIENTS, RECIPIENTS, st.sampled_from(AGENCIES))
@settings(max_examples=100)
def test_two_ledgers_that_differ_in_who_else_received_look_the_same_to_a_recipient(
    seed: bytes, here: set[str], there: set[str], recipient: str
) -> None:
    """The same leaf, shape and slot; only hashes differ. Where another took the slot, it is the next free one."""
    one, other = (tree(*others | {recipient}, seed=seed).proof(recipient) for others in (here, there))
    assert one.leaf == other.leaf
    assert (one.slots, len(one.path)) == (other.slots, len(other.path)) == (16, 4)
    assert all(len(hashed) == 32 for hashed in one.path + other.path)
    wanted = {
        name: int.from_bytes(hmac.digest(seed, b"slot" + name.encode(), "sha256")[:8], "big") % 16 for name in AGENCIES
    }
    for proof, others in ((one, here), (other, there)):
        earlier = {wanted[name] for name in others if name < recipient}
        if len(earlier) == len({name for name in others if name < recipient}) and wanted[recipient] not in earlier:
            assert proof.slot == wanted[recipient]
    alone = tree(recipient, seed=seed).proof(recipient)
    for level, (here_hash, alone_hash) in enumerate(zip(one.path, alone.path, strict=True)):
        beside = range(((one.slot >> level) ^ 1) << level, (((one.slot >> level) ^ 1) + 1) << level)
        occupied = any(tree(*here | {recipient}, seed=seed).proof(name).slot in beside for name in here - {recipient})
        if one.slot == alone.slot:
            assert (here_hash != alone_hash) == occupied


def test_empty_and_occupied_siblings_are_spread_alike() -> None:
    """Over many notices each bit of a sibling is set half of the time, alone or in company; and slots are even."""

    def siblings(others: tuple[str, ...]) -> Iterator[tuple[int, tuple[bytes, ...]]]:
        for n in range(400):
            proof = tree("de-bsi", *others, seed=sha256(b"%d" % n).digest()).proof("de-bsi")
            yield proof.slot, proof.path

    for others in ((), ("at-cert", "fr-anssi", "jp-nisc")):
        seen = list(siblings(others))
        for level in range(4):
            hashes = [path[level] for _, path in seen]
            assert len(set(hashes)) == len(hashes), "no hash is ever seen twice"
            set_bits = sum(int.from_bytes(hashed, "big").bit_count() for hashed in hashes)
            assert abs(set_bits / (400 * 256) - 0.5) < 0.01
        counts = [sum(slot == wanted for slot, _ in seen) for wanted in range(16)]
        assert all(8 <= count <= 50 for count in counts), counts


def test_a_recipient_cannot_recompute_an_empty_subtree_from_what_it_is_given() -> None:
    proof = tree("de-bsi").proof("de-bsi")
    salt = strict.unb64(strict.loads(proof.leaf)["salt"])
    given_bytes = (salt, DIGEST, bytes(32), b"", proof.leaf)
    for level, hashed in enumerate(proof.path):
        guesses = {
            sha256(known + b"empty" + bytes([level]) + ((proof.slot >> level) ^ 1).to_bytes(8, "big")).digest()
            for known in given_bytes
        }
        assert hashed not in guesses | {merkle.EMPTY_ROOT, merkle.leaf_hash(b""), bytes(32)}


def test_an_auditor_recomputes_the_root_from_the_sealed_part() -> None:
    whole = tree("de-bsi", "at-cert", "fr-anssi")
    value = record.entry(
        kind="notice",
        digest=DIGEST,
        outcome="accepted",
        registry=3,
        at=1,
        seed=SEED,
        tree=whole,
        sealed={"sender": "us-cisa"},
    )
    _, leaf, sealed_bytes, sealed = record.decode(value)
    assert sealed is not None and sealed_bytes is not None
    assert leaf["sealed"] == b64(sha256(sealed_bytes).digest())
    read = [Delivery.from_sealed(sealed["sender"], one) for one in sealed["deliveries"]]
    again = DeliveryTree(strict.unb64(sealed["seed"]), strict.unb64(leaf["digest"]), read, 16)
    assert b64(again.root) == leaf["deliveries"]
    assert again.sealed() == sealed["deliveries"]
    assert [one.recipient for one in read] == ["at-cert", "de-bsi", "fr-anssi"]
    changed = [replace(read[0], number=8), *read[1:]]
    assert DeliveryTree(SEED, DIGEST, changed, 16).root != again.root


def test_a_full_tree_places_everybody_once() -> None:
    names = [f"xx-{n:02}" for n in range(16)]
    whole = tree(*names)
    assert sorted(one["slot"] for one in whole.sealed()) == list(range(16))
    for name in names:
        proof = whole.proof(name)
        verify_delivery(proof.leaf, proof.slot, 16, proof.path, whole.root)


@pytest.mark.parametrize(
    ("seed", "recipients", "slots"),
    [
        (b"short", ["at-cert"], 16),
        (SEED, ["at-cert", "at-cert"], 16),
        (SEED, [f"xx-{n:02}" for n in range(17)], 16),
        (SEED, ["at-cert"], 17),
        (SEED, [], 0),
    ],
)
def test_a_tree_that_cannot_be_is_not_made(seed: bytes, recipients: list[str], slots: int) -> None:
    with pytest.raises(ValueError):
        tree(*recipients, seed=seed, slots=slots)


@pytest.mark.parametrize("slots", [0, 1, 8, 15, 17, 24, -16])
def test_a_proof_in_a_tree_of_another_shape_is_refused(slots: int) -> None:
    proof = tree("de-bsi").proof("de-bsi")
    with pytest.raises(VerificationFailed):
        verify_delivery(proof.leaf, proof.slot, slots, proof.path, tree("de-bsi").root)


@pytest.mark.parametrize(
    ("agencies", "expected"), [(0, 16), (1, 16), (8, 16), (9, 32), (16, 32), (17, 64), (500, 1024)]
)
def test_the_slots_follow_the_number_of_agencies(agencies: int, expected: int) -> None:
    assert record.slots(agencies) == expected


# The record

SEALED = {"sender": "us-cisa", "jti": "x", "detail": "é\n"}


def value_of(kind: str = "notice") -> bytes:
    whole = tree("at-cert") if kind == "notice" else tree()
    return record.entry(
        kind=kind, digest=DIGEST, outcome="accepted", registry=3, at=5, seed=SEED, tree=whole, sealed=SEALED
    )


@pytest.mark.parametrize("kind", record.KINDS)
def test_a_record_reads_back_as_it_was_written(kind: str) -> None:
    leaf_bytes, leaf, sealed_bytes, sealed = record.decode(value_of(kind))
    assert record.encode(leaf_bytes, sealed_bytes) == value_of(kind)
    assert strict.dumps(leaf) == leaf_bytes
    root = tree("at-cert").root if kind == "notice" else tree().root
    assert leaf == {
        "v": 1, "kind": kind, "digest": b64(DIGEST), "outcome": "accepted", "registry": 3, "at": 5,
        "sealed": b64(sha256(sealed_bytes or b"").digest()), "deliveries": b64(root),
    }  # fmt: skip
    assert sealed is not None
    assert {name: sealed[name] for name in SEALED} == SEALED
    assert sealed["seed"] == b64(SEED)
    assert ("deliveries" in sealed) == (kind == "notice")


def test_an_erased_sealed_part_leaves_the_leaf_as_it_was() -> None:
    leaf_bytes, leaf, _, _ = record.decode(value_of())
    erased = record.encode(leaf_bytes, None)
    assert erased == value_of().split(b"\n")[0]
    assert record.decode(erased) == (leaf_bytes, leaf, None, None)


def test_the_leaf_tells_nothing_of_the_sealed_part() -> None:
    leaf_bytes, _, _, _ = record.decode(value_of())
    for word in (b"us-cisa", b"at-cert", b"alpine", b"c1", b"source_detail"):
        assert word not in leaf_bytes


def test_a_refused_statement_of_full_size_fits_even_when_json_escapes_it() -> None:
    line = strict.dumps({"statement": {"raw": "\x01" * 65_536}, "seed": b64(SEED)})
    leaf_bytes, _, _, _ = record.decode(value_of("registry"))
    assert record.decode(record.encode(leaf_bytes, line))[2] == line


LEAF: dict[str, Any] = strict.loads(value_of().split(b"\n")[0])


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2}, {"v": True}, {"v": 1.0}, {"kind": "other"}, {"kind": None}, {"outcome": "maybe"},
        {"registry": -1}, {"registry": 1.0}, {"at": "5"}, {"at": True}, {"digest": "AA"}, {"digest": 7},
        {"sealed": "="}, {"deliveries": None}, {"more": 1},
    ],
)  # fmt: skip
def test_a_leaf_that_is_not_of_the_form_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(Refusal):
        record.decode(strict.dumps(LEAF | change))


@pytest.mark.parametrize("missing", sorted(LEAF))
def test_a_leaf_that_lacks_a_member_is_refused(missing: str) -> None:
    with pytest.raises(Refusal):
        record.decode(strict.dumps({name: value for name, value in LEAF.items() if name != missing}))


@pytest.mark.parametrize("tail", [b"\n", b"\n[]", b"\n{", b"\n{}\n", b"\n\n{}", b'\n{"a":1,"a":1}', b"\n{}\n{}"])
def test_a_sealed_part_that_is_not_one_object_on_one_line_is_refused(tail: bytes) -> None:
    with pytest.raises(Refusal):
        record.decode(strict.dumps(LEAF) + tail)


@given(st.binary(max_size=80))
def test_arbitrary_bytes_raise_refusals_only(value: bytes) -> None:
    with pytest.raises(Refusal):
        record.decode(value)


ENTRY = tree("at-cert").sealed()[0]


@pytest.mark.parametrize(
    "change",
    [
        {"recipient": 7}, {"agreement": None}, {"version": "1"}, {"version": True}, {"clause": []}, {"withheld": "x"},
        {"withheld": [7]}, {"number": 1.0}, {"reason": 0}, {"slot": None}, {"more": 1},
    ],
)  # fmt: skip
def test_a_sealed_delivery_that_is_not_of_the_form_is_refused(change: dict[str, Any]) -> None:
    assert Delivery.from_sealed("us-cisa", ENTRY) == delivery("at-cert")
    with pytest.raises(Refusal):
        Delivery.from_sealed("us-cisa", ENTRY | change)


def test_a_sealed_delivery_that_lacks_a_member_is_refused() -> None:
    for missing in ENTRY:
        with pytest.raises(Refusal):
            Delivery.from_sealed("us-cisa", {name: value for name, value in ENTRY.items() if name != missing})
