"""The SD-JWT envelope: RFC 9901's figures, the reference package in both directions, and what must not be believed."""

import itertools
import json
from base64 import urlsafe_b64encode
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st
from jwcrypto.jwk import JWK
from sd_jwt.common import SDObj
from sd_jwt.holder import SDJWTHolder
from sd_jwt.issuer import SDJWTIssuer
from sd_jwt.verifier import SDJWTVerifier

from hub.core import envelope, jws, strict
from hub.core.envelope import Disclosure
from hub.core.errors import Refusal
from hub.core.strict import b64

RFC = json.loads((Path(__file__).parents[1] / "vectors" / "rfc9901.json").read_text())

KEY = Ed25519PrivateKey.from_private_bytes(b"\x07" * 32)
PUBLIC = KEY.public_key().public_bytes_raw()
KID = "us-cisa/2026-1"
CLAIMS: dict[str, Any] = {
    "iss": "us-cisa",
    "jti": "0198f1b2-7e3c-7a41-9c55-0123456789ab",
    "iat": 1767225600,
    "exp": 1769817600,
    "type": "threat.cyber.v1",
    "subject": "CVE-2026-12345",
    "tlp": "TLP:AMBER",
    "exercise": False,
    "data": {
        "kind": "vulnerability",
        "products": [{"cpe": "cpe:2.3:a:v:p:1.0"}],
        "source_detail": "sensor 7",
        "method": ["a", {"b": 1}],
    },
}
WITHHOLDABLE = frozenset({"source_detail", "method"})

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(
    lambda n: n not in ("_sd", "...")
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
    max_leaves=6,
).filter(lambda value: b"_sd" not in strict.dumps(value))


def salts(start: int = 0) -> Any:
    return (sha256(b"salt%d" % n).digest()[:16] for n in itertools.count(start))


def signed(claims: dict[str, Any] = CLAIMS) -> bytes:
    return envelope.sign(claims, kid=KID, key=KEY, withholdable=WITHHOLDABLE, salts=salts())


def holds(env: envelope.Envelope) -> bool:
    return envelope.verify(PUBLIC, env.signature, env.signing_input)


def forge(payload: Any, *disclosures: bytes) -> bytes:
    """Signed properly, by somebody who does not keep to the profile."""
    return b"~".join([jws.sign_compact(payload, typ=envelope.TYP, kid=KID, key=KEY), *disclosures, b""])


def disclosure(*parts: Any) -> tuple[bytes, str]:
    encoded = b64(strict.dumps(list(parts))).encode()
    return encoded, b64(sha256(encoded).digest())


SALT = b64(b"s" * 16)
D1, H1 = disclosure(SALT, "source_detail", "x")
D2, H2 = disclosure(SALT, "method", "y")
S, DS = disclosure(b64(b"s" * 15), "method", "a short salt")


def refused(raw: bytes) -> str:
    with pytest.raises(Refusal) as refusal:
        envelope.read(envelope.split(raw))
    return refusal.value.code


# What the RFC says


@pytest.mark.parametrize("spelling", RFC["spellings"], ids=lambda spelling: spelling["what"])
def test_every_spelling_of_the_rfc_discloses_the_same_field_under_its_own_digest(spelling: dict[str, str]) -> None:
    encoded = spelling["encoded"].encode()
    digest = b64(sha256(encoded).digest())
    assert digest == spelling.get("digest", digest)
    env = envelope.split(forge({"data": {"_sd": [digest]}, "_sd_alg": "sha-256"}, encoded))
    assert env.disclosures == {digest: Disclosure(encoded, *RFC["spells"])}
    claims, names, absent = envelope.read(env)
    assert (claims, names, absent) == ({"data": {"family_name": "Möbius"}}, {"family_name"}, frozenset())


def test_the_issuance_example_of_the_rfc_is_processed_as_the_rfc_says() -> None:
    all_of_them = {
        d["digest"]: Disclosure(d["encoded"].encode(), d["salt"], d["name"], d["value"]) for d in RFC["disclosures"]
    }
    for digest, item in all_of_them.items():
        assert b64(sha256(item.encoded).digest()) == digest
        assert strict.loads(strict.unb64(item.encoded)) == [item.salt, item.name, item.value]
    some = dict(list(all_of_them.items())[1:4])
    claims, names, absent = envelope.disclose(RFC["payload"], some)
    visible = {name: RFC["payload"][name] for name in ("iss", "iat", "exp", "sub", "nationalities", "_sd_alg")}
    assert claims == visible | {"family_name": "Doe", "email": "johndoe@example.com", "phone_number": "+1-202-555-0101"}
    assert names == {"family_name", "email", "phone_number"}
    assert absent == set(RFC["payload"]["_sd"]) - set(some)
    assert envelope.disclose(RFC["payload"], all_of_them)[2] == frozenset()


def test_what_the_rfc_allows_and_our_profile_does_not_is_refused() -> None:
    data = {"_sd": RFC["payload"]["_sd"]}
    encoded = [item["encoded"].encode() for item in RFC["disclosures"]]
    assert envelope.read(envelope.split(forge({"data": data, "_sd_alg": "sha-256"}, *encoded)))[2] == frozenset()
    assert refused(forge(RFC["payload"], *encoded)) == "disclosure"  # digests at the top, and in an array
    assert refused(forge({"data": {"nationalities": RFC["payload"]["nationalities"]}})) == "disclosure"
    assert refused(forge({"data": {"_sd": []}, "_sd_alg": "sha-256"}, RFC["array_element"].encode())) == "disclosure"
    assert refused(forge({"data": {"_sd": []}, "_sd_alg": "sha-256"}, RFC["short_salt"].encode())) == "disclosure"


# The reference implementation


def _oracle_key() -> JWK:
    raw = {"kty": "OKP", "crv": "Ed25519", "x": b64(PUBLIC), "d": b64(KEY.private_bytes_raw())}
    return JWK(**raw)


def _oracle_reads(raw: bytes) -> Any:
    return SDJWTVerifier(raw.decode(), lambda issuer, header: _oracle_key()).get_verified_payload()


@pytest.mark.parametrize("withheld", [(), ("method",), ("source_detail",), ("method", "source_detail")])
def test_the_reference_package_verifies_our_full_and_our_redacted_notices(withheld: tuple[str, ...]) -> None:
    raw = envelope.withhold(envelope.split(signed()), withheld)
    data = {name: value for name, value in CLAIMS["data"].items() if name not in withheld}
    assert _oracle_reads(raw) == CLAIMS | {"data": data}


def test_we_read_what_the_reference_package_signs_and_redacts() -> None:
    data = {SDObj(name) if name in WITHHOLDABLE else name: value for name, value in CLAIMS["data"].items()}
    header = {"kid": KID, "typ": envelope.TYP}
    theirs = SDJWTIssuer(CLAIMS | {"data": data}, _oracle_key(), sign_alg="Ed25519", extra_header_parameters=header)
    env = envelope.split(theirs.sd_jwt_issuance.encode())
    assert holds(env)
    assert envelope.read(env) == (CLAIMS, WITHHOLDABLE, frozenset())
    holder = SDJWTHolder(theirs.sd_jwt_issuance)
    holder.create_presentation({"data": {"method": True}})
    redacted = envelope.split(holder.sd_jwt_presentation.encode())
    assert holds(redacted)
    assert redacted.digest == env.digest
    assert envelope.read(redacted)[1] == {"method"}
    assert envelope.withhold(env, {"source_detail"}) == redacted.raw


# Signing, withholding, reading


def test_a_notice_reads_back_as_it_was_signed() -> None:
    env = envelope.split(signed())
    assert (env.kid, env.header["alg"], env.digest) == (KID, "Ed25519", sha256(env.raw.split(b"~")[0]).digest())
    assert holds(env)
    assert envelope.read(env) == (CLAIMS, WITHHOLDABLE, frozenset())
    assert env.payload["data"]["_sd"] == sorted(env.disclosures), "sorted, so that the order of the fields is not told"


def test_a_notice_without_withholdable_fields_carries_no_digests() -> None:
    claims = CLAIMS | {"data": {"kind": "vulnerability"}}
    raw = envelope.sign(claims, kid=KID, key=KEY, withholdable=WITHHOLDABLE, salts=lambda: b"s" * 16)
    assert raw.count(b"~") == 1
    assert envelope.split(raw).payload == claims
    assert envelope.read(envelope.split(raw)) == (claims, frozenset(), frozenset())


def test_salts_come_from_an_iterator_or_a_function() -> None:
    fixed = [b"a" * 16, b"b" * 16]
    by_iterator = envelope.sign(CLAIMS, kid=KID, key=KEY, withholdable=WITHHOLDABLE, salts=iter(fixed))
    assert by_iterator == envelope.sign(CLAIMS, kid=KID, key=KEY, withholdable=WITHHOLDABLE, salts=iter(fixed).__next__)
    with pytest.raises(ValueError, match="salt"):
        envelope.sign(CLAIMS, kid=KID, key=KEY, withholdable=WITHHOLDABLE, salts=lambda: b"short")


def test_a_notice_too_large_to_be_read_is_not_signed() -> None:
    with pytest.raises(Refusal) as refusal:
        signed(CLAIMS | {"subject": "x" * 60_000})
    assert refusal.value.code == "too-large"


def test_the_limit_of_the_size_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = signed()
    assert envelope.MAX_BYTES == 65_536
    monkeypatch.setattr(envelope, "MAX_BYTES", len(raw))
    assert envelope.split(signed()).raw == raw
    monkeypatch.setattr(envelope, "MAX_BYTES", len(raw) - 1)
    for call in (signed, lambda: envelope.split(raw)):
        with pytest.raises(Refusal) as refusal:
            call()
        assert refusal.value.code == "too-large"


def test_headers_of_two_notices_are_not_shared() -> None:
    one, other = envelope.split(signed()), envelope.split(signed())
    one.header["kid"] = "changed"
    assert other.kid == envelope.split(signed()).kid == KID


@pytest.mark.parametrize("claims", [{"_sd": []}, {"data": {"...": 1}}, {"data": {"list": [{"_sd_alg": 1}]}}])
def test_reserved_names_are_not_signed(claims: dict[str, Any]) -> None:
    with pytest.raises(Refusal) as refusal:
        signed(CLAIMS | claims)
    assert refusal.value.code == "disclosure"


@given(st.dictionaries(NAMES, VALUES, max_size=5), st.data())
@settings(max_examples=100, deadline=None)
def test_withholding_never_breaks_the_signature_and_never_reveals_what_was_withheld(
    data: Any, draw: st.DataObject
) -> None:
    data = {name: value for name, value in data.items() if name != "_sd_alg"}
    names = sorted(data)
    withholdable = set(draw.draw(st.lists(st.sampled_from(names), unique=True))) if names else set()
    withheld = set(draw.draw(st.lists(st.sampled_from([*names, "other"]), unique=True)))
    raw = envelope.sign({"data": data}, kid=KID, key=KEY, withholdable=withholdable, salts=salts())
    env = envelope.split(raw)
    cut = envelope.split(envelope.withhold(env, withheld))

    assert holds(cut)
    assert (cut.jws, cut.digest) == (env.jws, env.digest)
    gone = withholdable & withheld
    claims, disclosed, absent = envelope.read(cut)
    assert claims == {"data": {name: value for name, value in data.items() if name not in gone}}
    assert disclosed == withholdable - gone
    assert absent == {digest for digest, item in env.disclosures.items() if item.name in gone}

    told = cut.raw + b"".join(strict.unb64(part) for part in cut.jws.split(b".")[:2])
    told += b"".join(strict.unb64(item.encoded) for item in cut.disclosures.values())
    for item in env.disclosures.values():
        if item.name in gone:
            assert item.encoded not in told
            assert item.salt.encode() not in told
    again = envelope.sign({"data": data}, kid=KID, key=KEY, withholdable=withholdable, salts=salts(100))
    if gone:
        assert envelope.split(again).payload["data"]["_sd"] != env.payload["data"]["_sd"], (
            "the digest depends on the salt"
        )


def test_a_distinctive_withheld_value_is_nowhere_in_the_redacted_bytes() -> None:
    secret = "the-only-occurrence-of-this"
    env = envelope.split(signed(CLAIMS | {"data": {"kind": "x", "source_detail": secret}}))
    cut = envelope.withhold(env, ["source_detail"])
    decoded = b"".join(strict.unb64(part) for part in cut.rstrip(b"~").replace(b"~", b".").split(b"."))
    for data in (cut, decoded):
        assert secret.encode() not in data
        assert not any(urlsafe_b64encode(b"x" * shift + secret.encode())[4:-4] in data for shift in range(3))


def test_every_single_bit_flip_is_refused() -> None:
    """All of them, on a full and on a redacted notice: split, read and verify together let none pass."""
    env = envelope.split(
        envelope.sign({"data": {"a": 1, "b": "z~z"}}, kid="k", key=KEY, withholdable={"b"}, salts=salts())
    )
    for raw in (env.raw, envelope.withhold(env, ["b"])):
        for position, bit in itertools.product(range(len(raw)), range(8)):
            flipped = bytearray(raw)
            flipped[position] ^= 1 << bit
            assert not _believed(bytes(flipped)), (position, bit)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_no_other_damage_gets_through_either(draw: st.DataObject) -> None:
    raw = signed()
    start = draw.draw(st.integers(0, len(raw)))
    end = draw.draw(st.integers(start, min(len(raw), start + 40)))
    damaged = raw[:start] + draw.draw(st.binary(max_size=40)) + raw[end:]
    if damaged != raw:
        assert not _believed(damaged) or damaged in _redactions(raw)


def _believed(raw: bytes) -> bool:
    try:
        env = envelope.split(raw)
        envelope.read(env)
    except Refusal:
        return False
    return holds(env)


def _redactions(raw: bytes) -> list[bytes]:
    env = envelope.split(raw)
    return [envelope.withhold(env, names) for names in ((), ("method",), ("source_detail",), WITHHOLDABLE)]


@given(st.binary(max_size=200) | st.text(alphabet="eyJ.~WyI-_0", max_size=80).map(str.encode))
@settings(max_examples=200)
def test_arbitrary_bytes_raise_refusals_only(raw: bytes) -> None:
    with pytest.raises(Refusal):
        envelope.split(raw)


@given(VALUES, st.lists(VALUES | st.tuples(TEXT, TEXT, VALUES), max_size=3))
@settings(max_examples=150, deadline=None)
def test_signed_nonsense_raises_refusals_only(payload: Any, parts: list[Any]) -> None:
    encoded = [disclosure(*part)[0] if isinstance(part, tuple) else b64(strict.dumps(part)).encode() for part in parts]
    digests = [b64(sha256(item).digest()) for item in encoded]
    for document in (
        payload,
        {"data": payload},
        {"data": {"_sd": digests}, "_sd_alg": "sha-256"},
        {"data": {"_sd": payload}},
    ):
        try:
            envelope.read(envelope.split(forge(document, *encoded)))
        except Refusal as refusal:
            assert refusal.code in ("malformed", "disclosure")


# Refused, each for its fault

WHOLE = {"data": {"_sd": [H1, H2]}, "_sd_alg": "sha-256"}


@pytest.mark.parametrize(
    ("fault", "raw"),
    [
        ("too-large", b"x" * 65_537),
        ("malformed", b""),
        ("malformed", signed()[:-1]),
        ("malformed", signed() + b"e30.e30.e30"),
        ("malformed", signed() + b"~"),
        ("malformed", signed().replace(b".", b"~", 1)),
        ("malformed", signed().replace(b"~", b".~", 1)),
        ("malformed", signed().replace(b"~", b"AA~", 1)),
        ("malformed", forge(["a", "list"])),
        ("malformed", forge(WHOLE, b"!!!")),
        ("malformed", forge(WHOLE, b64(b"[1,").encode())),
        ("disclosure", forge(WHOLE, D1, D1)),
        ("disclosure", forge(WHOLE, b64(b'{"a":1}').encode())),
        ("disclosure", forge(WHOLE, disclosure(SALT, "method")[0])),
        ("disclosure", forge(WHOLE, disclosure(SALT, "method", 1, 2)[0])),
        ("disclosure", forge(WHOLE, disclosure(SALT, 7, 1)[0])),
        ("disclosure", forge(WHOLE, disclosure(7, "method", 1)[0])),
        ("disclosure", forge({"data": {"_sd": [DS]}, "_sd_alg": "sha-256"}, S)),
        ("disclosure", forge(WHOLE, disclosure(SALT, "_sd", [])[0])),
        ("disclosure", forge(WHOLE, disclosure(SALT, "...", 1)[0])),
        ("disclosure", forge(WHOLE, disclosure(SALT, "_sd_alg", 1)[0])),
        ("disclosure", forge(WHOLE, disclosure(SALT, "stranger", 1)[0])),
        ("disclosure", forge({"data": {}}, D1)),
        ("disclosure", forge({}, D1)),
        ("disclosure", forge({"data": "text"}, D1)),
        ("disclosure", forge({"data": {"_sd": [H1]}}, D1)),
        ("disclosure", forge({"data": {"_sd": [H1]}, "_sd_alg": "sha-512"}, D1)),
        ("disclosure", forge({"data": {"_sd": [H1]}, "_sd_alg": None}, D1)),
        ("disclosure", forge({"data": {}, "_sd_alg": ["sha-256"]})),
        ("disclosure", forge({"data": {"_sd": [H1, H1]}, "_sd_alg": "sha-256"}, D1)),
        ("disclosure", forge({"data": {"_sd": H1}, "_sd_alg": "sha-256"}, D1)),
        ("disclosure", forge({"data": {"_sd": [H1, 7]}, "_sd_alg": "sha-256"}, D1)),
        ("disclosure", forge({"data": {"_sd": [H1, "short"]}, "_sd_alg": "sha-256"}, D1)),
        ("disclosure", forge({"data": {"_sd": [H1], "source_detail": 1}, "_sd_alg": "sha-256"}, D1)),
        ("disclosure", forge({"data": {"_sd": [H1], "in": {"_sd": [H2]}}, "_sd_alg": "sha-256"}, D1)),
        ("disclosure", forge({"data": {"_sd": [H1], "in": [[{"...": H2}]]}, "_sd_alg": "sha-256"}, D1)),
        ("disclosure", forge({"data": {"_sd": [H1]}, "_sd": [H2], "_sd_alg": "sha-256"}, D1)),
        ("disclosure", forge({"data": [{"_sd": [H2]}], "_sd_alg": "sha-256"})),
    ],
)  # fmt: skip
def test_what_is_not_of_the_profile_is_refused_with_its_code(fault: str, raw: bytes) -> None:
    assert refused(raw) == fault


def test_a_disclosure_inside_a_disclosure_is_refused() -> None:
    outer, digest = disclosure(SALT, "method", {"_sd": [H1]})
    assert refused(forge({"data": {"_sd": [digest]}, "_sd_alg": "sha-256"}, outer)) == "disclosure"


def test_two_disclosures_of_one_name_are_refused() -> None:
    other, digest = disclosure(SALT, "source_detail", "another")
    assert refused(forge({"data": {"_sd": [H1, digest]}, "_sd_alg": "sha-256"}, D1, other)) == "disclosure"


def test_an_empty_or_absent_list_of_digests_is_read() -> None:
    assert envelope.read(envelope.split(forge({"data": {"_sd": []}, "_sd_alg": "sha-256"})))[0] == {"data": {}}
    assert envelope.read(envelope.split(forge({"data": {}, "_sd_alg": "sha-256"})))[0] == {"data": {}}
    assert envelope.read(envelope.split(forge({"data": 7})))[0] == {"data": 7}


def test_reading_leaves_the_envelope_as_it_is() -> None:
    env = envelope.split(signed())
    before = strict.dumps(env.payload)
    envelope.read(env)
    assert strict.dumps(env.payload) == before


# The bare signature


def test_a_signature_holds_for_its_key_and_its_message_only() -> None:
    signature = KEY.sign(b"message")
    assert envelope.verify(PUBLIC, signature, b"message")
    assert not envelope.verify(PUBLIC, signature, b"massage")
    assert not envelope.verify(bytes(32), signature, b"message")
    other = Ed25519PrivateKey.from_private_bytes(b"\x08" * 32).public_key().public_bytes_raw()
    assert not envelope.verify(other, signature, b"message")


@pytest.mark.parametrize("cut", [0, 1, 31, 33, 64])
def test_keys_and_signatures_of_a_wrong_length_do_not_hold(cut: int) -> None:
    signature = KEY.sign(b"message")
    assert not envelope.verify((PUBLIC * 3)[:cut], signature, b"message")
    assert not envelope.verify(PUBLIC, (signature * 2)[: cut if cut != 64 else 65], b"message")


def test_the_same_signature_with_a_larger_s_does_not_hold() -> None:
    """S + L signs the same for a careless verifier (RFC 8032 §5.1.7), which would give a notice two digests."""
    order = 2**252 + 27742317777372353535851937790883648493
    signature = KEY.sign(b"message")
    larger = int.from_bytes(signature[32:], "little") + order
    assert not envelope.verify(PUBLIC, signature[:32] + larger.to_bytes(32, "little"), b"message")


SMALL_ORDER = [
    "00" * 32,
    "01" + "00" * 31,
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("point", SMALL_ORDER)
def test_keys_of_small_order_and_points_out_of_range_sign_nothing(point: str) -> None:
    """Under such a key, R = identity or the key itself and S = 0 "sign" any message for a careless verifier."""
    key = bytes.fromhex(point)
    for r in ("01" + "00" * 31, point):
        for message in (bytes([n]) for n in range(16)):
            assert not envelope.verify(key, bytes.fromhex(r) + bytes(32), message)
