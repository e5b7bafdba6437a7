"""Compact and general JWS: read back, read by another library, refused when anything is off."""

import json
from hashlib import sha256
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc.jwk import OKPKey
from joserfc.jws import JWSRegistry, deserialize_compact, deserialize_json, serialize_compact, serialize_json

from hub.core import jws, strict
from hub.core.envelope import verify
from hub.core.errors import Refusal
from hub.core.strict import b64

TYP = "statement+jws"
KEYS = {f"hub/{n}": Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in (1, 2, 3)}
PUBLIC = {kid: key.public_key().public_bytes_raw() for kid, key in KEYS.items()}
PAYLOAD = {"statement": "hub.found", "n": 1}
BYTES = b'{ "n" : 1 }'


def okp(kid: str, private: bool = False) -> OKPKey:
    data = {"kty": "OKP", "crv": "Ed25519", "x": b64(PUBLIC[kid])}
    return OKPKey.import_key(data | ({"d": b64(KEYS[kid].private_bytes_raw())} if private else {}))


def registry() -> JWSRegistry:
    return JWSRegistry(algorithms=["Ed25519"])


def compact() -> bytes:
    return jws.sign_compact(PAYLOAD, typ=TYP, kid="hub/1", key=KEYS["hub/1"])


def general(*kids: str) -> dict[str, Any]:
    return jws.sign_general(BYTES, [(kid, KEYS[kid]) for kid in kids], TYP)


def protected(**header: Any) -> str:
    return b64(strict.dumps({"alg": "Ed25519", "kid": "hub/1", "typ": TYP} | header))


def test_a_compact_jws_reads_back_as_it_was_signed() -> None:
    read = jws.read_compact(compact(), typ=TYP)
    assert (read.payload, read.kid) == (PAYLOAD, "hub/1")
    assert read.header == {"alg": "Ed25519", "kid": "hub/1", "typ": TYP}
    assert read.digest == sha256(compact()).digest()
    assert verify(PUBLIC["hub/1"], read.signature, read.signing_input)
    assert compact() == compact(), "the same bytes each time, so a receipt can be given twice"


def test_another_library_verifies_our_compact_jws_and_we_verify_its() -> None:
    theirs = deserialize_compact(compact(), okp("hub/1"), registry=registry())
    assert json.loads(theirs.payload) == PAYLOAD
    header = {"alg": "Ed25519", "kid": "hub/1", "typ": TYP}
    raw = serialize_compact(header, b'{"by": "them"}', okp("hub/1", private=True), registry=registry()).encode()
    read = jws.read_compact(raw, typ=TYP)
    assert read.payload == {"by": "them"}
    assert verify(PUBLIC["hub/1"], read.signature, read.signing_input)


def test_another_library_verifies_our_general_jws_and_we_verify_its() -> None:
    for kid in ("hub/1", "hub/2"):
        one = general("hub/1", "hub/2")
        one["signatures"] = [
            entry for entry in one["signatures"] if strict.loads(strict.unb64(entry["protected"]))["kid"] == kid
        ]
        assert deserialize_json(one, okp(kid), registry=registry()).payload == BYTES
    members = [{"protected": {"alg": "Ed25519", "kid": "hub/1", "typ": TYP}}]
    theirs = dict(serialize_json(members, BYTES, okp("hub/1", private=True), registry=registry()))
    ((kid, signing_input, signature),) = jws.read_general(theirs, TYP).signatures
    assert kid == "hub/1"
    assert verify(PUBLIC[kid], signature, signing_input)


def test_a_general_jws_signs_the_exact_bytes_once_per_party() -> None:
    for document in (general("hub/1", "hub/2"), strict.dumps(general("hub/1", "hub/2"))):
        read = jws.read_general(document, TYP)
        assert (read.payload_bytes, read.payload, read.digest) == (BYTES, {"n": 1}, sha256(BYTES).digest())
        assert [kid for kid, _, _ in read.signatures] == ["hub/1", "hub/2"]
        assert all(verify(PUBLIC[kid], signature, signing_input) for kid, signing_input, signature in read.signatures)


def test_a_signature_is_added_without_touching_the_document() -> None:
    one = general("hub/1")
    before = strict.dumps(one)
    assert jws.add_signature(one, "hub/2", KEYS["hub/2"]) == general("hub/1", "hub/2")
    assert strict.dumps(one) == before


@pytest.mark.parametrize(
    "document", [{}, {"payload": "", "signatures": []}, {"signatures": [{"protected": b64(b"[]")}]}]
)
def test_a_signature_needs_a_document_to_be_added_to(document: dict[str, Any]) -> None:
    with pytest.raises(Refusal, match="sign_general"):
        jws.add_signature(document, "hub/2", KEYS["hub/2"])


def test_a_signature_is_not_added_to_a_damaged_document() -> None:
    with pytest.raises(Refusal):
        jws.add_signature(general("hub/1") | {"more": 1}, "hub/2", KEYS["hub/2"])


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"}, {"alg": "EdDSA"}, {"alg": "ES256"}, {"alg": 1}, {"typ": "notice+sd-jwt"}, {"typ": None},
        {"kid": ""}, {"kid": "k" * 129}, {"kid": 7}, {"crit": ["b64"]}, {"jwk": {}}, {"b64": False},
    ],
)  # fmt: skip
def test_any_other_header_is_refused(header: dict[str, Any]) -> None:
    _, payload, signature = compact().decode().split(".")
    with pytest.raises(Refusal) as refusal:
        jws.read_compact(f"{protected(**header)}.{payload}.{signature}".encode(), typ=TYP)
    assert refusal.value.code == "header"
    document = general("hub/1")
    document["signatures"][0]["protected"] = protected(**header)
    with pytest.raises(Refusal) as refusal:
        jws.read_general(document, TYP)
    assert refusal.value.code == "header"


def test_a_missing_header_member_is_refused() -> None:
    _, payload, signature = compact().decode().split(".")
    with pytest.raises(Refusal) as refusal:
        jws.read_compact(f"{b64(b'{}')}.{payload}.{signature}".encode(), typ=TYP)
    assert refusal.value.code == "header"


def test_a_jws_made_for_one_purpose_is_not_read_for_another() -> None:
    with pytest.raises(Refusal) as refusal:
        jws.read_compact(compact(), typ="ack+jwt")
    assert refusal.value.code == "header"


@pytest.mark.parametrize(
    "raw",
    [
        b"", b"a.b", compact() + b".", compact()[:-1], compact() + b"A", compact() + b"=", b"." + compact(),
        compact().replace(b".", b".\n", 1), b64(b"[]").encode() + compact()[compact().index(b".") :],
        b".".join([compact().split(b".")[0], b64(b"7").encode(), compact().split(b".")[2]]),
    ],
)  # fmt: skip
def test_damaged_compact_jws_are_malformed(raw: bytes) -> None:
    with pytest.raises(Refusal) as refusal:
        jws.read_compact(raw, typ=TYP)
    assert refusal.value.code == "malformed"


ENTRY = general("hub/1")["signatures"][0]


@pytest.mark.parametrize(
    "change",
    [
        {"more": 1}, {"signatures": []}, {"signatures": {}}, {"signatures": [7]}, {"signatures": [ENTRY, ENTRY]},
        {"signatures": [ENTRY | {"header": {"kid": "x"}}]}, {"signatures": [{"protected": ENTRY["protected"]}]},
        {"signatures": [ENTRY | {"protected": 7}]}, {"signatures": [ENTRY | {"signature": 7}]},
        {"signatures": [ENTRY | {"signature": ENTRY["signature"][:-2]}]}, {"payload": 7}, {"payload": "="},
        {"payload": b64(b"[1]")}, {"payload": b64(b"{")},
    ],
)  # fmt: skip
def test_damaged_general_jws_are_malformed(change: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refusal:
        jws.read_general(general("hub/1") | change, TYP)
    assert refusal.value.code == "malformed"


def test_a_general_jws_that_is_no_object_or_lacks_a_member_is_malformed() -> None:
    for document in (b"[]", b"{", b"{}", {"payload": b64(b"{}")}):
        with pytest.raises(Refusal) as refusal:
            jws.read_general(document, TYP)
        assert refusal.value.code == "malformed"


def test_size_is_limited() -> None:
    with pytest.raises(Refusal) as refusal:
        jws.read_compact(compact(), typ=TYP, max_bytes=len(compact()) - 1)
    assert refusal.value.code == "too-large"
    with pytest.raises(Refusal) as refusal:
        jws.read_general(strict.dumps(general("hub/1")), TYP, max_bytes=100)
    assert refusal.value.code == "too-large"


def test_an_acknowledgement_of_a_thousand_deliveries_fits() -> None:
    stored = [{"sender": f"xx-{'a' * 40}", "number": 2**53, "digest": b64(bytes(32))}] * 1000
    raw = jws.sign_compact({"stored": stored}, typ="ack+jwt", kid="hub/1", key=KEYS["hub/1"])
    assert len(jws.read_compact(raw, typ="ack+jwt").payload["stored"]) == 1000


def test_every_single_bit_flip_of_a_compact_jws_is_refused() -> None:
    raw = compact()
    for position in range(len(raw)):
        for bit in range(8):
            flipped = bytearray(raw)
            flipped[position] ^= 1 << bit
            try:
                read = jws.read_compact(bytes(flipped), typ=TYP)
            except Refusal:
                continue
            assert not verify(PUBLIC["hub/1"], read.signature, read.signing_input), (position, bit)


@given(st.binary(max_size=120) | st.text(alphabet="eyJ._-0I", max_size=60).map(str.encode))
@settings(max_examples=200)
def test_arbitrary_bytes_raise_refusals_only(raw: bytes) -> None:
    with pytest.raises(Refusal):
        jws.read_compact(raw, typ=TYP)
    with pytest.raises(Refusal):
        jws.read_general(raw, TYP)
