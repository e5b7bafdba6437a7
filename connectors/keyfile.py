"""The partner's key and its file: all that an agency needs to be itself.

The file is JSON, `{"agency":"us-cisa","kid":"us-cisa/2026-1","key":"-----BEGIN PRIVATE KEY-----…"}`, mode 0600. One
that others can read is refused: whoever has it can sign as the agency.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from connectors.errors import KeyFileError
from hub.core import strict
from hub.core.errors import Refusal

_AGENCY = re.compile(r"operator|[a-z]{2}-[a-z0-9-]{2,40}")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,40}")
_PRIVATE = stat.S_IRWXG | stat.S_IRWXO
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class PartnerKey:
    """An agency's Ed25519 key with its registered id. The private part is in no repr."""

    agency: str
    kid: str
    private: Ed25519PrivateKey = field(repr=False)

    def __post_init__(self) -> None:
        owner, _, name = self.kid.partition("/")
        if not _AGENCY.fullmatch(self.agency):
            raise KeyFileError(f"agency {self.agency[:60]!r}: two letters of ISO 3166-1, a dash, a short name: us-cisa")
        if owner != self.agency or not _NAME.fullmatch(name):
            raise KeyFileError(f"kid {self.kid[:60]!r}: must be {self.agency}/ and a name such as 2026-1")

    @classmethod
    def generate(cls, agency: str, name: str) -> PartnerKey:
        """A fresh key, for example of us-cisa under the name 2026-1. Nothing is written; KeyFileError for bad names."""
        return cls(agency, f"{agency}/{name}", Ed25519PrivateKey.generate())

    @classmethod
    def from_pem(cls, kid: str, pem: bytes, where: str = "the key") -> PartnerKey:
        """From an unencrypted PKCS 8 PEM. `where` names it in a KeyFileError."""
        try:
            private = load_pem_private_key(pem, password=None)
        except (ValueError, TypeError):
            raise KeyFileError(
                f"{where}: not an unencrypted PKCS 8 PEM; restore it, or make and register a new key"
            ) from None
        if not isinstance(private, Ed25519PrivateKey):
            raise KeyFileError(f"{where}: not an Ed25519 key; make one with `comity key new`")
        return cls(kid.partition("/")[0], kid, private)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> PartnerKey:
        """From a key file; KeyFileError when it is missing, broken or readable by others."""
        file = Path(path)
        try:
            with file.open("rb") as handle:
                mode = os.fstat(handle.fileno()).st_mode  # of the file that is open, not of whatever has its name now
                content = handle.read(65_536)
        except OSError as error:
            raise KeyFileError(f"cannot read the key file {file}: {error.strerror}") from None
        if mode & _PRIVATE:
            raise KeyFileError(
                f"{file} can be read by others (mode {mode & 0o777:o}): chmod 600 it, and rotate the key"
            )
        try:
            said: Any = strict.loads(content)
        except Refusal as refusal:
            raise KeyFileError(f"{file} is not a key file: {refusal.detail}") from None
        members = ("agency", "kid", "key")
        whole = isinstance(said, dict) and said.keys() == set(members)
        if not whole or not all(isinstance(said[member], str) for member in members):
            raise KeyFileError(f"{file} is not a key file: JSON with exactly the texts agency, kid and key")
        loaded = cls.from_pem(said["kid"], said["key"].encode(), str(file))
        if loaded.agency != said["agency"]:
            raise KeyFileError(f"{file}: the kid {said['kid'][:60]} is not one of {said['agency'][:60]}")
        return loaded

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the key file, mode 0600, whole and durable; never over another (KeyFileError)."""
        file = Path(path)
        pem = self.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        content = strict.dumps({"agency": self.agency, "kid": self.kid, "key": pem}) + b"\n"
        scratch = file.with_name(f".{file.name}.{os.getpid()}.new")
        try:
            handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                os.write(handle, content)
                os.fsync(handle)
            finally:
                os.close(handle)
            file.hardlink_to(scratch)  # a link never replaces what is there
        except FileExistsError:
            raise KeyFileError(f"{file} is there already: keys are never overwritten; choose another name") from None
        except OSError as error:
            raise KeyFileError(f"cannot write the key file {file}: {error.strerror}") from None
        finally:
            with contextlib.suppress(OSError):
                scratch.unlink()
        return file

    @property
    def public(self) -> bytes:
        """32 bytes."""
        return self.private.public_key().public_bytes_raw()

    def claim(self, *, not_before: int, days: int = 730) -> dict[str, Any]:
        """The public key as statements register it, valid from `not_before` (ms) for so many days."""
        return {
            "kid": self.kid, "alg": "Ed25519", "x": strict.b64(self.public),
            "not_before": not_before, "not_after": not_before + days * DAY_MS,
        }  # fmt: skip
