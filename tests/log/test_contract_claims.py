"""What every log promises to who claims a shard: exclusive, fenced, atomic, restored."""

import asyncio
import random
import time
from collections import Counter

import pytest

from hub.log import MAX_RECORD, Fenced, LogError, Record, Shard, TooLarge, Unavailable, UnknownTopic
from tests.log.test_contract import fill, read_all, values


@pytest.fixture
async def shard(log, place):
    """A shard over one topic, `in`; `out` is there to be written to."""
    await log.create(place.name("in"), place.name("out"))
    return Shard(place.name("s"), topics=(place.name("in"),))


@pytest.fixture
def source(place):
    return place.name("in")


@pytest.fixture
def out(place):
    return place.name("out")


async def drain(claim, limit=500):
    """Commit batch after batch; everything that came."""
    found = []
    while batch := await claim.batch(limit):
        await claim.commit(batch, [], {})
        found += batch
    return found


async def assert_nothing_written(place, shard, out, *, state, next_values):
    """As a new claim by another client sees it."""
    log = await place.open()
    assert await log.read(out) == []
    claim = await log.claim(shard)
    assert dict(claim.state) == state
    assert values(await claim.batch()) == next_values


# Shards

GOLDEN = {  # first 8 bytes of SHA-256 of the owner, big endian, modulo 2, 3, 16, 1000
    "us-cisa": (1, 2, 11, 275),
    "jp-meti": (1, 0, 3, 883),
    "de-bsi": (1, 1, 15, 967),
    "": (0, 1, 4, 652),
}


@pytest.mark.parametrize("owner", GOLDEN)
def test_a_topic_stays_in_its_shard_for_ever(owner):
    """Golden values: positions and state of running hubs depend on them."""
    for count, index in zip((2, 3, 16, 1000), GOLDEN[owner], strict=True):
        owners = [i for i in range(count) if Shard("s", prefix="n.", index=i, count=count).owns("n." + owner)]
        assert owners == [index]


def test_a_shard_owns_what_it_names_and_no_more():
    named = Shard("s", topics=("a", "b"))
    assert [topic for topic in ("a", "b", "c", "", "ab") if named.owns(topic)] == ["a", "b"]
    prefixed = Shard("s", prefix="n.")
    assert [topic for topic in ("n.a", "n", "m.n.a", "N.a") if prefixed.owns(topic)] == ["n.a"]
    both = Shard("s", topics=("extra",), prefix="n.", index=0, count=2)
    assert both.owns("extra")
    shares = Counter(i for i in range(4) for n in range(400) if Shard("", (), "n.", i, 4).owns(f"n.us-a{n}"))
    assert sum(shares.values()) == 400
    assert min(shares.values()) > 60


@pytest.mark.parametrize(("index", "count"), [(1, 1), (-1, 2), (0, 0)])
def test_a_shard_that_cannot_be_is_refused(index, count):
    with pytest.raises(ValueError, match="counts from 0"):
        Shard("s", prefix="n.", index=index, count=count)


# Batches and positions


async def test_a_batch_comes_again_until_it_is_committed(log, shard, source, place):
    await fill(log, source, b"1", b"2", b"3")
    claim = await log.claim(shard)
    batch = await claim.batch(2)
    assert values(batch) == [b"1", b"2"]
    assert await claim.batch(2) == batch
    assert await claim.commit(batch, [], {}) == []
    assert values(await claim.batch(2)) == [b"3"]
    again = await (await place.open()).claim(shard)
    assert values(await again.batch()) == [b"3"]
    await again.commit(await again.batch(), [], {})
    assert await again.batch() == []


async def test_a_part_of_a_batch_may_be_committed(log, shard, source):
    await fill(log, source, b"1", b"2", b"3")
    claim = await log.claim(shard)
    await claim.commit((await claim.batch())[:2], [], {})
    assert values(await claim.batch()) == [b"3"]


async def test_a_limit_is_kept_by_batches_too(log, shard, source):
    await fill(log, source, *(b"%d" % n for n in range(5)))
    claim = await log.claim(shard)
    assert await claim.batch(0) == []
    assert values(await drain(claim, 2)) == [b"%d" % n for n in range(5)]


async def test_a_batch_has_records_as_a_reader_sees_them(log, shard, source):
    await log.append(source, Record(b"\x00\xff", "Schlüssel", {"ä": "ö"}))
    assert await (await log.claim(shard)).batch() == await log.read(source)


async def test_positions_never_go_back(log, shard, source, out, place):
    """A batch that was committed cannot be committed again, with whatever goes with it; the claim goes on."""
    await fill(log, source, b"1", b"2", b"3")
    claim = await log.claim(shard)
    first = await claim.batch(2)
    await claim.commit(first, [], {})
    for old in (first, first[:1], await log.read(source)):
        with pytest.raises(LogError, match="committed up to") as told:
            await claim.commit(old, [(out, Record(b"twice"))], {"k": b"twice"})
        assert not isinstance(told.value, Fenced)
    await assert_nothing_written(place, Shard(place.name("other")), out, state={}, next_values=[])
    batch = await claim.batch()
    assert values(batch) == [b"3"]
    with pytest.raises(LogError, match="as it came"):
        await claim.commit(batch * 2, [], {})
    await claim.commit(batch, [], {})
    assert await claim.batch() == []


async def test_no_topic_starves_and_each_keeps_its_order(log, place):
    """One topic has a hundred times what the others have: they are served in the first batch all the same."""
    names = [place.name(f"n.{n}") for n in range(10)]
    await log.create(*names)
    busy = names[4]
    sent = {name: [b"%d" % n for n in range(300 if name == busy else 3)] for name in names}
    await asyncio.gather(*(log.append(name, Record(value)) for name in names for value in sent[name]))
    claim = await log.claim(Shard(place.name("s"), prefix=place.name("n.")))
    first = await claim.batch(100)
    assert len(first) == 100, "a batch is filled when there is enough"
    counts = Counter(stored.topic for stored in first)
    assert all(counts[name] == 3 for name in names if name != busy)
    found = await drain(claim, 17)
    order = {name: [s for s in found if s.topic == name] for name in names}
    for name in names:
        assert [s.offset for s in order[name]] == sorted(s.offset for s in order[name])
        assert sorted(values(order[name])) == sorted(sent[name])
        assert order[name] == await read_all(log, name)


async def test_with_more_topics_than_room_everyone_has_its_turn(log, place):
    """A batch of 3 over 10 topics that are never empty: in 4 batches everyone was served."""
    names = [place.name(f"n.{n}") for n in range(10)]
    await log.create(*names)
    for name in names:
        await fill(log, name, *(b"%d" % n for n in range(10)))
    claim = await log.claim(Shard(place.name("s"), prefix=place.name("n.")))
    served = Counter()
    for _ in range(4):
        batch = await claim.batch(3)
        assert len(batch) == 3
        served.update(stored.topic for stored in batch)
        await claim.commit(batch, [], {})
    assert set(served) == set(names)
    assert max(served.values()) <= 2


async def test_shards_share_the_topics_out(log, place):
    names = [place.name(f"n.us-a{n}") for n in range(20)]
    await log.create(*names, place.name("m.us-a1"))
    for name in [*names, place.name("m.us-a1")]:
        await fill(log, name, name.encode())
    claims = [await log.claim(Shard(place.name(f"s{i}"), prefix=place.name("n."), index=i, count=3)) for i in range(3)]
    batches = [await claim.batch() for claim in claims]
    assert all(batches)
    assert sorted(s.topic for batch in batches for s in batch) == sorted(names)


async def test_a_new_topic_appears_in_a_running_claim(log, place):
    """Made by this client, then by another, while the claim waits."""
    await log.create(place.name("n.a"))
    claim = await log.claim(Shard(place.name("s"), prefix=place.name("n.")))
    for name, client in (("n.b", log), ("n.c", await place.open())):
        waiting = asyncio.ensure_future(claim.batch(wait=20))
        await asyncio.sleep(0.05)
        await client.create(place.name(name))
        await client.append(place.name(name), Record(name.encode()))
        batch = await waiting
        assert values(batch) == [name.encode()]
        await claim.commit(batch, [], {})


async def test_a_waiting_claim_wakes_when_a_record_comes(log, shard, source, out, place):
    claim = await log.claim(shard)
    began = time.monotonic()
    assert await claim.batch(wait=0.2) == []
    assert time.monotonic() - began > 0.15
    for client, bound in ((log, 0.5), (await place.open(), 1.0)):
        waiting = asyncio.ensure_future(claim.batch(wait=20))
        await asyncio.sleep(0.1)
        await client.append(out, Record(b"not for this shard"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        began = time.monotonic()
        await client.append(source, Record(b"news"))
        batch = await waiting
        assert time.monotonic() - began < bound
        assert values(batch) == [b"news"]
        await claim.commit(batch, [], {})


# Commits


async def test_a_commit_writes_outputs_state_and_positions(log, shard, source, out, place):
    await log.create(place.name("out2"))
    await fill(log, source, b"1", b"2")
    claim = await log.claim(shard)
    outputs = [(out, Record(b"a", "k", {"h": "1"})), (place.name("out2"), Record(b"b")), (out, Record(b"c"))]
    offsets = await claim.commit(await claim.batch(), outputs, {"n": b"2", "bytes": b"\x00\xff"})
    for reader in (log, await place.open()):
        found = {(s.topic, s.offset): s.record for t in (out, place.name("out2")) for s in await reader.read(t)}
        assert found == {(t, offset): record for (t, record), offset in zip(outputs, offsets, strict=True)}
    assert offsets[0] < offsets[2], "outputs of a topic keep their order"
    assert claim.state == {"n": b"2", "bytes": b"\x00\xff"}
    again = await (await place.open()).claim(shard)
    assert again.state == claim.state
    assert await again.batch() == []


async def test_a_commit_without_a_batch_writes_the_same(log, shard, source, out):
    """A notary does that: outputs and state from its own motion."""
    await fill(log, source, b"1")
    claim = await log.claim(shard)
    await claim.commit([], [(out, Record(b"of its own"))], {"k": b"v"})
    assert await claim.commit([], [], {}) == []
    assert values(await log.read(out)) == [b"of its own"]
    assert values(await claim.batch()) == [b"1"]


async def test_state_follows_commits_and_deletes(log, shard, place):
    claim = await log.claim(shard)
    assert claim.state == {}
    await claim.commit([], [], {"a": b"1", "b": b"2", "c": b"", "ключ\x00": b"4"})
    await claim.commit([], [], {"a": b"5", "b": None, "never there": None})
    wanted = {"a": b"5", "c": b"", "ключ\x00": b"4"}
    assert claim.state == wanted
    assert (await (await place.open()).claim(shard)).state == wanted


async def test_state_belongs_to_its_shard(log, shard, place):
    await (await log.claim(shard)).commit([], [], {"k": b"v"})
    assert (await log.claim(Shard(place.name("s2"), topics=shard.topics))).state == {}


async def test_outputs_of_a_claim_and_appends_of_others_share_topics(log, shard, source, out, place):
    """Interleaved writers get offsets of their own."""
    other = await place.open()
    claim = await log.claim(shard)

    async def commits():
        return [(await claim.commit([], [(out, Record(b"c%d" % n))], {}))[0] for n in range(20)]

    async def appends():
        return [await other.append(out, Record(b"a%d" % n)) for n in range(20)]

    committed, appended = await asyncio.gather(commits(), appends())
    told = {offset: b"c%d" % n for n, offset in enumerate(committed)}
    told |= {offset: b"a%d" % n for n, offset in enumerate(appended)}
    assert {s.offset: s.record.value for s in await log.read(out)} == told
    assert len(told) == 40


@pytest.mark.parametrize(
    ("output", "state", "error"),
    [
        (Record(bytes(MAX_RECORD + 1)), {}, TooLarge),
        (Record(b"", "k" * (MAX_RECORD + 1)), {}, TooLarge),
        (Record(b"fits"), {"big": bytes(MAX_RECORD)}, TooLarge),
        (Record(b"", "\ud800"), {}, LogError),
        (Record(b"fits"), {"\ud800": b""}, LogError),
        (Record(b"fits"), {"\ud800": None}, LogError),
        (None, {}, UnknownTopic),
    ],
)
async def test_a_commit_that_cannot_be_stored_writes_nothing_and_the_claim_goes_on(
    log, shard, source, out, place, output, state, error
):
    """The bad one comes last, behind good ones; what was good of it is not there."""
    await fill(log, source, b"1")
    claim = await log.claim(shard)
    await claim.commit([], [], {"k": b"before"})
    batch = await claim.batch()
    bad = (place.name("absent"), Record(b"")) if output is None else (out, output)
    with pytest.raises(error):
        await claim.commit(batch, [(out, Record(b"good")), bad], {"k": b"after", **state})
    assert claim.state == {"k": b"before"}
    assert await log.read(out) == []
    assert await claim.batch() == batch
    await claim.commit(batch, [(out, Record(b"mended"))], {"k": b"after"})
    again = await (await place.open()).claim(shard)
    assert (values(await log.read(out)), again.state, await again.batch()) == ([b"mended"], {"k": b"after"}, [])


# Fencing


async def test_a_newer_claim_fences_the_older(log, shard, source, out, place):
    """By the same client and by another: the old holder's commit writes nothing, and its batches end."""
    await fill(log, source, b"1")
    old = await log.claim(shard)
    await old.commit([], [], {"k": b"v"})
    batch = await old.batch()
    for client in (log, await place.open()):
        new = await client.claim(shard)
        assert new.epoch > old.epoch
        for _ in range(2):
            with pytest.raises(Fenced, match="claim"):
                await old.commit(batch, [(out, Record(b"from the grave"))], {"k": b"x", "l": b"y"})
            with pytest.raises(Fenced, match="claim"):
                await old.batch()
        assert old.state == {"k": b"v"}
        assert new.state == {"k": b"v"}
        assert await log.read(out) == []
        assert await new.batch() == batch
        old = new
    await old.commit(batch, [(out, Record(b"alive"))], {})
    assert values(await log.read(out, settled=True)) == [b"alive"]


async def test_a_claim_of_another_shard_fences_nobody(log, shard, source, place):
    await fill(log, source, b"1")
    claim = await log.claim(shard)
    other = await (await place.open()).claim(Shard(place.name("s2"), topics=shard.topics))
    for each in (claim, other):
        assert values(await drain(each)) == [b"1"]


async def test_the_state_may_change_while_its_keys_are_gone_through(log, shard):
    """A router looks through a part of it with every batch, and commits in between."""
    claim = await log.claim(shard)
    await claim.commit([], [], {f"k{number}": b"old" for number in range(10)})
    shown = []
    for key in claim.state:
        shown.append(key)
        await claim.commit([], [], {f"k{9 - len(shown)}": None, f"new{len(shown)}": b"new"})
        if len(shown) == 5:
            break
    assert shown == [f"k{number}" for number in range(5)]
    assert sorted(claim.state) == sorted(
        [*(f"k{number}" for number in (0, 1, 2, 3, 9)), *(f"new{n}" for n in range(1, 6))]
    )


async def test_a_claim_that_commits_after_a_pause_is_not_its_own_rival(log, shard):
    """Whoever watches for rivals may see a commit of its own before it has heard that this succeeded."""
    claim = await log.claim(shard)
    for number in range(6):
        assert await claim.batch(wait=0.35) == []
        await claim.commit([], [], {"k": b"%d" % number})
    assert await claim.batch() == []


async def test_a_waiting_claim_hears_that_it_was_fenced(log, shard, place):
    claim = await log.claim(shard)
    waiting = asyncio.ensure_future(claim.batch(wait=20))
    await asyncio.sleep(0.05)
    await (await place.open()).claim(shard)
    with pytest.raises(Fenced):
        await asyncio.wait_for(waiting, 5)


async def test_a_released_claim_is_over(log, shard):
    claim = await log.claim(shard)
    await claim.release()
    await claim.release()
    with pytest.raises(Fenced, match="released"):
        await claim.batch()
    with pytest.raises(Fenced, match="released"):
        await claim.commit([], [], {"k": b"v"})
    assert (await log.claim(shard)).state == {}


async def test_rivals_for_one_shard_move_each_record_once(log, shard, source, out, place):
    """Three clients claim, work, and take the shard from one another at random; a number in the state counts along."""
    total, rng = 240, random.Random(5)
    await asyncio.gather(*(log.append(source, Record(b"%d" % n)) for n in range(total)))
    fenced = 0

    async def rival(client):
        nonlocal fenced
        while True:
            claim = await client.claim(shard)
            try:
                for _ in range(rng.randrange(8, 20)):
                    batch = await claim.batch(rng.randrange(1, 6))
                    await asyncio.sleep(rng.random() / 200)
                    count = int(claim.state.get("moved", b"0")) + len(batch)
                    await claim.commit(batch, [(out, s.record) for s in batch], {"moved": b"%d" % count})
                    if count == total:
                        return
            except Fenced:
                fenced += 1

    clients = [await place.open() for _ in range(3)]
    await asyncio.gather(*map(rival, clients))
    assert values(await log.read(out)) == values(await log.read(source))
    assert (await log.claim(shard)).state == {"moved": b"%d" % total}
    assert fenced, "they did meet"


@pytest.mark.parametrize("pauses", range(4))
async def test_a_cancelled_commit_ends_the_claim_and_was_done_or_not(log, shard, source, out, place, pauses):
    """How it ended is unknown to its caller; the next claim sees all of it or nothing."""
    await fill(log, source, b"1")
    claim = await log.claim(shard)
    batch = await claim.batch()
    task = asyncio.ensure_future(claim.commit(batch, [(out, Record(b"moved"))], {"k": b"v"}))
    for _ in range(pauses):
        await asyncio.sleep(0)
    task.cancel()
    [result] = await asyncio.gather(task, return_exceptions=True)
    if pauses and isinstance(result, asyncio.CancelledError):
        with pytest.raises(Fenced, match="claim"):
            await claim.commit(batch, [(out, Record(b"moved"))], {"k": b"v"})
        with pytest.raises(Fenced, match="claim"):
            await claim.batch()
    again = await (await place.open()).claim(shard)
    seen = (values(await log.read(out)), dict(again.state), values(await again.batch()))
    assert seen in (([b"moved"], {"k": b"v"}, []), ([], {}, [b"1"]))


async def test_commits_begun_together_are_made_one_after_the_other(log, shard, out):
    claim = await log.claim(shard)
    await asyncio.gather(*(claim.commit([], [(out, Record(b"%d" % n))], {"last": b"%d" % n}) for n in range(10)))
    assert values(await log.read(out)) == [b"%d" % n for n in range(10)]
    assert claim.state == {"last": b"9"}


async def test_one_batch_committed_twice_at_once_is_moved_once(log, shard, source, out):
    await fill(log, source, b"1", b"2")
    claim = await log.claim(shard)
    batch = await claim.batch()
    twice = (claim.commit(batch, [(out, s.record) for s in batch], {}) for _ in range(2))
    done, refused = await asyncio.gather(*twice, return_exceptions=True)
    assert len(done) == 2
    assert isinstance(refused, LogError)
    assert values(await log.read(out)) == [b"1", b"2"]


async def test_a_closed_log_ends_its_claims(log, shard):
    claim = await log.claim(shard)
    await log.close()
    with pytest.raises(Unavailable, match="closed"):
        await claim.batch()
    with pytest.raises(Unavailable, match="closed"):
        await claim.commit([], [], {})
