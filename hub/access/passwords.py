"""Passwords of new users, each in a file of its own: `<user>.password`, 0600, for the operator to hand over."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from hub.core.errors import ComityError

BYTES = 32  # 256 bits: beyond guessing, so what it is hashed with need not be slow


class SecretsError(ComityError):
    """A password cannot be kept; the message says where and why."""


def new_password() -> str:
    return secrets.token_urlsafe(BYTES)


def path_of(directory: Path, user: str) -> Path:
    return directory / f"{user}.password"


def keep(directory: Path, user: str, password: str) -> Path:
    """Write it, whole or not at all, and durable: a user whose password nobody knows would have to be made again."""
    target = path_of(directory, user)
    scratch = target.with_name(f".{target.name}.new")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch.unlink(missing_ok=True)
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(handle, f"{password}\n".encode())
            os.fsync(handle)
        finally:
            os.close(handle)
        scratch.replace(target)
        _sync(directory)
    except OSError as error:
        raise SecretsError(
            f"cannot keep the password of {user} in {target}: {error.strerror}; name a directory that you may write to"
        ) from None
    return target


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
