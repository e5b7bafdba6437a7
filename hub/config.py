"""Configuration: read once, frozen, passed down.

Every field is the variable `COMITY_<FIELD>`, nested ones join with `__` (`COMITY_RATE__BURST`), and a secret may stand
in a file named by `COMITY_<FIELD>_FILE`. A `COMITY_*` variable that means nothing here refuses to start: a misspelt
limit must not be silently without effect.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableSetting

from hub.core.address import AddressError, KafkaAddress
from hub.core.errors import ComityError

PREFIX = "COMITY_"
DEFAULT_ORIGIN = "comity.local/ledger"
# Read by the command line and the tests, not by the hub; all other COMITY_* names must be fields of Settings.
FOREIGN = ("COMITY_TEST_", "COMITY_CLIENT_")


class SettingsError(ComityError):
    """A setting is unknown or cannot be used; the message names the variable and what to do."""


class Rate(BaseModel):
    """A token bucket per client."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    posts_per_second: Annotated[float, Field(gt=0)] = 2_000.0
    burst: Annotated[int, Field(ge=1)] = 4_000


class LogSettings(BaseModel):
    """What the hub writes on stderr."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(BaseSettings):
    """The hub's settings. Durations end in their unit; sizes are bytes."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", frozen=True, extra="forbid")

    data_dir: Path = Path("data")
    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8470
    public_url: str | None = None
    """The address that clients use, when it is not http://host:port; tokens may name it as their audience."""
    origin: str = DEFAULT_ORIGIN
    """The hub's name: checkpoint origin, receipt issuer. Fixed when the data directory is founded."""
    grace_ms: Annotated[int, Field(ge=0, le=3_600_000)] = 5_000
    """From recording a registry change to its effect. With every part in one process it is 0, unless this is set."""
    kafka: str | None = None
    """Address of a Kafka cluster (hub.core.address). Without it the log is a file in the data directory."""
    replication: Annotated[int, Field(ge=1, le=9)] = 1
    """Copies of each topic on Kafka. From 3 on, two must have a record before it counts."""
    lease_seconds: Annotated[float, Field(ge=1, le=60)] = 3.5
    """On Kafka: seconds of silence after which a process's shards are taken over by others."""
    shards: Annotated[int, Field(ge=1, le=256)] = 1
    """Router shards, each with a fixed set of agencies; said once, changed by `comity shards set`."""
    batch_limit: Annotated[int, Field(ge=1, le=10_000)] = 500
    max_body: Annotated[int, Field(ge=65_536)] = 131_072
    max_pending: Annotated[int, Field(ge=1)] = 20_000
    """Accepted but not yet routed notices above which a post is answered 503."""
    rate: Rate = Rate()
    checkpoint_interval_ms: Annotated[int, Field(ge=0, le=60_000)] = 200
    log: LogSettings = LogSettings()
    drain_seconds: Annotated[float, Field(ge=0)] = 10.0
    hub_key: SecretStr | None = None
    """PKCS 8 PEM; else `keys/hub.pem`, made on first use."""
    operator_key: SecretStr | None = None
    """PKCS 8 PEM; else `keys/operator.pem`, made on first use."""

    @field_validator("origin")
    @classmethod
    def _origin(cls, value: str) -> str:
        # C2SP signed-note: a key name is non-empty and has no space and no plus; an origin is a schema-less URL.
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._/:-]{0,199}", value):
            raise ValueError(
                "a name like `hub.example.org/ledger`, of letters, digits and `.-_:/`; no scheme, no spaces"
            )
        return value

    @field_validator("kafka")
    @classmethod
    def _kafka(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                KafkaAddress.parse(value)
            except AddressError as error:
                raise ValueError(str(error)) from None
        return value

    @field_validator("public_url")
    @classmethod
    def _public_url(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s?#]+", value):
            raise ValueError("an address like `https://hub.example.org`, without query or fragment")
        return value.rstrip("/") if value else None

    @property
    def url(self) -> str:
        """Base URL of the API, without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return self.public_url or f"http://{host}:{self.port}"

    @classmethod
    def read(cls, **overrides: Any) -> Settings:
        """The settings from the environment, `overrides` (the command line's) first; SettingsError."""
        try:
            return cls(**overrides)
        except ValidationError as error:
            faults = ((_variable(item["loc"]), item["msg"].removeprefix("Value error, ")) for item in error.errors())
            raise SettingsError("; ".join(f"{variable}: {fault}" for variable, fault in faults)) from None
        except UnreadableSetting as error:
            hint = f"a nested setting is written as {PREFIX}RATE__BURST=100, or as one JSON object"
            raise SettingsError(f"{error}: {hint}") from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, _SecretFiles(settings_cls)


class _SecretFiles(PydanticBaseSettingsSource):
    """Reads `COMITY_<SECRET>_FILE`, and refuses variables that no field answers to."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        path = os.environ.get(f"{PREFIX}{field_name.upper()}_FILE") if _is_secret(field) else None
        if path is None:
            return None, field_name, False
        variable = PREFIX + field_name.upper()
        if os.environ.get(variable):
            raise SettingsError(f"{variable} and {variable}_FILE are both set: keep one")
        try:
            return Path(path).read_text(encoding="utf-8"), field_name, False
        except (OSError, UnicodeDecodeError) as error:
            raise SettingsError(f"{variable}_FILE: cannot read {path}: {error}") from None

    def __call__(self) -> dict[str, Any]:
        refuse_unknown(os.environ)
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value is not None}


def refuse_unknown(environ: Mapping[str, str]) -> None:
    """SettingsError for the first `COMITY_*` variable that is not a setting, with the one that was probably meant."""
    known = variables()
    for name in sorted(environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known and not name.upper().startswith(FOREIGN):
            # Compared without the prefix, which would make any two of them look alike.
            tails = [other.removeprefix(PREFIX) for other in known]
            close = difflib.get_close_matches(name.upper().removeprefix(PREFIX), tails, n=1)
            meant = f"did you mean {PREFIX}{close[0]}?" if close else f"the settings are {', '.join(known)}"
            raise SettingsError(f"unknown setting {name}: {meant}")


def variables() -> list[str]:
    """Every environment variable that the hub understands, sorted."""
    names = []
    for name, field in Settings.model_fields.items():
        variable = PREFIX + name.upper()
        names.append(variable)
        if _is_secret(field):
            names.append(f"{variable}_FILE")
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += [f"{variable}__{inner.upper()}" for inner in field.annotation.model_fields]
    return sorted(names)


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in getattr(field.annotation, "__args__", (field.annotation,))


def _variable(location: tuple[int | str, ...]) -> str:
    return PREFIX + "__".join(str(part) for part in location).upper()
