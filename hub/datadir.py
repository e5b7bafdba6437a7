"""The data directory of a hub on one machine: who holds it, its name, its keys.

comity.db            the log               hub.lock       locked while a hub runs; holds its pid
index.db             projection            origin         the hub's name, fixed when founded
keys/hub.pem         PKCS 8, mode 0600     hub.vkey       checkpoint verifier key, for everyone
keys/operator.pem    PKCS 8, mode 0600     moved          where the hub goes on, once it was moved to Kafka
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from hub.core.errors import ComityError


class DataDirError(ComityError):
    """The data directory cannot be used as it is; the message says what to do."""


class DataDir:
    """Paths and files. Nothing is touched before `lock`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.log = path / "comity.db"
        self.index = path / "index.db"
        self._lock: int | None = None

    def mark_moved(self, where: str) -> None:
        """This hub goes on elsewhere: it must not be started here again."""
        if not (self.path / "moved").exists():
            _write(self.path / "moved", f"{where}\n".encode(), 0o644)

    def check_not_moved(self) -> None:
        """DataDirError when the hub of this directory was moved to a cluster."""
        with contextlib.suppress(FileNotFoundError):
            where = (self.path / "moved").read_text(encoding="utf-8").strip()
            raise DataDirError(
                f"the hub of {self.path} was moved to {where}: start its processes there with COMITY_KAFKA. If that was "
                f"given up, and nothing was written there, delete {self.path / 'moved'}"
            )

    def lock(self) -> None:
        """Make the directory if need be (0700) and hold it; DataDirError when another hub does."""
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.path / "hub.lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise DataDirError(f"cannot use {self.path} as data directory: {error.strerror}") from None
        try:
            # The kernel frees it with the process, however that ends; a file left behind means nothing.
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            pid = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(handle)
            raise DataDirError(
                f"another hub (process {pid}) is running on {self.path}: stop it, or use another data directory"
            ) from None
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        self._lock = handle

    def unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def fixed(self, name: str, chosen: str, *, explicit: bool) -> str:
        """A setting that a directory keeps once and for all: what the file says, else what was chosen now.

        DataDirError when it was chosen explicitly, and otherwise than the file says.
        """
        file = self.path / name
        with contextlib.suppress(FileNotFoundError):
            kept = file.read_text(encoding="utf-8").strip()
            if explicit and kept != chosen:
                raise DataDirError(
                    f"{self.path} was founded with {name} {kept}, not {chosen}: keep COMITY_{name.upper()}={kept}, "
                    "or found another hub in another data directory"
                )
            return kept
        _write(file, f"{chosen}\n".encode(), 0o644)
        return chosen

    def key(self, name: str) -> Ed25519PrivateKey | None:
        """The private key `hub` or `operator`; None when there is none yet."""
        file = self.path / "keys" / f"{name}.pem"
        try:
            return read_key(file.read_bytes(), str(file))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataDirError(f"cannot read {file}: {error.strerror}") from None

    def keep_key(self, name: str, key: Ed25519PrivateKey) -> None:
        """Write a new key; never over an old one."""
        (self.path / "keys").mkdir(mode=0o700, exist_ok=True)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        _write(self.path / "keys" / f"{name}.pem", pem, 0o600)

    def keep_vkey(self, vkey: str) -> None:
        """Publish the checkpoint verifier key, for partners to copy."""
        file = self.path / "hub.vkey"
        if not file.exists() or file.read_text(encoding="utf-8").strip() != vkey:
            file.unlink(missing_ok=True)
            _write(file, f"{vkey}\n".encode(), 0o644)

    def size(self) -> int:
        """Bytes of its files."""
        total = 0
        for file in self.path.rglob("*"):
            with contextlib.suppress(OSError):  # a file that SQLite has just removed
                total += file.stat().st_size if file.is_file() else 0
        return total


def read_key(pem: bytes, where: str) -> Ed25519PrivateKey:
    """An Ed25519 private key; DataDirError names `where` it came from."""
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError):
        raise DataDirError(f"{where} is not an unencrypted PKCS 8 PEM key: restore it from your backup") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise DataDirError(f"{where} is not an Ed25519 key: restore it from your backup")
    return key


def _write(file: Path, content: bytes, mode: int) -> None:
    """Whole or not at all, and durable: a half-written key would be a hub that never starts again."""
    if file.exists():
        raise DataDirError(f"{file} is there already")
    scratch = file.with_name(f".{file.name}.new")
    scratch.unlink(missing_ok=True)
    handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        os.write(handle, content)
        os.fsync(handle)
    finally:
        os.close(handle)
    scratch.rename(file)
    directory = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
