"""What every log promises to who appends and reads. Claims: test_contract_claims.py."""

import asyncio
import random
import time

import pytest

from hub.log import MAX_RECORD, LogError, Record, TooLarge, Unavailable, UnknownTopic


def values(batch):
    return [stored.record.value for stored in batch]


async def fill(log, topic, *texts):
    return [await log.append(topic, Record(text)) for text in texts]


async def read_all(log, topic, limit=500):
    found, after = [], -1
    while batch := await log.read(topic, after=after, limit=limit):
        found += batch
        after = batch[-1].offset
    return found


@pytest.fixture
async def topic(log, place):
    await log.create(place.name("a"))
    return place.name("a")


async def test_what_was_appended_is_there_after_reopening(log, topic, place):
    offsets = await fill(log, topic, b"1", b"2", b"3")
    await log.close()
    again = await place.open()
    found = await again.read(topic)
    assert values(found) == [b"1", b"2", b"3"]
    assert [stored.offset for stored in found] == offsets
    assert await again.end(topic) == offsets[-1]


async def test_reading_goes_on_after_the_offset_last_seen(log, topic):
    offsets = await fill(log, topic, b"1", b"2", b"3", b"4")
    assert offsets == sorted(set(offsets))
    assert offsets[0] >= 0
    for seen, offset in enumerate(offsets, 1):
        assert values(await log.read(topic, after=offset)) == [b"1", b"2", b"3", b"4"][seen:]


async def test_a_reader_far_behind_the_end_or_before_the_start_gets_what_is_there(log, topic, place):
    await log.create(place.name("b"))
    await fill(log, topic, b"1")
    await fill(log, place.name("b"), b"not of this topic")
    assert values(await log.read(topic, after=-5)) == [b"1"]
    for far in (10**6, 2**40 - 1, 2**40, 2**53, 2**63 - 1):
        assert await log.read(topic, after=far) == []


async def test_a_limit_is_kept(log, topic):
    await fill(log, topic, *(b"%d" % n for n in range(7)))
    assert values(await log.read(topic, limit=3)) == [b"0", b"1", b"2"]
    assert await log.read(topic, limit=0) == []
    assert values(await read_all(log, topic, limit=2)) == [b"%d" % n for n in range(7)]


@pytest.mark.parametrize(
    "record",
    [
        Record(b""),
        Record(b"value", "", {}),
        Record(bytes(range(256)) * 3, "Zürich → 東京 🚢", {"ce_subject": "naïve ☃ 𝄞", "ключ": ""}),
        Record(b"\x00\x00", "a\x00b", {'quo"te': 'back\\slash\n\t\x00 \u2028 "'}),
        Record(b"not text \xff\xfe", None, {"": "empty name"}),
    ],
)
async def test_a_record_comes_back_as_it_was(log, topic, place, record):
    """Bytes that are no text, any Unicode, no key and an empty key: the same in another client."""
    offset = await log.append(topic, record)
    for reader in (log, await place.open()):
        [stored] = await reader.read(topic)
        assert (stored.topic, stored.offset, stored.record) == (topic, offset, record)
        assert type(stored.record.key) is type(record.key)


@pytest.mark.parametrize(
    "record",
    [
        Record("text"),
        Record(b"", 7),
        Record(b"", "\ud800"),
        Record(b"", None, {"\udfff": ""}),
        Record(b"", None, {"a": "\ud800"}),
        Record(b"", None, {"a": 1}),
    ],
)
async def test_what_is_no_record_is_refused_with_a_reason(log, topic, record):
    with pytest.raises(LogError, match=topic):
        await log.append(topic, record)
    assert await log.end(topic) == -1


async def test_a_record_of_the_largest_size_is_taken_and_one_byte_more_is_not(log, topic):
    headers = {"a": "ü"}  # 1 + 2 bytes
    largest = Record(bytes(MAX_RECORD - 4), "k", headers)
    await log.append(topic, largest)
    with pytest.raises(TooLarge, match=f"{MAX_RECORD + 1} bytes"):
        await log.append(topic, Record(bytes(MAX_RECORD - 3), "k", headers))
    assert [stored.record for stored in await log.read(topic)] == [largest]


async def test_topics_are_made_once_and_listed_by_prefix(log, place):
    names = [place.name(text) for text in ("n.b", "n.a", "m")]
    await log.create(*names)
    await log.append(names[0], Record(b"kept"))
    await log.create(*names, place.name("n.c"))
    await log.create()
    assert await log.topics(place.name("n.")) == [place.name(text) for text in ("n.a", "n.b", "n.c")]
    assert set(names) < set(await log.topics())
    assert values(await log.read(names[0])) == [b"kept"]


async def test_two_clients_making_the_same_topics_agree(place):
    logs = [await place.open() for _ in range(2)]
    names = [place.name(f"t{n}") for n in range(5)]
    await asyncio.gather(*(log.create(*order) for log, order in zip(logs, (names, names[::-1]), strict=True)))
    for number, name in enumerate(names):
        await logs[0].append(name, Record(b"%d" % number))
        assert values(await logs[1].read(name)) == [b"%d" % number]


@pytest.mark.parametrize("name", ["", "a b", "a/b", "ä", "a" * 250, "a\n"])
async def test_a_name_that_a_broker_would_refuse_is_refused(log, place, name):
    with pytest.raises(LogError, match="name"):
        await log.create(place.name("good"), name)
    assert await log.topics(place.name("good")) == []


async def test_a_topic_that_nobody_made_is_empty_and_takes_nothing(log, place):
    name = place.name("absent")
    with pytest.raises(UnknownTopic, match=name):
        await log.append(name, Record(b""))
    assert await log.read(name) == []
    assert await log.end(name) == -1
    assert await log.topics(name) == []


async def test_concurrent_appends_each_get_an_offset_of_their_own(log, place):
    """Two clients, three topics, 300 appends at once: each record stands at the offset its caller was told."""
    other = await place.open()
    topics = [place.name(f"t{n}") for n in range(3)]
    await log.create(*topics)
    wanted = [(topics[n % 3], b"%d" % n, (log, other)[n % 2]) for n in range(300)]
    offsets = await asyncio.gather(*(client.append(topic, Record(value)) for topic, value, client in wanted))
    told = {(topic, offset): value for (topic, value, _), offset in zip(wanted, offsets, strict=True)}
    assert len(told) == 300
    found = {(s.topic, s.offset): s.record.value for topic in topics for s in await read_all(log, topic, 7)}
    assert found == told


async def test_appends_made_one_after_the_other_keep_that_order(log, topic):
    """Begun in order, not awaited in between."""
    tasks = [asyncio.ensure_future(log.append(topic, Record(b"%d" % n))) for n in range(50)]
    offsets = await asyncio.gather(*tasks)
    assert offsets == sorted(offsets)
    assert values(await log.read(topic)) == [b"%d" % n for n in range(50)]


async def test_a_cancelled_append_harms_nobody(log, topic):
    """Its own outcome is unknown: there or not, but whole; those beside it are there."""
    tasks = [asyncio.ensure_future(log.append(topic, Record(b"%d" % n))) for n in range(20)]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    acknowledged = {b"%d" % n for n, result in enumerate(results) if isinstance(result, int)}
    assert acknowledged >= {b"%d" % n for n in range(1, 20, 2)}
    await log.append(topic, Record(b"after"))
    found = values(await log.read(topic))
    assert len(found) == len(set(found))
    assert acknowledged | {b"after"} <= set(found) <= {b"after", *(b"%d" % n for n in range(20))}


async def test_a_waiting_reader_wakes_when_a_record_comes(log, topic, place):
    """At once for this client's records, soon for another's."""
    for client, bound in ((log, 0.5), (await place.open(), 1.0)):
        after = await log.end(topic)
        reader = asyncio.ensure_future(log.read(topic, after=after, wait=20))
        await asyncio.sleep(0.1)
        assert not reader.done()
        began = time.monotonic()
        await client.append(topic, Record(b"news"))
        assert values(await reader) == [b"news"]
        assert time.monotonic() - began < bound


async def test_a_reader_may_wait_for_a_topic_that_is_not_made_yet(log, place):
    reader = asyncio.ensure_future(log.read(place.name("later"), wait=20))
    await asyncio.sleep(0.05)
    await log.create(place.name("later"))
    await log.append(place.name("later"), Record(b"first"))
    assert values(await reader) == [b"first"]


async def test_a_reader_that_waits_in_vain_gets_nothing_in_time(log, topic, place):
    await log.create(place.name("other"))
    began = time.monotonic()
    reader = asyncio.ensure_future(log.read(topic, wait=0.3))
    await asyncio.sleep(0.05)
    await log.append(place.name("other"), Record(b"for somebody else"))
    assert await reader == []
    assert 0.25 < time.monotonic() - began < 2


async def test_many_may_wait_and_one_may_leave(log, topic):
    readers = [asyncio.ensure_future(log.read(topic, wait=20)) for _ in range(20)]
    await asyncio.sleep(0.05)
    readers[3].cancel()
    await log.append(topic, Record(b"news"))
    results = await asyncio.gather(*readers, return_exceptions=True)
    assert isinstance(results.pop(3), asyncio.CancelledError)
    assert all(values(batch) == [b"news"] for batch in results)


async def test_closing_finishes_what_was_begun(log, topic, place):
    tasks = [asyncio.ensure_future(log.append(topic, Record(b"%d" % n))) for n in range(100)]
    await asyncio.sleep(0)
    await log.close()
    assert len(set(await asyncio.gather(*tasks))) == 100
    assert len(await (await place.open()).read(topic)) == 100


async def test_a_closed_log_says_so(log, topic):
    await log.append(topic, Record(b""))
    waiting = asyncio.ensure_future(log.read(topic, after=100, wait=20))
    await asyncio.sleep(0.05)
    await log.close()
    await log.close()
    with pytest.raises(Unavailable, match="closed"):
        await waiting
    for call in (log.append(topic, Record(b"")), log.read(topic), log.end(topic), log.topics(), log.create("new")):
        with pytest.raises(Unavailable, match="closed"):
            await call


@pytest.mark.parametrize("seed", range(4))
async def test_any_mix_of_appends_reads_and_reopenings_matches_a_list(place, seed):
    """Against the simplest model there is: a list per topic."""
    rng = random.Random(seed)
    logs = [await place.open(), await place.open()]
    names = [place.name(f"t{n}") for n in range(3)]
    await logs[0].create(*names)
    model = {name: [] for name in names}
    for step in range(60):
        log, name = rng.choice(logs), rng.choice(names)
        match rng.randrange(4):
            case 0:
                record = Record(rng.randbytes(rng.randrange(50)), rng.choice([None, "k"]), {"step": str(step)})
                model[name].append((await log.append(name, record), record))
            case 1:
                after = rng.choice([-1, *(offset for offset, _ in model[name])])
                limit = rng.randrange(1, 5)
                wanted = [entry for entry in model[name] if entry[0] > after][:limit]
                assert [(s.offset, s.record) for s in await log.read(name, after, limit)] == wanted
            case 2:
                assert await log.end(name) == (model[name][-1][0] if model[name] else -1)
            case 3 if step % 5 == 0:
                await logs.pop(0).close()
                logs.append(await place.open())
