"""Signed notes and checkpoints, in the formats of C2SP (c2sp.org/signed-note, c2sp.org/tlog-checkpoint).

    hub.example              origin: the name of the log, and of the key that signs it
    1042                     size of the tree
    mK2…=                    root, standard base64
                             (an empty line ends the text)
    — hub.example x08go…=    base64 of key id ‖ Ed25519 signature over the text

Readers are strict: what has two spellings is refused, so that a checkpoint is compared by its bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from hub.core.envelope import verify
from hub.core.errors import VerificationFailed

MAX_NOTE = 1_000_000  # bytes, as in the Go implementation
MAX_SIGNATURES = 100
_ED25519 = b"\x01"
_MARK = "— "
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_VKEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+(.+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Verifier:
    """A named Ed25519 key. key_id: 4 bytes, SHA-256(name ‖ "\\n" ‖ 0x01 ‖ public key)[:4]."""

    name: str
    public: bytes

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise VerificationFailed(f"{self.name[:64]!a} cannot name a key: no spaces, no plus, not empty")
        if len(self.public) != 32:
            raise VerificationFailed(f"the key of {self.name} has {len(self.public)} bytes, an Ed25519 key has 32")

    @property
    def key_id(self) -> bytes:
        return sha256(self.name.encode() + b"\n" + _ED25519 + self.public).digest()[:4]

    def vkey(self) -> str:
        """The text form: "<name>+<key id in hex>+<base64(0x01 ‖ public key)>"."""
        return f"{self.name}+{self.key_id.hex()}+{_b64(_ED25519 + self.public)}"

    @classmethod
    def parse(cls, vkey: str) -> Verifier:
        """Raises VerificationFailed."""
        parts = _VKEY.fullmatch(vkey)
        if not parts:
            raise VerificationFailed("a verifier key has the form <name>+<key id, 8 hex digits>+<base64 key>")
        material = _unb64(parts[3], "the verifier key")
        if material[:1] != _ED25519:
            raise VerificationFailed("the verifier key is not of the type Ed25519 (0x01)")
        verifier = cls(parts[1], material[1:])
        if verifier.key_id.hex() != parts[2]:
            raise VerificationFailed(f"the key id of {verifier.name} does not match its key: the text was changed")
        return verifier


@dataclass(frozen=True, slots=True)
class Signer:
    """A named private key."""

    name: str
    key: Ed25519PrivateKey

    @property
    def verifier(self) -> Verifier:
        return Verifier(self.name, self.key.public_key().public_bytes_raw())


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The state of a log: its origin, how many entries, and the root over them (32 bytes)."""

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """The text that is signed. Raises VerificationFailed for values that do not read back."""
        text = "\n".join([self.origin, str(self.size), _b64(self.root), *self.extensions]) + "\n"
        if self.parse(text) != self:
            raise VerificationFailed("the origin or an extension holds a line break")
        return text

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Raises VerificationFailed."""
        *lines, rest = text.split("\n")
        if len(lines) < 3 or rest or not all(lines):
            raise VerificationFailed(
                "a checkpoint is the lines origin, size, root, extensions, each ended and none empty"
            )
        origin, size, root, *extensions = lines
        if not _SIZE.fullmatch(size):
            raise VerificationFailed(f"{size[:32]!a} is not a decimal size without leading zeros")
        root_hash = _unb64(root, "the root of the checkpoint")
        if len(root_hash) != 32:
            raise VerificationFailed(f"the root of the checkpoint has {len(root_hash)} bytes, not 32")
        return cls(origin, int(size), root_hash, tuple(extensions))


def sign_note(text: str, *signers: Signer) -> bytes:
    """The note of a text, which ends with a line break and holds no other control characters (else ValueError)."""
    if not _is_text(text):
        raise ValueError("the text of a note ends with a line break and holds no other control characters")
    message = text.encode()
    lines = [f"{_MARK}{s.name} {_b64(s.verifier.key_id + s.key.sign(message))}\n" for s in signers]
    return f"{text}\n{''.join(lines)}".encode()


def open_note(note: bytes, *verifiers: Verifier) -> tuple[str, list[str]]:
    """The text, and the names of the verifiers whose signature holds.

    Signatures of unknown keys are ignored. Raises VerificationFailed when the note is malformed, when a signature of a
    known key is wrong, and when none of the verifiers has signed.
    """
    text, lines = _take_apart(note)
    known = {(verifier.name, verifier.key_id): verifier for verifier in verifiers}
    verified: list[str] = []
    for line in lines:
        name, key_id, signature = _read_signature(line)
        verifier = known.get((name, key_id))
        if verifier is None:
            continue
        if not verify(verifier.public, signature, text.encode()):
            raise VerificationFailed(f"the signature of {name} does not hold")
        verified.append(name)
    if not verified:
        wanted = " or ".join(verifier.vkey() for verifier in verifiers) or "any known key"
        raise VerificationFailed(f"the note is not signed by {wanted}")
    return text, list(dict.fromkeys(verified))


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> bytes:
    """Sign as the log: the origin is the name of its key (else ValueError)."""
    if checkpoint.origin != signer.name:
        raise ValueError(f"the key {signer.name} cannot sign for the log {checkpoint.origin}")
    return sign_note(checkpoint.text(), signer)


def open_checkpoint(note: bytes, verifier: Verifier) -> Checkpoint:
    """The checkpoint that the log of this name signed. Raises VerificationFailed."""
    text, _ = open_note(note, verifier)
    checkpoint = Checkpoint.parse(text)
    if checkpoint.origin != verifier.name:
        raise VerificationFailed(f"the checkpoint is of the log {checkpoint.origin[:64]!a}, not of {verifier.name}")
    return checkpoint


def _take_apart(note: bytes) -> tuple[str, list[str]]:
    """Text and signature lines, which the last empty line parts."""
    if len(note) > MAX_NOTE:
        raise VerificationFailed(f"the note has {len(note)} bytes, at most {MAX_NOTE} are accepted")
    try:
        decoded = note.decode()
    except UnicodeDecodeError:
        raise VerificationFailed("the note is not UTF-8") from None
    text, gap, signatures = decoded.rpartition("\n\n")
    lines = signatures.split("\n")
    if not gap or lines.pop() or not lines or len(lines) > MAX_SIGNATURES or not _is_text(decoded):
        raise VerificationFailed(
            "a note is text, an empty line and 1 to 100 signature lines, without control characters"
        )
    return text + "\n", lines


def _read_signature(line: str) -> tuple[str, bytes, bytes]:
    name, space, encoded = line.removeprefix(_MARK).partition(" ")
    if not line.startswith(_MARK) or not space or not _is_name(name):
        raise VerificationFailed("a signature line has the form — <name> <base64>")
    blob = _unb64(encoded, f"the signature of {name}")
    if len(blob) < 5:
        raise VerificationFailed(f"the signature of {name} is too short")
    return name, blob[:4], blob[4:]


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and name.split() == [name]


def _is_text(text: str) -> bool:
    return text.endswith("\n") and not any(char < " " and char != "\n" for char in text)


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str, what: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise VerificationFailed(f"{what} is not base64") from None
    if _b64(data) != text:
        raise VerificationFailed(f"{what} is not base64 whose unused bits are zero")
    return data
