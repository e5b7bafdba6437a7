"""Checkpoints, proofs and entries over HTTP, verified as an outsider would: with public keys and nothing else."""

import asyncio
import hashlib

import pytest

from hub.core import merkle, record, strict
from hub.core.checkpoint import Verifier, open_checkpoint
from tests.api.rig import AUDITOR, OUT, A, B, C, problem, until

pytestmark = pytest.mark.asyncio(loop_scope="module")


def verifier(rig):
    return Verifier.parse((rig.hub.directory.path / "hub.vkey").read_text().strip())


async def published(rig, **change):
    answer = await rig.publish(A, rig.now().notice(A, **change))
    assert answer.status_code == 202, answer.text
    await rig.settled(answer.json())
    return answer.json()


def check(rig, proof):
    """The inclusion of the proof's leaf in its checkpoint."""
    checkpoint = open_checkpoint(proof["checkpoint"].encode(), verifier(rig))
    path = [strict.unb64(node) for node in proof["path"]]
    leaf = merkle.leaf_hash(proof["leaf"].encode())
    merkle.verify_inclusion(leaf, proof["index"], checkpoint.size, path, checkpoint.root)
    return strict.loads(proof["leaf"].encode())


async def test_the_checkpoint_is_a_signed_note_for_every_caller(rig):
    await published(rig)
    for who in (A, OUT, AUDITOR, "operator"):
        answer = await rig.get(who, "/v1/ledger/checkpoint")
        assert answer.headers["content-type"].startswith("text/plain")
        assert open_checkpoint(answer.content, verifier(rig)).size > 0


async def test_sender_and_auditor_get_a_proof_with_the_sealed_part(rig):
    notice = await published(rig)
    for who in (A, AUDITOR):
        proof = (await rig.get(who, "/v1/ledger/proof", digest=notice["digest"])).json()
        leaf = check(rig, proof)
        assert leaf["digest"] == notice["digest"]
        assert strict.b64(hashlib.sha256(proof["sealed"].encode()).digest()) == leaf["sealed"]
        assert "delivery" not in proof


async def test_a_recipient_proves_its_own_delivery_and_sees_no_other(rig):
    notice = await published(rig)
    proof = (await rig.get(C, "/v1/ledger/proof", digest=notice["digest"])).json()
    leaf = check(rig, proof)
    delivery = proof["delivery"]
    path = [strict.unb64(node) for node in delivery["path"]]
    record.verify_delivery(
        delivery["leaf"].encode(), delivery["slot"], delivery["slots"], path, strict.unb64(leaf["deliveries"])
    )
    said = strict.loads(delivery["leaf"].encode())
    assert (said["recipient"], said["clause"], said["withheld"]) == (C, "narrow", ["source_detail"])
    assert "sealed" not in proof and B not in str(proof)


async def test_a_proof_has_one_size_whoever_else_received(rig):
    """Two notices that differ only in whether B received too give C answers of the same shape."""
    alone = await published(rig, rel_to=[C])
    both = await published(rig, rel_to=[B, C])
    one, other = [(await rig.get(C, "/v1/ledger/proof", digest=each["digest"])).json() for each in (alone, both)]
    assert (
        len(one["delivery"]["path"]) == len(other["delivery"]["path"])
        and one["delivery"]["slots"] == other["delivery"]["slots"]
    )
    assert len(one["leaf"]) == len(other["leaf"]) and one.keys() == other.keys()


async def test_who_posts_what_it_received_keeps_the_proof_of_its_delivery(rig):
    """Its copy is refused, for it did not sign it; the proof for the digest is still that of the delivery."""
    raw = rig.now().notice(A, rel_to=[C])
    notice = (await rig.publish(A, raw)).json()
    await rig.settled(notice)
    covered = rig.hub.index.covered
    problem(await rig.publish(C, raw), 403, "wrong-sender")

    async def refusal_is_covered():
        return rig.hub.index.covered > covered

    await until(refusal_is_covered)
    proof = (await rig.get(C, "/v1/ledger/proof", digest=notice["digest"])).json()
    assert check(rig, proof)["outcome"] == "accepted"
    assert proof["delivery"]


async def test_a_proof_for_others_does_not_exist(rig):
    notice = await published(rig, rel_to=[C])
    absent = await rig.get(OUT, "/v1/ledger/proof", digest=strict.b64(b"x" * 32))
    for who in (OUT, B, "operator"):
        foreign = await rig.get(who, "/v1/ledger/proof", digest=notice["digest"])
        problem(foreign, 404, "not-found")
        assert foreign.content == absent.content
    for wrong in ("", "a=b", "ü", "A"):
        assert (await rig.get(A, "/v1/ledger/proof", digest=wrong)).status_code in (400, 404)


async def test_a_refused_notice_has_a_proof_too(rig):
    raw = rig.now().notice(A, tlp="TLP:PURPLE")
    problem(await rig.publish(A, raw), 422, "schema")
    digest = strict.b64(hashlib.sha256(raw.partition(b"~")[0]).digest())

    async def proven():
        answer = await rig.get(A, "/v1/ledger/proof", digest=digest)
        return answer if answer.status_code == 200 else None

    assert check(rig, (await until(proven)).json())["outcome"] == "refused"


async def test_an_entry_that_no_checkpoint_covers_yet_says_so(rig, monkeypatch):
    notice = await published(rig)
    monkeypatch.setattr(rig.hub.index, "proof", lambda number: None)
    answer = await rig.get(A, "/v1/ledger/proof", digest=notice["digest"])
    problem(answer, 409, "not-yet-covered")
    assert answer.headers["retry-after"] == "1"


async def test_entries_are_for_auditors_and_pages_join(rig):
    await published(rig)
    for who in (A, "operator"):
        problem(await rig.get(who, "/v1/ledger/entries"), 403, "forbidden")
    got, after = [], -1
    while len(got) < 6:
        page = (await rig.get(AUDITOR, "/v1/ledger/entries", after=after, limit=2)).json()
        got += page["entries"]
        after = page["next"]
    assert [each["index"] for each in got] == list(range(len(got)))
    for each in got:
        leaf = strict.loads(each["leaf"].encode())
        assert strict.b64(hashlib.sha256(each["sealed"].encode()).digest()) == leaf["sealed"]


async def test_reading_the_ledger_is_itself_in_the_ledger_but_reading_that_is_not(rig):
    await asyncio.sleep(0.2)  # what tests before this one have read is on record by now
    told = await published(rig)
    index = rig.hub.index
    first = (await index.notice(A, told["jti"])).entry.number
    page = (await rig.get(AUDITOR, "/v1/ledger/entries", after=first - 1)).json()

    async def logged():
        await index.catch_up()
        found = await index.entries(first)
        return [each for each in found if each.leaf["kind"] == "read" and each.sealed["read"]["from"] == first]

    [entry] = await until(logged)
    said = entry.sealed["read"]
    assert (entry.sealed["sender"], said["reader"]) == (AUDITOR, AUDITOR)
    assert (said["from"], said["to"]) == (page["entries"][0]["index"], page["entries"][-1]["index"])
    size = index.size
    for _ in range(3):  # an auditor that follows the end of the ledger does not make it grow
        after = page["next"]
        page = (await rig.get(AUDITOR, "/v1/ledger/entries", after=after)).json()
    assert page["entries"] == [] and index.size == size
