"""Between our records and Kafka's: what is written, and what a fetched byte range holds of committed records.

Kafka's record has bytes where ours has text. What we wrote comes back as it was; what others wrote, with keys or headers
that are no UTF-8, is shown as far as it can be: keys and headers are hints.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from aiokafka.consumer.fetcher import READ_COMMITTED, PartitionRecords
from aiokafka.errors import CorruptRecordException
from aiokafka.producer.message_accumulator import BatchBuilder
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.structs import TopicPartition

from hub.log import MAX_RECORD, LogError, Record, Stored, TooLarge, Unavailable

BATCH_BYTES = 1_000_000  # of a producer's batch; one record may be larger, by itself
Headers = list[tuple[str, bytes]]


@dataclass(slots=True)  # frozen, it would take three times as long to make
class Encoded:
    """A record as Kafka takes it; not changed once it is made. `size`: an upper bound of its bytes in a batch of its own."""

    topic: str
    key: bytes | None
    value: bytes
    headers: Headers
    size: int


def encode(topic: str, record: Record) -> Encoded:
    """TooLarge, or LogError when it is no record; nothing is written then."""
    try:
        if not isinstance(record.value, bytes):
            raise TypeError(f"value is {type(record.value).__name__}, not bytes")
        key = None if record.key is None else record.key.encode()
        headers = [(name, text.encode()) for name, text in record.headers.items()]
        whole = DefaultRecordBatchBuilder.estimate_size_in_bytes(key, record.value, headers)
        # What we count is less than what Kafka does, so a record that fits its way fits ours.
        size = record.size() if whole > MAX_RECORD else 0
    except (TypeError, AttributeError, UnicodeEncodeError) as error:
        raise LogError(
            f"a record for {topic} cannot be stored: {error}; value must be bytes, key and headers text"
        ) from None
    if size > MAX_RECORD:
        raise TooLarge(
            f"a record for {topic} has {size} bytes; the log takes {MAX_RECORD}: split it or refuse it earlier"
        )
    return Encoded(topic, key, record.value, headers, whole)


def batches(records: Sequence[Encoded], limit: int, *, transactional: bool) -> Iterable[BatchBuilder]:
    """The records of one topic, in order, in as few batches as they fit in; none is larger than `limit`.

    A record that alone is larger than `limit` must have been refused before.
    """
    size = min(BATCH_BYTES, limit)
    builder = BatchBuilder(size, 0, is_transactional=transactional)
    for record in records:
        while builder.append(timestamp=None, key=record.key, value=record.value, headers=record.headers) is None:
            yield builder
            builder = BatchBuilder(size, 0, is_transactional=transactional)
    if builder.record_count():
        yield builder


@dataclass(slots=True)
class Fetched:
    """One topic's part of a fetch.

    base: the offset that was asked for. next: the offset to go on from. stable, end: the last stable offset and the high
    watermark: everything before `stable` is decided; what lies between the two belongs to transactions still open.
    """

    base: int
    next: int
    stable: int
    end: int
    records: list[Stored] = field(default_factory=list)

    @property
    def exhausted(self) -> bool:
        """Nothing committed is left behind `next`."""
        return self.next >= self.stable


class _Committed(PartitionRecords):  # type: ignore[misc]
    """aiokafka's reading of a record set: aborted transactions and control records left out. Yields `Stored`."""

    def _consumer_record(self, tp: TopicPartition, record: Any) -> Stored:
        headers = {name: (text or b"").decode("utf-8", "replace") for name, text in record.headers}
        key = None if record.key is None else record.key.decode("utf-8", "replace")
        return Stored(tp.topic, record.offset, Record(record.value or b"", key, headers))


def decode(
    topic: str, base: int, stable: int, end: int, data: bytes, aborted: Sequence[tuple[int, int]] | None, limit: int
) -> Fetched:
    """Up to `limit` committed records from `base` on. Unavailable when the bytes are damaged."""
    memory = MemoryRecords(data)
    found = _Committed(TopicPartition(topic, 0), memory, aborted, base, None, None, True, READ_COMMITTED)
    try:
        records = list(islice(found, limit))
    except CorruptRecordException as error:
        raise Unavailable(f"a record of {topic} behind {base} is damaged: {error}; see the broker's disk") from error
    return Fetched(base, found.next_fetch_offset, stable, end, records)
