"""A hub's name and keys: from the settings, from files, or made when the hub is founded.

The hub's key signs checkpoints, receipts and lapses; the operator's signs enrolments, and together they sign the founding.
A process has the keys that its parts need and no others: a router needs none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from dataclasses import dataclass

import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import SecretStr

from hub.clock import Clock
from hub.config import Settings
from hub.core.registry import Registry
from hub.datadir import DataDir, DataDirError, read_key
from hub.follow import Follower
from hub.log import Fenced, Log
from hub.registry import HUB_KID, RegistryProcess

PATIENCE = 120.0  # seconds that a process waits for another to found the hub
LOOK = 0.5

logger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Keys:
    origin: str
    hub: Ed25519PrivateKey | None
    operator: Ed25519PrivateKey | None

    def need(self, name: str) -> Ed25519PrivateKey:
        key = self.hub if name == "hub" else self.operator
        if key is None:
            raise DataDirError(f"this process has no {name} key: name its file in COMITY_{name.upper()}_KEY_FILE")
        return key


async def found_embedded(settings: Settings, directory: DataDir, log: Log, _parts: Collection[str]) -> Keys:
    """Keys and name of the hub of a data directory; new ones for one not yet founded, which its registry will found."""
    explicit = "origin" in settings.model_fields_set
    origin = directory.fixed("origin", settings.origin, explicit=explicit)
    follower = Follower(log)
    await follower.catch_up()
    hub = _key("hub", settings.hub_key, directory, follower.registry)
    operator = _key("operator", settings.operator_key, directory, follower.registry)
    _check(hub, follower.registry, str(directory.path))
    return Keys(origin, hub, operator)


async def found_on_kafka(settings: Settings, directory: DataDir, log: Log, parts: Collection[str]) -> Keys:
    """The same on a cluster: whoever has the registry founds the hub, everybody else waits for that.

    DataDirError when a key is missing or another one, or the hub has another name than the settings say.
    """
    follower = Follower(log)
    await follower.catch_up()
    registry = follower.registry
    if not registry.position and "registry" in parts:
        hub = _key("hub", settings.hub_key, directory, registry)
        operator = _key("operator", settings.operator_key, directory, registry)
        await _found(log, hub, operator, settings.origin)
    deadline = time.monotonic() + PATIENCE
    while not await follower.catch_up() and not registry.position:
        if time.monotonic() > deadline:
            raise DataDirError("this hub is not founded yet: start `comity registry`, with both keys, on this cluster")
        logger.info("waiting for the hub to be founded")
        await asyncio.sleep(LOOK)
    origin = registry.origin or settings.origin
    if "origin" in settings.model_fields_set and settings.origin != origin:
        raise DataDirError(f"the hub on this cluster is {origin}, not {settings.origin}: set COMITY_ORIGIN={origin}")
    found = _given(settings.hub_key, "COMITY_HUB_KEY") or directory.key("hub")
    if found is not None:
        _check(found, registry, "the cluster")
    operator_key = _given(settings.operator_key, "COMITY_OPERATOR_KEY") or directory.key("operator")
    return Keys(origin, found, operator_key)


async def _found(log: Log, hub: Ed25519PrivateKey, operator: Ed25519PrivateKey, origin: str) -> None:
    """Two processes may do this at once: the claim lets one found the hub, and the other finds that done."""
    while True:
        process = RegistryProcess(log, hub, Clock())
        try:
            await process.found(origin, operator)
            await process.close()
            return
        except Fenced:
            logger.info("another process founds the hub at the same time")


def _key(name: str, given: SecretStr | None, directory: DataDir, registry: Registry) -> Ed25519PrivateKey:
    key = _given(given, f"COMITY_{name.upper()}_KEY") or directory.key(name)
    if key is None and registry.keys.get(HUB_KID) is not None:
        where = f"{directory.path}/keys/{name}.pem"
        raise DataDirError(f"{where} is missing, and this hub was founded with it: restore it from your backup")
    if key is None:
        key = Ed25519PrivateKey.generate()
        directory.keep_key(name, key)
    return key


def _check(hub: Ed25519PrivateKey, registry: Registry, where: str) -> None:
    registered = registry.keys.get(HUB_KID)
    if registered is not None and registered.public != hub.public_key().public_bytes_raw():
        raise DataDirError(f"the hub key is not the one that {where} was founded with: restore keys/hub.pem")


def _given(secret: SecretStr | None, variable: str) -> Ed25519PrivateKey | None:
    return None if secret is None else read_key(secret.get_secret_value().encode(), variable)
