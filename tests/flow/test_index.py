"""The index answers from the log alone, keeps up, and throws itself away when it no longer fits."""

import asyncio
import hashlib
import json
import sqlite3
import time

import pytest

from hub.core import merkle, strict
from hub.core.checkpoint import Checkpoint, Signer, open_checkpoint, sign_checkpoint
from hub.core.errors import VerificationFailed
from hub.index import Index
from hub.log import Record, Shard
from hub.notary import Notary
from tests.flow.ledger import (
    AT,
    CHECKPOINTS,
    LEDGER,
    REGISTRY,
    REQUESTS,
    append,
    delivery,
    digest_of,
    entry,
    message,
    open_log,
    source,
)
from tests.world import World, key_of

SIGNER = Signer("comity.test/ledger", key_of("hub/1"))
NOTICES = "comity.notices.at-cert"


@pytest.fixture
async def log(tmp_path):
    log = await open_log(tmp_path)
    await log.create(NOTICES, "comity.notices.de-bsi")
    yield log
    await log.close()


@pytest.fixture
def index(log, tmp_path):
    index = Index(tmp_path / "index.db", log)
    yield index
    index.close()


async def post(log, raw, *, iss="at-cert", at="2027-01-15T08:00:00.123Z", **headers):
    record = Record(raw, headers={"content-type": "application/sd-jwt", "ce_time": at, **headers})
    return await log.append(f"comity.notices.{iss}", record)


async def judge(log, n, raw, offset, outcome="accepted", *, iss="at-cert", **sealed):
    value = entry(n, outcome=outcome, digest=digest_of(raw), source=source(iss, offset), **{"sender": iss, **sealed})
    await append(log, value)
    return value


async def test_a_posted_notice_is_pending_until_the_ledger_judges_it(log, index):
    """Its status, its bytes and its ledger entry, first without and then with the judgement."""
    raw = message("at-cert", "jti-0")
    offset = await post(log, raw)
    await index.catch_up()
    assert await index.notice("at-cert", "jti-0") is None, "only the messages of the agencies named are read ahead"
    await index.catch_up("at-cert")
    found = await index.notice("at-cert", "jti-0")
    assert (found.status, found.entry, found.digest, found.posted) == ("pending", None, digest_of(raw), offset)
    value = await judge(log, 0, raw, offset, deliveries=[delivery("at-cert", "de-bsi")])
    await index.catch_up()
    found = await index.notice("at-cert", "jti-0")
    assert (found.status, found.entry.number) == ("accepted", 0)
    assert found.entry.leaf_bytes + b"\n" + found.entry.sealed_bytes == value
    assert await index.message(found) == raw
    assert await index.notice("de-bsi", "jti-0") is None
    assert (await index.by_digest(digest_of(raw))).jti == "jti-0"
    assert index.leaf_index(digest_of(raw)) == 0


async def test_the_same_bytes_again_keep_the_first_answer(log, index):
    """Digest and time of acceptance are those of the first posting: before judgement, after it, and after a rebuild."""
    raw = message("at-cert", "jti-0")
    await post(log, raw)
    await post(log, raw, at="2027-01-15T09:00:00Z")
    await index.catch_up("at-cert")
    first = (digest_of(raw), 1_800_000_000_123)
    assert index.accepted("at-cert", "jti-0") == first
    await judge(log, 0, raw, 0)
    await index.catch_up()
    assert index.accepted("at-cert", "jti-0") == first
    assert index.accepted("at-cert", "jti-1") is None


async def test_other_bytes_under_a_known_jti_do_not_displace_it(log, index):
    """The accepted notice keeps its name, whatever was refused under it before or after."""
    good, bad, worse = (message("at-cert", "jti-0", text) for text in ("good", "bad", "worse"))
    for raw in (bad, good, worse):
        await post(log, raw)
    await judge(log, 0, bad, 0, "refused", jti="jti-0", reason="schema")
    await judge(log, 1, good, 1, jti="jti-0")
    await judge(log, 2, worse, 2, "refused", jti="jti-0", reason="equivocation")
    await index.catch_up()
    assert index.accepted("at-cert", "jti-0")[0] == digest_of(good)
    assert (await index.notice("at-cert", "jti-0")).entry.number == 1
    assert (await index.by_digest(digest_of(worse))).status == "refused"


async def test_a_refusal_that_believed_no_claims_is_found_under_the_claimed_name(log, index):
    """The sender asks for its notice by the jti it wrote, though the ledger could not believe that."""
    raw = message("at-cert", "jti-0")
    await post(log, raw)
    await judge(log, 0, raw, 0, "refused", jti=None, reason="signature")
    await index.catch_up()
    found = await index.notice("at-cert", "jti-0")
    assert (found.status, found.entry.sealed["reason"]) == ("refused", "signature")
    assert index.accepted("at-cert", "jti-0") is None


async def test_a_copy_posted_by_another_does_not_touch_the_original(log, index):
    """de-bsi posts at-cert's bytes and is refused; at-cert's own notice stays as it was."""
    raw = message("at-cert", "jti-0")
    await post(log, raw, iss="de-bsi")
    await post(log, raw)
    await judge(log, 0, raw, 0, "refused", iss="de-bsi", jti=None, reason="wrong-sender")
    await index.catch_up("at-cert")
    assert (await index.notice("at-cert", "jti-0")).status == "pending"
    assert (await index.by_digest(digest_of(raw), "de-bsi")).status == "refused"
    await judge(log, 1, raw, 0)
    await index.catch_up()
    assert (await index.by_digest(digest_of(raw))).iss == "at-cert"
    assert index.leaf_index(digest_of(raw)) == 1


async def test_a_message_the_api_refused_is_never_an_accepted_one(log, index):
    """The mark of the API counts from the start, not only from the ledger entry on."""
    await post(log, message("at-cert", "jti-0"), **{"comity-refused": "schema"})
    await index.catch_up("at-cert")
    assert index.accepted("at-cert", "jti-0") is None
    assert (await index.notice("at-cert", "jti-0")).status == "refused"


async def test_a_refused_notice_posted_again_and_then_accepted_has_its_new_time(log, index):
    """A key was not valid yet; the same bytes later are good, and their answer is that of the later posting."""
    raw = message("at-cert", "jti-0")
    await post(log, raw)
    await judge(log, 0, raw, 0, "refused", jti="jti-0", reason="key-not-yet-valid")
    await index.catch_up()
    assert index.accepted("at-cert", "jti-0") is None
    await post(log, raw, at="2027-01-15T09:00:00Z")
    await index.catch_up("at-cert")
    await judge(log, 1, raw, 1, jti="jti-0")
    await index.catch_up()
    assert index.accepted("at-cert", "jti-0") == (digest_of(raw), 1_800_003_600_000)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"~",
        b"..~",
        b"a.b.c~",
        message("at-cert", "jti\ud800"),
        b"e30." + b"W1tbW1tb" * 20_000 + b".x~",
        message("at-cert", "j" * 10_000),
        b"\x00" * 10,
    ],
)
async def test_a_message_that_cannot_be_read_adds_nothing_and_stops_nothing(log, index, value):
    """What a partner writes into its topic is no reason for the index to stand still."""
    await post(log, value)
    raw = message("at-cert", "jti-1")
    await post(log, raw)
    await judge(log, 0, value, 0, "refused", jti=None, reason="malformed")
    await index.catch_up("at-cert")
    assert (await index.notice("at-cert", "jti-1")).status == "pending"
    assert (await index.by_digest(digest_of(value))).status == "refused"


async def test_acknowledgements_are_counted_once_and_only_for_their_delivery(log, index):
    """By recipient, sender and number; the first one counts."""
    raw = message("at-cert", "jti-0")
    await post(log, raw)
    both = [delivery("at-cert", "ch-ncsc", 4), delivery("at-cert", "de-bsi", 7)]
    await judge(log, 0, raw, 0, deliveries=both)
    stored = [{"sender": "at-cert", "number": 7, "digest": "x"}]
    await append(log, entry(1, "ack", sender="de-bsi", stored=stored), entry(2, "ack", sender="de-bsi", stored=stored))
    await index.catch_up()
    assert (await index.notice("at-cert", "jti-0")).acknowledged == {"ch-ncsc": None, "de-bsi": AT + 1}
    assert index.acknowledged("de-bsi", "at-cert", 7) == AT + 1
    assert index.acknowledged("de-bsi", "at-cert", 8) is None


def statement(world, name):
    payload = {"statement": "agency.enroll", "agency": {"id": name, "name": name, "role": "partner"}, "key": {}}
    document = world.document(payload, "operator/1")
    return json.loads(document), document


async def test_a_statement_is_pending_then_accepted_and_stays_so(log, index):
    """A repeat is refused as a duplicate, which does not undo the acceptance."""
    document, raw = statement(World(), "at-cert")
    id_ = json.loads(strict.unb64(document["payload"]))["id"]
    assert await index.statement(id_) is None
    await append(log, raw, topic=REQUESTS)
    await index.catch_up()
    assert ((await index.statement(id_)).status, (await index.statement(id_)).entry) == ("pending", None)
    digest = hashlib.sha256(b"payload").digest()
    await append(log, entry(0, "registry", digest=digest, statement=document, position=1, effective=AT))
    await index.catch_up()
    assert (await index.statement(id_)).status == "accepted"
    await append(log, raw, topic=REQUESTS)
    await append(log, entry(1, "registry", "refused", raw=raw.decode(), reason="duplicate-statement", detail=""))
    await index.catch_up()
    found = await index.statement(id_)
    assert (found.status, found.entry.number, found.entry.sealed["position"]) == ("accepted", 0, 1)
    assert index.leaf_index(digest) == 0


async def test_a_refused_statement_sent_again_is_pending_again(log, index):
    """Its status is of the newest sending, so a client that waits does not read the old refusal."""
    document, raw = statement(World(), "at-cert")
    id_ = json.loads(strict.unb64(document["payload"]))["id"]
    await append(log, raw, topic=REQUESTS)
    await append(log, entry(0, "registry", "refused", raw=raw.decode(), reason="missing-signature", detail=""))
    await index.catch_up()
    assert (await index.statement(id_)).status == "refused"
    await append(log, raw, topic=REQUESTS)
    await index.catch_up()
    assert (await index.statement(id_)).status == "pending"
    await append(log, entry(1, "registry", statement=document, position=1, effective=AT))
    await index.catch_up()
    assert (await index.statement(id_)).status == "accepted"


async def test_the_registry_follows_its_topic(log, index):
    """The fold is that of the events, for views at any position."""
    world = World("at-cert", "de-bsi")
    await append(log, *(strict.dumps(event.model_dump()) for event in world.events), topic=REGISTRY)
    await index.catch_up()
    assert index.registry.position == 3
    assert [agency.id for agency in index.registry.view().agencies(world.at)] == ["at-cert", "de-bsi"]


async def test_proofs_are_for_the_newest_checkpoint(log, index):
    """Every covered entry proves against it; an entry beyond has no proof yet."""
    notary = Notary(log, SIGNER)
    for n in range(11):
        await append(log, entry(n))
    await notary.step()
    await append(log, entry(11))
    await index.catch_up()
    checkpoint = open_checkpoint(index.checkpoint, SIGNER.verifier)
    assert (index.size, index.covered, checkpoint.size) == (12, 11, 11)
    for found in await index.entries():
        path = index.proof(found.number)
        if found.number == 11:
            assert path is None
        else:
            leaf = merkle.leaf_hash(found.leaf_bytes)
            merkle.verify_inclusion(leaf, found.number, checkpoint.size, path, checkpoint.root)
    lag = await index.lag()
    assert (lag.unindexed, lag.uncovered, lag.uncovered_since) == (0, 1, AT + 11)


async def test_entries_are_read_in_pages(log, index):
    """After, limit, and the end."""
    values = [entry(n) for n in range(7)]
    await append(log, *values)
    await index.catch_up()
    page = await index.entries(after=2, limit=3)
    assert [found.number for found in page] == [3, 4, 5]
    assert [found.leaf_bytes + b"\n" + found.sealed_bytes for found in page] == values[3:6]
    assert await index.entries(after=6) == []
    assert await index.entry(7) is None
    assert await index.entry(-1) is None


async def test_an_erased_sealed_part_leaves_the_leaf(log, index):
    """The entry is there, proves, and says no more."""
    await append(log, entry(0).partition(b"\n")[0])
    await index.catch_up()
    found = await index.entry(0)
    assert (found.sealed, found.sealed_bytes, found.leaf["kind"]) == (None, None, "notice")


async def test_reopening_continues_and_answers_the_same(log, tmp_path):
    """Positions are on disk: only what is new is read; the tree comes back from the tables."""
    raw = message("at-cert", "jti-0")
    await post(log, raw)
    await judge(log, 0, raw, 0)
    await Notary(log, SIGNER).step()
    first = Index(tmp_path / "index.db", log)
    await first.catch_up()
    expected = (await first.notice("at-cert", "jti-0"), first.checkpoint, first.proof(0), first.tree.root())
    first.close()
    counted = []
    second = Index(tmp_path / "index.db", log, lambda entries, deliveries: counted.append(sum(entries.values())))
    await second.catch_up()
    assert (await second.notice("at-cert", "jti-0"), second.checkpoint, second.proof(0), second.tree.root()) == expected
    assert counted == []
    await append(log, entry(1))
    await second.catch_up()
    assert counted == [1]
    second.close()


@pytest.mark.parametrize("damage", ["shorter", "other"])
async def test_an_index_of_another_log_is_made_again(tmp_path, damage):
    """The log was restored from an older copy, or is another one: the file is thrown away."""
    (tmp_path / "old").mkdir()
    (tmp_path / "new").mkdir()
    old, new = await open_log(tmp_path / "old"), await open_log(tmp_path / "new")
    await append(old, *(entry(n) for n in range(5)))
    await append(new, *(entry(n if damage == "shorter" else n + 50) for n in range(3 if damage == "shorter" else 5)))
    index = Index(tmp_path / "index.db", old)
    await index.catch_up()
    index.close()
    await old.close()
    index = Index(tmp_path / "index.db", new)
    await index.catch_up()
    assert index.size == (3 if damage == "shorter" else 5)
    assert index.leaf_index(hashlib.sha256(b"digest 4").digest()) is None
    fresh = Index(tmp_path / "fresh.db", new)
    await fresh.catch_up()
    assert index.tree.root() == fresh.tree.root()
    for each in (index, fresh):
        each.close()
    await new.close()


@pytest.mark.parametrize("content", [b"not a database, but long enough to be looked at" * 40, b""])
async def test_a_file_that_is_no_index_is_made_again(log, tmp_path, content):
    """Whatever stands there is only a copy."""
    await append(log, entry(0))
    (tmp_path / "index.db").write_bytes(content)
    index = Index(tmp_path / "index.db", log)
    await index.catch_up()
    assert index.size == 1
    index.close()


async def test_an_index_of_another_version_is_made_again(log, tmp_path):
    """Tables of another shape are not read."""
    db = sqlite3.connect(tmp_path / "index.db")
    db.executescript("CREATE TABLE entries (x); PRAGMA user_version = 99")
    db.close()
    await append(log, entry(0))
    index = Index(tmp_path / "index.db", log)
    await index.catch_up()
    assert index.size == 1
    index.close()


async def test_an_index_that_disagrees_with_a_checkpoint_is_made_again(log, tmp_path):
    """A leaf hash was changed in the file: the checkpoint shows it, and the log mends it."""
    await append(log, *(entry(n) for n in range(4)))
    await Notary(log, SIGNER).step()
    index = Index(tmp_path / "index.db", log)
    await index.catch_up()
    index.close()
    db = sqlite3.connect(tmp_path / "index.db")
    db.execute("UPDATE entries SET hash = zeroblob(32) WHERE number = 2")
    db.commit()
    db.close()
    index = Index(tmp_path / "index.db", log)
    await index.catch_up()
    assert (index.size, index.covered) == (4, 4)
    assert index.tree.root() == open_checkpoint(index.checkpoint, SIGNER.verifier).root
    index.close()


async def test_a_checkpoint_that_the_ledger_does_not_have_stops_the_index(log, index):
    """No proof is made for a root that the entries do not give."""
    await append(log, entry(0))
    forged = sign_checkpoint(Checkpoint(SIGNER.name, 1, b"\x01" * 32), SIGNER)
    await append(log, forged, topic=CHECKPOINTS)
    with pytest.raises(VerificationFailed, match="audit verify"):
        await index.catch_up()
    assert index.checkpoint is None


async def test_junk_in_the_ledger_stops_the_index_by_name(log, index):
    """The ledger is the hub's own: what is no entry is evidence of a fault, named by its number."""
    await append(log, entry(0), b"not JSON")
    with pytest.raises(VerificationFailed, match="ledger entry 1"):
        await index.catch_up()


async def test_waiting_callers_share_one_run_and_see_their_own_writes(log, index):
    """Fifty callers at once: each sees what it appended before it asked."""

    async def one(n):
        raw = message("at-cert", f"jti-{n}")
        await post(log, raw)
        await index.catch_up("at-cert")
        assert await index.notice("at-cert", f"jti-{n}") is not None

    await asyncio.gather(*(one(n) for n in range(50)))


async def test_run_follows_ledger_and_checkpoints(log, index):
    """Nobody asks for a catch-up; new entries and checkpoints appear."""
    running = asyncio.create_task(index.run())
    notary = Notary(log, SIGNER)
    try:
        for n in range(3):
            await append(log, entry(n))
            await notary.step()
            async with asyncio.timeout(5):
                while index.covered != n + 1:
                    await asyncio.sleep(0.01)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.mark.slow
async def test_it_keeps_up_with_five_thousand_entries_a_second(tmp_path):
    """The time to index entries with three deliveries each, once they are in the log."""
    log = await open_log(tmp_path)
    await log.create(NOTICES)
    claim = await log.claim(Shard("load", topics=("none",)))
    recipients = ("ch-ncsc", "de-bsi", "us-cisa")
    total = 10_000
    for start in range(0, total, 500):
        raws = [message("at-cert", f"jti-{n}", "x" * 800) for n in range(start, start + 500)]
        outputs = [(NOTICES, Record(raw, headers={"ce_time": "2027-01-15T08:00:00Z"})) for raw in raws]
        outputs += [
            (LEDGER, Record(entry(n, digest=digest_of(raw), source=source("at-cert", n),
                                  deliveries=[delivery("at-cert", to, n) for to in recipients])))
            for n, raw in enumerate(raws, start)
        ]  # fmt: skip
        await claim.commit([], outputs, {})
    index = Index(tmp_path / "index.db", log)
    began = time.process_time()
    await index.catch_up()
    seconds = time.process_time() - began
    assert index.size == total
    assert total / seconds > 5_000, f"{total / seconds:.0f} entries a second of CPU"
    index.close()
    await log.close()


async def test_whoever_waits_for_a_catch_up_that_ends_early_still_gets_what_it_asked_for(log, index):
    """Two callers share a run; its owner gives up in the middle. The other's agency is followed all the same."""
    raw = message("at-cert", "j-1")
    await post(log, raw)
    reached, go_on = asyncio.Event(), asyncio.Event()
    read = log.read

    async def slow(*args, **options):
        reached.set()
        await go_on.wait()
        return await read(*args, **options)

    log.read = slow
    owner = asyncio.create_task(index.catch_up())
    await reached.wait()
    later = [asyncio.create_task(index.catch_up(name)) for name in ("at-cert", "de-bsi")]
    await asyncio.sleep(0)
    reached.clear()
    owner.cancel()
    await reached.wait()  # the first of the two runs for both …
    later[0].cancel()  # … and gives up as well
    go_on.set()
    await later[1]
    assert (await index.notice("at-cert", "j-1")).status == "pending"
