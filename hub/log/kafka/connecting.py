"""Connecting to a cluster: what aiokafka's clients are given, what their errors mean, and how long anything may take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any, TypeVar

from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.helpers import create_ssl_context

from hub.core.address import KafkaAddress
from hub.log import Unavailable

T = TypeVar("T")


def options(address: KafkaAddress) -> dict[str, Any]:
    """What aiokafka's clients take. Unavailable when a file cannot be read or is no certificate."""
    given: dict[str, Any] = {"bootstrap_servers": list(address.brokers), "security_protocol": address.security}
    try:
        if address.security != "PLAINTEXT":
            given["ssl_context"] = create_ssl_context(
                cafile=address.ca, certfile=address.cert, keyfile=address.key or address.cert
            )
        if address.security == "SASL_SSL":
            password = Path(address.password_file or "").read_text(encoding="utf-8").rstrip("\r\n")
            given |= {
                "sasl_mechanism": "SCRAM-SHA-512",
                "sasl_plain_username": address.user,
                "sasl_plain_password": password,
            }
    except (OSError, ValueError) as error:
        where = getattr(error, "filename", None) or "; ".join(filter(None, (address.ca, address.cert, address.key)))
        raise Unavailable(f"{address}: {error}; check the files that the address names ({where})") from error
    return given


def unavailable(address: object, error: BaseException) -> Unavailable:
    """What a client of the log is told: what happened, where, what to do."""
    if isinstance(error, TopicAuthorizationFailedError):
        return Unavailable(f"{address}: this principal may not use {error}; run `comity topics apply`")
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return Unavailable(f"{address}: {told}; see whether the brokers run and can be reached, then try again")


async def within(seconds: float, work: Awaitable[T], what: str) -> T:
    """The result of `work`; Unavailable when there is none in time. Not `wait_for`: it waits for what it cancelled."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    except asyncio.CancelledError:
        task.cancel()
        raise
    if not done:
        task.cancel()
        raise Unavailable(f"{what} was not answered in {seconds:.0f} s: the brokers are frozen or cut off")
    return task.result()


async def gather(calls: list[Awaitable[T]]) -> list[T]:
    """All of them; when one fails, the others are not left behind."""
    if len(calls) == 1:
        return [await calls[0]]
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()


async def bounded(work: Awaitable[Any], seconds: float) -> bool:
    """Whether it ended in time; what it raised is dropped. For endings, which may hang on a dead broker.

    Not `wait_for`: that waits for the task it has cancelled.
    """
    task = asyncio.ensure_future(work)
    done, _ = await asyncio.wait({task}, timeout=seconds)
    if not done:
        task.cancel()
        return False
    return not task.cancelled() and task.exception() is None
