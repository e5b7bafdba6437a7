"""A claim's state and positions, as records of `comity.state.<shard>`: a sequence of settings, the last of a key counts.

Each commit appends what it changes, in its own transaction, so restoring is reading the topic and applying it in order.
To keep that short, commits now and then say again, a part each time, everything that is set (a *pass*). Once a pass is
complete, what stood in the topic before its beginning is told by what stands behind it, and is deleted. A crash in the middle
of a pass loses nothing: what was said again was true when it was said.

A record's value is a row of entries: key length, value length (-1: deleted), key, value; lengths are 4 bytes, big endian.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping

from hub.log import MAX_RECORD, LogError, TooLarge
from hub.log.entries import Entries

RECORD_BYTES = 900_000  # of entries in a record, unless one entry alone is larger
PASS_BYTES = 256_000  # said again by one commit
SPARE = 4_000_000  # bytes that the topic may hold beyond twice what is set
POSITION = "\x00position/"  # before a topic's name: positions are settings too
BARRIER = "barrier"  # the key of a record that says: claimed
_LENGTHS = struct.Struct(">Ii")


def encode(changes: Mapping[str, bytes | None]) -> list[bytes]:
    """Values of the records that say so. TooLarge for an entry that fits into no record, LogError for what is none."""
    records: list[bytes] = []
    row = bytearray()
    for key, value in changes.items():
        try:
            name = key.encode()
            entry = _LENGTHS.pack(len(name), -1 if value is None else len(value)) + name + (value or b"")
        except (TypeError, AttributeError, UnicodeEncodeError) as error:
            raise LogError(f"an entry of the state cannot be stored: {error}; keys are text, values bytes") from None
        if len(name) + len(value or b"") > MAX_RECORD:
            raise TooLarge(f"an entry of the state has {len(entry)} bytes; the log takes {MAX_RECORD}")
        if row and len(row) + len(entry) > RECORD_BYTES:
            records.append(bytes(row))
            row = bytearray()
        row += entry
    if row:
        records.append(bytes(row))
    return records


def apply(record: bytes, state: dict[str, bytes]) -> None:
    """Set and delete what the record says."""
    at, end = 0, len(record)
    unpack, head = _LENGTHS.unpack_from, _LENGTHS.size
    while at < end:
        name_length, length = unpack(record, at)
        middle = at + head + name_length
        key = record[at + head : middle].decode()
        if length < 0:
            state.pop(key, None)
            at = middle
        else:
            at = middle + length
            state[key] = record[middle:at]


class State(Entries):
    """What is set."""

    size = 0  # bytes of keys and values, as entries

    def change(self, changes: Mapping[str, bytes | None]) -> None:
        for key, value in changes.items():
            before = self.pop(key, None) if value is None else self.get(key)
            if value is not None:
                self[key] = value
            self.size += _size(key, value) - _size(key, before)

    def measure(self) -> None:
        """Count `size` anew, after the entries were set one by one."""
        self.size = sum(_size(key, value) for key, value in self.items())


class Cleaner:
    """Decides what a commit says again, and up to where the topic may be cut off afterwards."""

    def __init__(self, state: State, positions: Mapping[str, int], held: int) -> None:
        """held: bytes of the records that the topic holds."""
        self._state, self._positions = state, positions
        self._held = held
        self._keys: list[str] | None = None  # of the pass under way
        self._next = 0  # the first of them that was not said again
        self._start: int | None = None  # offset of the first record of the pass
        self._since = 0  # bytes written since then

    def again(self) -> dict[str, bytes | None]:
        """The part of a pass for the next commit; empty when the topic is short enough."""
        part: dict[str, bytes | None] = {}
        if self._keys is None:
            if self._held < 2 * self._state.size + SPARE:
                return part
            self._keys, self._next, self._start, self._since = list(self._state), 0, None, 0
            part |= {POSITION + topic: b"%d" % offset for topic, offset in self._positions.items()}
        room = PASS_BYTES
        while room > 0 and self._next < len(self._keys):
            key = self._keys[self._next]
            self._next += 1
            value = self._state.get(key)
            if value is not None:
                part[key] = value
                room -= _size(key, value)
        return part

    def committed(self, first: int, size: int) -> int | None:
        """A commit wrote `size` bytes from offset `first` on. The offset before which the topic may be cut off, if any."""
        self._held += size
        if self._keys is None:
            return None
        self._since += size
        self._start = first if self._start is None else self._start
        if self._next < len(self._keys):
            return None
        self._keys, self._held = None, self._since
        return self._start


def _size(key: str, value: bytes | None) -> int:
    return 0 if value is None else _LENGTHS.size + len(key) + len(value)
