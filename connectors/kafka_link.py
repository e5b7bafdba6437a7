"""One connection to a Kafka cluster, kept: opened when it is first needed, given up when it is silent or broken, opened anew.

aiokafka hides a frozen or cut connection: it repeats its requests without end, and its endings wait for them. So every
call is bounded here, by `asyncio.wait` and not by `wait_for`, which waits for what it has cancelled; and a client that
failed or was silent is never used again.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.conn import create_conn
from aiokafka.errors import (
    AuthenticationFailedError,
    ClusterAuthorizationFailedError,
    ConsumerStoppedError,
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)
from aiokafka.helpers import create_ssl_context

from connectors.errors import AuthenticationFailed, ConnectorError, Refused, UnexpectedAnswer, Unreachable
from hub.core.address import KafkaAddress

REQUEST_SECONDS = 10.0  # a broker that does not answer by then is taken for frozen
START_SECONDS = 15.0  # a topic that is missing is known after REQUEST_SECONDS
STOP_SECONDS = 3.0
FIRST_PAUSE, LONGEST_PAUSE = 0.1, 10.0  # seconds
_REFUSED = (AuthenticationFailedError, SaslAuthenticationFailed, UnsupportedSaslMechanismError)
_NOT_OF_A_CONNECTION = ("bootstrap_servers", "metadata_max_age_ms")
_DENIED = (TopicAuthorizationFailedError, ClusterAuthorizationFailedError)

C = TypeVar("C", AIOKafkaProducer, AIOKafkaConsumer)
T = TypeVar("T")
log = logging.getLogger("connectors")


class Silent(Exception):  # noqa: N818
    """No answer in time. Another connection may bring one."""


def options(address: KafkaAddress) -> dict[str, Any]:
    """What aiokafka's clients take. ConnectorError when a file cannot be read, or is not what it should be."""
    given: dict[str, Any] = {
        "bootstrap_servers": list(address.brokers), "security_protocol": address.security,
        "request_timeout_ms": int(REQUEST_SECONDS * 1000), "metadata_max_age_ms": 60_000,
    }  # fmt: skip
    try:
        if address.security != "PLAINTEXT":
            given["ssl_context"] = create_ssl_context(
                cafile=address.ca, certfile=address.cert, keyfile=address.key or address.cert
            )
        if address.security == "SASL_SSL":
            password = Path(address.password_file or "").read_text(encoding="utf-8").removesuffix("\n")
            given |= {
                "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": address.user, "sasl_plain_password": password
            }  # fmt: skip
    except (OSError, ValueError) as error:
        files = (address.ca, address.cert, address.key, address.password_file)
        named = getattr(error, "filename", None) or ", ".join(filter(None, files))
        raise ConnectorError(f"{address}: {error}; look at the files that the address names: {named}") from None
    return given


async def bounded(work: Awaitable[T], seconds: float, what: str) -> T:
    """The result of `work`; Silent when there is none in time."""
    task = asyncio.ensure_future(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=max(0.0, seconds))
    finally:
        if not task.done():
            task.cancel()
            task.add_done_callback(_retrieve)
    if not done:
        raise Silent(f"no answer to {what} in {seconds:.0f} s")
    if task.cancelled():  # not by us: aiokafka lets a cancellation of its own out
        raise Silent(f"{what} was given up")
    return task.result()


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Nobody asks any more how it ended."""
    if not task.cancelled():
        task.exception()


class Link(Generic[C]):
    """The connection of one topic. make: gives a new client, not started. role: for messages, what the topic is to us."""

    def __init__(self, address: KafkaAddress, topic: str, role: str, make: Callable[[dict[str, Any]], C]) -> None:
        self.address, self.topic = address, topic
        self._role, self._make, self._options = role, make, options(address)
        self._opening: asyncio.Task[C] | None = None  # also when it is done: then it holds the client
        self._endings: set[asyncio.Task[None]] = set()
        self._closed = False

    async def use(self, work: Callable[[C], Awaitable[T]], patience: float) -> T:
        """Do `work` with the connection, on a new one while nothing is decided.

        Raises Unreachable after `patience` seconds; Refused, AuthenticationFailed and UnexpectedAnswer at once.
        """
        deadline, pause = time.monotonic() + patience, FIRST_PAUSE
        while not self._closed:
            opening = self._opening = self._opening or asyncio.create_task(self._open())
            try:
                await asyncio.wait({opening})  # bounded in itself; not ours to cancel, others wait for it too
                if opening.cancelled():
                    break
                return await work(opening.result())
            except (KafkaError, ConsumerStoppedError, OSError, Silent, AssertionError) as error:
                worked = self._give_up(opening)
                if (final := self.judge(error)) is not None:
                    raise final from error
                cause = str(error) if isinstance(error, Silent) else f"{type(error).__name__} {error}".strip()
            wait = random.uniform(pause / 2, pause)  # noqa: S311 - jitter
            if time.monotonic() + wait > deadline:
                raise Unreachable(
                    f"{self.address}: {self.topic}: nothing decided in time, last: {cause}; "
                    "check the address and the network, then do the same again: nothing is doubled"
                )
            level = logging.WARNING if worked else logging.INFO
            log.log(level, "%s: %s: %s; again in %.1f s", self.address, self.topic, cause, wait)
            await asyncio.sleep(wait)
            pause = min(pause * 2, LONGEST_PAUSE)
        raise ConnectorError(f"{self.address}: this client is closed")

    def judge(self, error: BaseException) -> ConnectorError | None:
        """What is final; None for what may be otherwise the next time."""
        match error:
            case UnknownTopicOrPartitionError():
                detail = (
                    f"{self.address} has no topic {self.topic}, or not for us: is this agency enrolled, at this hub?"
                )
                return Refused(
                    "not-found", f"{detail} its operator makes topics with `comity topics apply`", status=404
                )
            case MessageSizeTooLargeError():
                return UnexpectedAnswer(
                    f"{self.address}: {self.topic} takes less than a notice may have; its operator mends that with "
                    "`comity topics apply`"
                )
            case _ if isinstance(error, _DENIED):
                detail = f"{self.address} does not let us {self._role} {self.topic}: ask the hub's operator"
                return Refused("forbidden", detail, status=403)
            case _ if isinstance(error, _REFUSED):
                return AuthenticationFailed(f"{self.address} does not let us in: {error}; see user and password-file")
            case ssl.SSLCertVerificationError():
                return UnexpectedAnswer(
                    f"{self.address}: the broker's certificate does not hold: {error.verify_message}; "
                    "name the authority that signed it with ca=FILE, and the broker as its certificate does"
                )
            case ssl.SSLError() if "ALERT" in (error.reason or ""):
                return AuthenticationFailed(
                    f"{self.address} does not take our certificate: {error.reason}; name a good one with cert=FILE"
                )
            case ssl.SSLError():
                return UnexpectedAnswer(f"{self.address} does not speak TLS: {error.reason}; see which port is which")
        return None

    async def close(self) -> None:
        self._closed = True
        if (opening := self._opening) is not None:
            self._give_up(opening)
            opening.cancel()  # one that is open is not harmed
            await asyncio.wait({opening})
            await asyncio.sleep(0)  # for its callback
        if self._endings:
            await asyncio.wait(self._endings, timeout=START_SECONDS)

    async def _open(self) -> C:
        client = self._make(self._options)
        try:
            await bounded(client.start(), START_SECONDS, "a connection")
            partitions = await bounded(_partitions(client, self.topic), START_SECONDS, "a question for the topic")
        except BaseException as error:
            self._end(client)
            if isinstance(error, KafkaConnectionError | Silent):
                raise await self._cause() from error
            raise
        if partitions != {0}:
            self._end(client)
            raise UnexpectedAnswer(f"{self.address}: {self.topic} has {len(partitions)} partitions, and must have one")
        return client

    async def _cause(self) -> BaseException:
        """Why none of the brokers lets us in: aiokafka says only that it is so. What is final comes before what is not."""
        settings = {name: self._options[name] for name in self._options if name not in _NOT_OF_A_CONNECTION}
        causes: list[BaseException] = []
        for broker in self.address.brokers:
            host, _, port = broker.rpartition(":")
            shaking = create_conn(host.strip("[]"), int(port), **settings)
            try:
                connection = await bounded(shaking, START_SECONDS / 3, "a handshake")
                connection.close()
                causes.append(Silent(f"{broker} greets us and then hangs up; does it want a password (kafka+sasl://)?"))
            except (KafkaError, OSError, Silent, TimeoutError) as error:
                causes.append(error.__cause__ or error)
                if isinstance(error.__cause__, EOFError):
                    causes[-1] = Silent(
                        f"{broker} hangs up before it answers; does it want TLS, or another certificate?"
                    )
        return next((each for each in causes if self.judge(each) is not None), causes[0])

    def _give_up(self, opening: asyncio.Task[C]) -> bool:
        """Never use this connection again; whoever comes next opens another. Whether it is news that it is lost."""
        if self._opening is not opening:
            return False
        self._opening = None
        opening.add_done_callback(self._end_opened)
        return opening.done() and not opening.cancelled() and opening.exception() is None

    def _end_opened(self, opening: asyncio.Task[C]) -> None:
        if not opening.cancelled() and opening.exception() is None:
            self._end(opening.result())

    def _end(self, client: C) -> None:
        """In the background: it may take its time."""
        ending = asyncio.create_task(_end(client))
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)


async def _partitions(client: AIOKafkaProducer | AIOKafkaConsumer, topic: str) -> set[int]:
    if isinstance(client, AIOKafkaProducer):
        return set(await client.partitions_for(topic))
    return set(client.partitions_for_topic(topic) or ())


async def _end(client: AIOKafkaProducer | AIOKafkaConsumer) -> None:
    """Stop a client, or what can be reached of it when it does not stop by itself."""
    try:
        await bounded(client.stop(), STOP_SECONDS, "the end of a connection")
    except Exception as error:
        log.debug("a connection did not end by itself: %r", error)
        if isinstance(client, AIOKafkaProducer):
            await _discard(client)


async def _discard(producer: AIOKafkaProducer) -> None:
    """A producer that cannot flush would look for brokers for ever: let it hear that there are none."""

    async def dead(*_: Any, **__: Any) -> Any:
        raise KafkaError("given up")

    producer.client.send = producer.client.ready = dead
    sender = producer._sender.sender_task
    for _ in range(3):  # it waits for its own tasks when it is cancelled: again, until it lets go of them
        if sender is not None and not sender.done():
            sender.cancel()
            await asyncio.wait({sender}, timeout=0.2)
    if sender is not None:
        sender.add_done_callback(_retrieve)
    try:
        await bounded(producer.client.close(), STOP_SECONDS, "the end of a connection")
    except Exception as error:
        log.debug("a connection stays open: %r", error)
