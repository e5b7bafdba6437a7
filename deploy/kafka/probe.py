"""Whether a broker answers, and as a node of which cluster: one Metadata request, written by hand.

A port that accepts connections says nothing: it may be another cluster's.
"""

from __future__ import annotations

import socket
import ssl
import struct
from io import BytesIO
from pathlib import Path

METADATA, VERSION = 3, 4  # the oldest version that asks for no topics, without making any


def live_brokers(where: str, cluster: str, certificates: Path | None = None) -> int:
    """How many live brokers the node at host:port knows; 0 when it does not answer, or is of another cluster.

    certificates: the folder with ca.pem and broker.pem, to ask by mTLS.
    """
    host, _, port = where.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2) as plain:
            connection = _seal(plain, host, certificates) if certificates else plain
            with connection:
                found, count = _ask(connection)
    except (OSError, struct.error, UnicodeDecodeError):  # nobody there, not ready yet, or no Kafka
        return 0
    return count if found == cluster else 0


def _seal(plain: socket.socket, host: str, certificates: Path) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    context.load_cert_chain(certificates / "broker.pem")
    return context.wrap_socket(plain, server_hostname=host)


def _ask(connection: socket.socket) -> tuple[str, int]:
    """Cluster id and number of brokers."""
    client = b"probe"
    header = struct.pack(f">hhih{len(client)}s", METADATA, VERSION, 1, len(client), client)
    request = header + struct.pack(">i?", 0, False)  # no topics; and make none
    connection.sendall(struct.pack(">i", len(request)) + request)
    with connection.makefile("rb") as stream:
        (size,) = struct.unpack(">i", stream.read(4))
        answer = BytesIO(stream.read(size))
    _correlation, _throttle, count = struct.unpack(">iii", answer.read(12))
    for _ in range(count):
        answer.read(4)  # node id
        _string(answer)  # host
        answer.read(4)  # port
        _string(answer)  # rack
    return _string(answer), count


def _string(stream: BytesIO) -> str:
    (length,) = struct.unpack(">h", stream.read(2))
    return stream.read(max(0, length)).decode()
