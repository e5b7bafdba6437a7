"""The address of a Kafka cluster, and how to prove oneself there, in one line: for the hub and for partners alike.

    kafka://broker:9092                                         no security: development on one machine
    kafka+ssl://broker:9094?ca=ca.pem&cert=us-cisa.pem          TLS with a client certificate (mTLS)
    kafka+sasl://us-cisa@broker:9093?ca=ca.pem&password-file=p  TLS, SASL with SCRAM-SHA-512

Several brokers are separated by commas. Files are named here and read by who connects; a password is never part of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl, unquote

from hub.core.errors import ComityError

Security = Literal["PLAINTEXT", "SSL", "SASL_SSL"]
SCHEMES: dict[str, Security] = {"kafka": "PLAINTEXT", "kafka+ssl": "SSL", "kafka+sasl": "SASL_SSL"}
_OPTIONS: dict[Security, frozenset[str]] = {
    "PLAINTEXT": frozenset({"agencies", "api"}),
    "SSL": frozenset({"ca", "cert", "key", "agencies", "api"}),
    "SASL_SSL": frozenset({"ca", "password-file", "agencies", "api"}),
}
_FORM = re.compile(r"(?P<scheme>[a-z+]+)://(?:(?P<user>[^@/?#]+)@)?(?P<brokers>[^@/?#]+)/?(?:\?(?P<query>[^#]*))?")
_BROKER = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:]+\]):[0-9]{1,5}")


class AddressError(ComityError):
    """An address cannot be understood; the message says what is wrong and how it should read."""


@dataclass(frozen=True, slots=True)
class KafkaAddress:
    """brokers: `host:port`, at least one. Paths as written; `key` may be absent when `cert` holds it too.

    agencies, api: where a partner learns the others' public keys: a file of `comity agency list -o json`, or the hub's
    HTTP address. No topic that an agency may read tells them.
    """

    brokers: tuple[str, ...]
    security: Security = "PLAINTEXT"
    user: str | None = None
    ca: str | None = None
    cert: str | None = None
    key: str | None = None
    password_file: str | None = None
    agencies: str | None = None
    api: str | None = None

    @property
    def bootstrap(self) -> str:
        return ",".join(self.brokers)

    def __str__(self) -> str:
        """For messages and logs: where, without names and files."""
        scheme = next(scheme for scheme, security in SCHEMES.items() if security == self.security)
        return f"{scheme}://{self.bootstrap}"

    @classmethod
    def parse(cls, text: str) -> KafkaAddress:
        """AddressError: what is wrong with it."""
        form = _FORM.fullmatch(text)
        security = SCHEMES.get(form["scheme"]) if form else None
        if form is None or security is None:
            raise AddressError(f"{text[:80]!r} is no address of a Kafka cluster: write kafka://HOST:PORT,HOST:PORT")
        brokers = tuple(form["brokers"].split(","))
        for broker in brokers:
            if not _BROKER.fullmatch(broker) or not 0 < int(broker.rpartition(":")[2]) < 65_536:
                raise AddressError(f"{broker[:80]!r} is no broker: write HOST:PORT, such as 127.0.0.1:9092")
        options = _options(form["query"] or "", security, form["scheme"])
        user = unquote(form["user"]) if form["user"] else None
        if (security == "SASL_SSL") != (user is not None):
            raise AddressError(
                "kafka+sasl:// needs a user: kafka+sasl://USER@HOST:PORT?password-file=…"
                if security == "SASL_SSL"
                else f"{form['scheme']}:// takes no user; for a user and a password write kafka+sasl://"
            )
        if security == "SASL_SSL" and "password-file" not in options:
            raise AddressError("kafka+sasl:// needs password-file=FILE, the file that holds the password")
        if "key" in options and "cert" not in options:
            raise AddressError("key=FILE goes with cert=FILE")
        return cls(brokers, security, user, **{name.replace("-", "_"): value for name, value in options.items()})


def _options(query: str, security: Security, scheme: str) -> dict[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=True) if query else []
    except ValueError:
        raise AddressError(f"{query[:80]!r} cannot be read: options are written NAME=VALUE&NAME=VALUE") from None
    for name, value in pairs:
        if name not in _OPTIONS[security]:
            raise AddressError(
                f"{scheme}:// has no option {name[:40]!r}; it has {', '.join(sorted(_OPTIONS[security]))}"
            )
        if not value:
            raise AddressError(f"{name}= is empty: name a file or an address")
    if len(dict(pairs)) != len(pairs):
        raise AddressError("an option is there twice; write each once")
    return dict(pairs)
