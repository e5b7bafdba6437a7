"""A Kafka cluster's topics, access lists and users: read, and changed.

kafka-python has a thread of its own and blocks; here its calls run in threads, and every one is waited for in bounded time.

    Denied          the cluster does not let us: other credentials are needed
    Unavailable     no broker answers in time, or none believes us (hub.log)
"""

from __future__ import annotations

import contextlib
import logging
import re
import ssl
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

from kafka.admin import (
    ACLFilter,
    ACLOperation,
    ACLPermissionType,
    ACLResourcePatternType,
    ConfigResource,
    ConfigResourceType,
    KafkaAdminClient,
    ResourcePatternFilter,
    ResourceType,
)
from kafka.errors import AuthorizationError, KafkaError, SecurityDisabledError

from hub.access.changes import Change, There, Topic
from hub.access.making import Made, Password, make, read
from hub.access.plan import Acl
from hub.access.threads import call_in_thread
from hub.core.address import KafkaAddress
from hub.core.errors import ComityError
from hub.log import Unavailable
from hub.log.topics import PREFIX, configs

REQUEST_SECONDS = 8.0
OPEN_SECONDS = 8.0
CALL_SECONDS = 20.0  # a few requests one after the other
CLOSE_SECONDS = 3.0
AT_ONCE = 200  # changes of one kind in one request
_WHY = re.compile(r"Bootstrap connection to \S+ failed: (.*?)(?: \(backoff .*)?")
T = TypeVar("T")


class Denied(ComityError):  # noqa: N818
    """The cluster does not let us look or change; the message says what, and what to do."""


class Cluster:
    """Made by `open`; `close` it. Belongs to one event loop."""

    def __init__(self, address: KafkaAddress, admin: KafkaAdminClient, ear: _Ear) -> None:
        self.address = address
        self._admin = admin
        self._ear = ear

    @classmethod
    async def open(cls, address: KafkaAddress) -> Cluster:
        """Unavailable: no broker can be reached, or none believes us; the message says which."""
        options, ear = _options(address), _Ear()
        connect, wait = partial(KafkaAdminClient, **options), OPEN_SECONDS + 1
        try:
            admin = await call_in_thread(connect, seconds=wait, discard=KafkaAdminClient.close)
            return cls(address, admin, ear)
        except (KafkaError, OSError) as error:
            ear.stop()
            raise Unavailable(
                f"{address}: {ear.heard or error}; see whether the brokers run, and whether user, password and files "
                "in the address are right"
            ) from None

    async def close(self) -> None:
        with contextlib.suppress(KafkaError, OSError):
            await call_in_thread(self._admin.close, seconds=CLOSE_SECONDS)
        self._ear.stop()

    async def read(self) -> There:
        """What a plan is held against."""
        return await self._ask("look at topics, access lists and users", self._read)

    async def apply(self, changes: Sequence[Change], password: Password) -> list[Made]:
        """Make changes, in this order. One that fails does not keep the others from being made: access must still end.

        Unavailable: which of them were made is not known; read again.
        """
        made: list[Made] = []
        for _, alike in groupby(changes, key=type):
            for some in _portions(alike):
                made += await self._ask("change that", make, self._admin, some, password)
        return made

    async def _ask(self, what: str, call: Callable[..., T], *given: Any) -> T:
        try:
            return await call_in_thread(call, *given, seconds=CALL_SECONDS)
        except AuthorizationError as error:
            raise Denied(
                f"{self.address}: this user may not {what} ({type(error).__name__}); run it as the cluster's administrator"
            ) from None
        except (KafkaError, OSError) as error:
            told = f"{type(error).__name__}: {error}"
            raise Unavailable(f"{self.address}: cannot {what}: {told}; see whether the brokers run") from None

    def _read(self) -> There:
        # The access lists first: who may not see them is told so at once, about users only after REQUEST_SECONDS.
        acls, users = _acls(self._admin), None
        if acls is not None:
            users = _users(self._admin)
        return There(_topics(self._admin), acls, users)


def _acls(admin: KafkaAdminClient) -> frozenset[Acl] | None:
    everything = ResourcePatternFilter(ResourceType.ANY, None, ACLResourcePatternType.ANY)
    try:
        found, _ = admin.describe_acls(ACLFilter(None, None, ACLOperation.ANY, ACLPermissionType.ANY, everything))
    except SecurityDisabledError:
        return None
    return frozenset(map(read, found))


def _users(admin: KafkaAdminClient) -> dict[str, frozenset[str]]:
    found = admin.describe_user_scram_credentials()
    return {
        name: frozenset(each["mechanism"].name for each in told["credential_infos"]) for name, told in found.items()
    }


def _topics(admin: KafkaAdminClient) -> dict[str, Topic]:
    ours = {each["name"]: each["partitions"] for each in admin.describe_topics() if each["name"].startswith(PREFIX)}
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name, list(configs(name, 1))) for name in ours]
    answer = admin.describe_configs(wanted, config_filter="all").get("topic", {}) if wanted else {}
    return {
        name: Topic(
            len(partitions),
            max((len(each["replica_nodes"]) for each in partitions), default=0),
            {key: told["value"] for key, told in answer.get(name, {}).items()},
        )
        for name, partitions in ours.items()
    }


def _options(address: KafkaAddress) -> dict[str, Any]:
    """What the admin client takes. Unavailable when a file that the address names cannot be used."""
    options: dict[str, Any] = {
        "bootstrap_servers": list(address.brokers), "security_protocol": address.security, "client_id": "comity-access",
        "request_timeout_ms": int(REQUEST_SECONDS * 1000), "bootstrap_timeout_ms": int(OPEN_SECONDS * 1000),
        "reconnect_backoff_max_ms": 1000,
    }  # fmt: skip
    try:
        if address.security != "PLAINTEXT":
            options["ssl_context"] = context = ssl.create_default_context(cafile=address.ca)
            if address.cert is not None:
                context.load_cert_chain(address.cert, address.key)
        if address.password_file is not None:
            options |= {
                "sasl_mechanism": "SCRAM-SHA-512", "sasl_plain_username": address.user,
                "sasl_plain_password": Path(address.password_file).read_text(encoding="utf-8").rstrip("\r\n"),
            }  # fmt: skip
    except (OSError, ValueError) as error:
        files = ", ".join(filter(None, (address.ca, address.cert, address.key, address.password_file)))
        raise Unavailable(f"{address}: {error}; check the files that the address names: {files}") from None
    return options


def _portions(changes: Iterable[Change]) -> Iterator[list[Change]]:
    rest = iter(changes)
    while some := list(islice(rest, AT_ONCE)):
        yield some


class _Ear(logging.Handler):
    """Keeps what kafka-python logs of why it cannot connect: it is told nowhere else. And keeps it off the screen."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: str | None = None
        self._logger = logging.getLogger("kafka")
        self._logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        found = _WHY.fullmatch(record.getMessage())
        # A broker that refused us may then only hang up: the reason is worth more.
        if found and (self.heard is None or "socket disconnected" not in found[1]):
            self.heard = found[1]

    def stop(self) -> None:
        self._logger.removeHandler(self)
