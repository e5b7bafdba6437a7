"""JSON Web Signatures of our profile (RFC 7515): Ed25519 only, strict, with a header of exactly alg, typ and kid.

`alg` is fixed by the profile and the key by the registry, so a message can choose neither (RFC 8725). The typ keeps a
signature made for one purpose from being used for another. Reading checks form only; whoever knows the key calls
`envelope.verify` with the signing input.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.core import strict
from hub.core.errors import Refusal
from hub.core.strict import b64, unb64

ALG = "Ed25519"
SIGNATURE_BYTES = 64
MAX_COMPACT = 262_144  # an acknowledgement of a thousand deliveries, with room
_MAX_HEADER = 512
_MAX_KID = 128


@dataclass(frozen=True, slots=True)
class Compact:
    """A read, not yet verified, compact JWS. digest: SHA-256 of its bytes."""

    header: dict[str, Any]
    payload: dict[str, Any]
    signing_input: bytes
    signature: bytes
    digest: bytes

    @property
    def kid(self) -> str:
        kid: str = self.header["kid"]
        return kid


@dataclass(frozen=True, slots=True)
class General:
    """A read, not yet verified, JWS of several signatures. digest: SHA-256 of the payload bytes.

    signatures: (kid, signing input, signature) in document order; every kid once.
    """

    payload_bytes: bytes
    payload: dict[str, Any]
    signatures: tuple[tuple[str, bytes, bytes], ...]
    digest: bytes


def sign_compact(payload: dict[str, Any], *, typ: str, kid: str, key: Ed25519PrivateKey) -> bytes:
    """A compact JWS over the canonical JSON of the payload."""
    signing_input = f"{_protected(typ, kid)}.{b64(strict.dumps(payload))}".encode()
    return signing_input + b"." + b64(key.sign(signing_input)).encode()


def read_compact(raw: bytes, *, typ: str, max_bytes: int = MAX_COMPACT) -> Compact:
    """Take a compact JWS apart. Raises Refusal: too-large, malformed, header."""
    if len(raw) > max_bytes:
        raise Refusal("too-large", f"{len(raw)} bytes of JWS, at most {max_bytes} are accepted")
    parts = raw.split(b".")
    if len(parts) != 3:
        raise Refusal("malformed", f"a compact JWS has three parts between dots, this has {len(parts)}")
    header = _read_header(parts[0], typ)
    payload = _read_object(unb64(parts[1]), "the JWS payload", max_bytes)
    return Compact(
        header=header,
        payload=payload,
        signing_input=raw[: -len(parts[2]) - 1],
        signature=_read_signature(parts[2]),
        digest=sha256(raw).digest(),
    )


def sign_general(payload: bytes, signers: Iterable[tuple[str, Ed25519PrivateKey]], typ: str) -> dict[str, Any]:
    """A JWS in general JSON serialisation (RFC 7515 §7.2.1): exact payload bytes, one signature per signer."""
    encoded = b64(payload)
    return {"payload": encoded, "signatures": [_signature(encoded, typ, kid, key) for kid, key in signers]}


def add_signature(doc: dict[str, Any], kid: str, key: Ed25519PrivateKey) -> dict[str, Any]:
    """The document with one signature more, of the same typ; the given document is left as it is.

    Raises Refusal "malformed" for a document without a signature to take the typ from.
    """
    try:
        typ = str(strict.loads(unb64(doc["signatures"][0]["protected"]))["typ"])
    except (KeyError, IndexError, TypeError):
        raise Refusal("malformed", "there is no signature to take the typ from: begin with sign_general") from None
    read_general(doc, typ)
    return {**doc, "signatures": [*doc["signatures"], _signature(doc["payload"], typ, kid, key)]}


def read_general(doc: bytes | dict[str, Any], typ: str, *, max_bytes: int = strict.MAX_BYTES) -> General:
    """Take a general JWS apart: from bytes, or from a document that strict parsing made.

    Raises Refusal: too-large (max_bytes holds for bytes), malformed, header.
    """
    document = doc if isinstance(doc, dict) else _read_object(doc, "the JWS document", max_bytes)
    entries = document.get("signatures")
    if document.keys() != {"payload", "signatures"} or not isinstance(entries, list) or not entries:
        raise Refusal("malformed", "a JWS document has exactly the members payload and signatures (one or more)")
    payload_bytes = unb64(document["payload"])
    payload = _read_object(payload_bytes, "the JWS payload", max_bytes)
    encoded = document["payload"].encode()
    signatures = tuple(_read_entry(entry, encoded, typ) for entry in entries)
    if len({kid for kid, _, _ in signatures}) != len(signatures):
        raise Refusal("malformed", "two signatures of the same kid: each key signs once")
    return General(payload_bytes, payload, signatures, sha256(payload_bytes).digest())


def _protected(typ: str, kid: str) -> str:
    return b64(strict.dumps({"alg": ALG, "kid": kid, "typ": typ}))


def _signature(encoded: str, typ: str, kid: str, key: Ed25519PrivateKey) -> dict[str, str]:
    protected = _protected(typ, kid)
    return {"protected": protected, "signature": b64(key.sign(f"{protected}.{encoded}".encode()))}


def _read_entry(entry: Any, encoded: bytes, typ: str) -> tuple[str, bytes, bytes]:
    # no unprotected header: it would be unsigned, and readers would differ in whether they believe it
    whole = isinstance(entry, dict) and entry.keys() == {"protected", "signature"}
    if not whole or not isinstance(entry["protected"], str):
        raise Refusal("malformed", "a signature has exactly the members protected and signature")
    header = _read_header(entry["protected"], typ)
    return header["kid"], entry["protected"].encode() + b"." + encoded, _read_signature(entry["signature"])


def _read_header(segment: str | bytes, typ: str) -> dict[str, Any]:
    return dict(_parse_header(segment, typ))


@lru_cache(maxsize=1024)  # a key signs every notice under the same header; refusals are not kept, so it stays small
def _parse_header(segment: str | bytes, typ: str) -> dict[str, Any]:
    header = _read_object(unb64(segment), "the JWS header", _MAX_HEADER)
    kid = header.get("kid")
    if header.keys() != {"alg", "typ", "kid"} or header["alg"] != ALG or header["typ"] != typ:
        raise Refusal("header", f'the JWS header must be exactly {{"alg":"{ALG}","typ":"{typ}","kid":…}}')
    if not isinstance(kid, str) or not 0 < len(kid) <= _MAX_KID:
        raise Refusal("header", f"the kid must be a string of 1 to {_MAX_KID} characters")
    return header


def _read_object(data: bytes, what: str, max_bytes: int) -> dict[str, Any]:
    value = strict.loads(data, max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise Refusal("malformed", f"{what} is not a JSON object")
    return value


def _read_signature(segment: str | bytes) -> bytes:
    signature = unb64(segment)
    if len(signature) != SIGNATURE_BYTES:
        raise Refusal("malformed", f"a signature has {SIGNATURE_BYTES} bytes, this has {len(signature)}")
    return signature
