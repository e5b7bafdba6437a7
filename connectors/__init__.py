"""What a partner installs: publish, subscribe, store and acknowledge; nothing here knows the hub from inside.

from connectors import Client, Inbox, PartnerKey      over HTTP
from connectors.kafka import KafkaClient                natively over Apache Kafka
"""

from connectors.client import Client
from connectors.deliveries import Delivery
from connectors.errors import (
    AuthenticationFailed,
    ConnectorError,
    DeliveriesLost,
    InvalidDelivery,
    InvalidNotice,
    KeyFileError,
    Refused,
    StoreError,
    UnexpectedAnswer,
    Unreachable,
)
from connectors.inbox import Inbox
from connectors.keyfile import PartnerKey
from connectors.notices import SignedNotice
from connectors.publishing import Published

__all__ = [
    "AuthenticationFailed",
    "Client",
    "ConnectorError",
    "DeliveriesLost",
    "Delivery",
    "Inbox",
    "InvalidDelivery",
    "InvalidNotice",
    "KeyFileError",
    "PartnerKey",
    "Published",
    "Refused",
    "SignedNotice",
    "StoreError",
    "UnexpectedAnswer",
    "Unreachable",
]
