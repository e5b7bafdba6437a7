"""Passwords of new users, each in a file of its own: `<user>.password`, 0600, for the operator to hand over."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import AsyncIterator
from pathlib import Path

from hub.core.errors import ComityError

LOCK_SECONDS = 30.0
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


@contextlib.asynccontextmanager
async def alone(directory: Path) -> AsyncIterator[None]:
    """One at a time makes users: else one's password could be in the file, and another's on the cluster. SecretsError."""
    handle = _open(directory)
    try:
        deadline = time.monotonic() + LOCK_SECONDS
        while not _locked(handle):
            if time.monotonic() > deadline:
                raise SecretsError(f"another process has been making users in {directory} for long: see what it does")
            await asyncio.sleep(0.05)
        yield
    finally:
        os.close(handle)  # and with it goes the lock


def _open(directory: Path) -> int:
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise SecretsError(
            f"cannot keep passwords in {directory}: {error.strerror}; name a directory that you may write to"
        ) from None


def _locked(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
