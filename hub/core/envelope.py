"""The signed envelope of a notice: SD-JWT compact (RFC 9901), in a narrow profile.

    <JWS>~<disclosure>~…~        a disclosure is base64url of ["<salt>", "<name>", <value>]

The JWS signs the digests of the disclosures in `data._sd`, so a field can be taken out and the sender's signature still
holds. Selective are direct members of `data` only: no nested digests, no array elements, no key binding, SHA-256 alone.
The digest of a notice is over the JWS bytes: the same for every redaction of it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from hub.core import jws, strict
from hub.core.errors import Refusal
from hub.core.strict import b64, unb64

TYP = "notice+sd-jwt"
MAX_BYTES = 65_536
MIN_SALT = 16  # bytes: 128 bits, so that nobody guesses a withheld value from its digest (RFC 9901 §9.3)
_RESERVED = frozenset({"_sd", "_sd_alg", "..."})


@dataclass(frozen=True, slots=True)
class Disclosure:
    """One withholdable field: its bytes as received (they are what is digested) and what they say."""

    encoded: bytes
    salt: str
    name: str
    value: Any


@dataclass(frozen=True, slots=True)
class Envelope:
    """A notice taken apart, not yet verified.

    raw: as received. jws: the bytes before the first "~"; digest: SHA-256 of them. payload: as signed, with `_sd`
    digests (read() puts the disclosures back). disclosures: by digest (base64url), in the order received.
    """

    raw: bytes
    jws: bytes
    signing_input: bytes
    signature: bytes
    header: dict[str, Any]
    payload: dict[str, Any]
    disclosures: dict[str, Disclosure]
    digest: bytes

    @property
    def kid(self) -> str:
        kid: str = self.header["kid"]
        return kid


def split(raw: bytes) -> Envelope:
    """Take a notice apart and check its form. Raises Refusal: too-large, malformed, header, disclosure."""
    if len(raw) > MAX_BYTES:
        raise Refusal("too-large", f"{len(raw)} bytes, a notice has at most {MAX_BYTES}")
    head, *encoded, tail = raw.split(b"~") if b"~" in raw else (raw, b"no tilde")
    if tail:
        raise Refusal("malformed", 'a notice has a "~" after the JWS and after every disclosure, and no key binding')
    token = jws.read_compact(head, typ=TYP)
    disclosures = {b64(sha256(item).digest()): _read_disclosure(item) for item in encoded}
    if len(disclosures) != len(encoded):
        raise Refusal("disclosure", "a disclosure occurs twice")
    return Envelope(
        raw=raw,
        jws=head,
        signing_input=token.signing_input,
        signature=token.signature,
        header=token.header,
        payload=token.payload,
        disclosures=disclosures,
        digest=token.digest,
    )


def read(env: Envelope) -> tuple[dict[str, Any], frozenset[str], frozenset[str]]:
    """The claims with disclosed fields back in `data`, the names disclosed, and the digests that have no disclosure.

    `_sd` and `_sd_alg` are gone from the claims; the envelope is left as it is. Raises Refusal "disclosure" for a
    disclosure that nothing references, digests out of place, reserved or colliding names, another digest algorithm.
    """
    claims = dict(env.payload)
    signed = claims.get("data")
    holder = signed if isinstance(signed, dict) else {}
    if ("_sd" in holder or "_sd_alg" in claims) and claims.pop("_sd_alg", None) != "sha-256":
        raise Refusal("disclosure", 'the payload must say "_sd_alg":"sha-256" where data holds _sd')
    data, names, absent = disclose(holder, env.disclosures)
    if holder:
        claims["data"] = data
    _refuse_reserved(claims)
    return claims, names, absent


def disclose(
    holder: Mapping[str, Any], disclosures: Mapping[str, Disclosure]
) -> tuple[dict[str, Any], frozenset[str], frozenset[str]]:
    """One level of RFC 9901 §7.1: replace the `_sd` digests of an object by the fields disclosed for them.

    Returns the object without `_sd`, the names disclosed, the digests that have no disclosure. Raises Refusal
    "disclosure".
    """
    members = dict(holder)
    digests = members.pop("_sd", [])
    if not isinstance(digests, list) or not all(isinstance(digest, str) and len(digest) == 43 for digest in digests):
        raise Refusal("disclosure", "_sd is not a list of SHA-256 digests in base64url")
    known = frozenset(digests)
    if len(known) != len(digests):
        raise Refusal("disclosure", "a digest occurs twice in _sd")
    names: set[str] = set()
    for digest, disclosure in disclosures.items():
        if digest not in known:
            raise Refusal("disclosure", f"nothing signed refers to the disclosure of {disclosure.name[:64]!a}")
        if disclosure.name in members:
            raise Refusal("disclosure", f"the disclosed field {disclosure.name[:64]!a} is there already")
        members[disclosure.name] = disclosure.value
        names.add(disclosure.name)
    return members, frozenset(names), known - disclosures.keys()


def sign(
    claims: Mapping[str, Any],
    *,
    kid: str,
    key: Ed25519PrivateKey,
    withholdable: Collection[str],
    salts: Iterator[bytes] | Callable[[], bytes],
) -> bytes:
    """Sign a notice with everything disclosed.

    Every member of claims["data"] that is named in `withholdable` becomes a disclosure; `salts` yields at least 16
    fresh random bytes for each. Raises Refusal: too-large, disclosure (a reserved name); ValueError for a short salt.
    """
    _refuse_reserved(claims)
    draw = salts if callable(salts) else salts.__next__
    payload = dict(claims)
    data = payload.get("data", {})
    encoded = [_disclosure(draw(), name, value) for name, value in data.items() if name in withholdable]
    if encoded:
        kept = {name: value for name, value in data.items() if name not in withholdable}
        # sorted, so that the order of the digests tells nothing about the fields (RFC 9901 §4.2.4.1)
        digests = sorted(b64(sha256(item).digest()) for item in encoded)
        payload |= {"data": kept | {"_sd": digests}, "_sd_alg": "sha-256"}
    raw = b"~".join([jws.sign_compact(payload, typ=TYP, kid=kid, key=key), *encoded, b""])
    if len(raw) > MAX_BYTES:
        raise Refusal("too-large", f"{len(raw)} bytes when signed, a notice has at most {MAX_BYTES}")
    return raw


def withhold(env: Envelope, names: Collection[str]) -> bytes:
    """The same JWS without the disclosures of `names`, the rest in its order; names not disclosed change nothing."""
    return b"~".join([env.jws, *(item.encoded for item in env.disclosures.values() if item.name not in names), b""])


def verify(public_key: bytes, signature: bytes, message: bytes) -> bool:
    """Whether an Ed25519 signature holds; never raises on bytes.

    libsodium: refuses S ≥ L, small-order and non-canonical points; releases the GIL. It reads lengths on trust, so they
    are checked here.
    """
    if len(public_key) != 32 or len(signature) != 64:
        return False
    try:
        crypto_sign_open(signature + message, public_key)
    except BadSignatureError:
        return False
    return True


def _disclosure(salt: bytes, name: str, value: Any) -> bytes:
    if len(salt) < MIN_SALT:
        raise ValueError(f"a salt has at least {MIN_SALT} bytes, not {len(salt)}")
    return b64(strict.dumps([b64(salt), name, value])).encode()


def _read_disclosure(encoded: bytes) -> Disclosure:
    match strict.loads(unb64(encoded)):
        case [str(salt), str(name), value]:
            pass
        case _:
            raise Refusal("disclosure", "a disclosure is [salt, name, value], with salt and name as strings")
    if name in _RESERVED:
        raise Refusal("disclosure", f"a disclosed field cannot have the reserved name {name}")
    # any text is a salt (RFC 9901 §4.2.1); what it is worth is judged by six bits a character, as base64url has
    if 6 * len(salt) < 8 * MIN_SALT:
        raise Refusal("disclosure", f"the salt of {name[:64]!a} has less than {8 * MIN_SALT} bits")
    return Disclosure(encoded, salt, name, value)


def _refuse_reserved(value: Any) -> None:
    """No digests in any other place: what is signed as a digest there would stay hidden from every check."""
    if type(value) is dict:
        if not _RESERVED.isdisjoint(value):
            raise Refusal("disclosure", f"the reserved names {', '.join(sorted(_RESERVED))} are out of place here")
        value = value.values()
    for item in value:
        if type(item) is dict or type(item) is list:
            _refuse_reserved(item)
