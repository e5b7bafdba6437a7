"""The whole hub on the embedded default: founded, used, stopped, opened again; and what it refuses."""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import stat
import subprocess
import sys
import time

import pytest

from hub.app import Hub
from hub.core import envelope, merkle, record, strict
from hub.core.checkpoint import Verifier, open_checkpoint
from hub.core.errors import ComityError, VerificationFailed
from hub.datadir import DataDirError
from hub.log import Fenced, Shard, Unavailable
from tests.flow.hubs import A, B, Partners, opened, pem, settings_for, until
from tests.world import agreement, clause


async def test_founding_enrolling_agreeing_publishing_delivering_proving(tmp_path):
    """The main job, end to end; then the hub is stopped and opened again, and all of it is still there."""
    async with opened(tmp_path) as hub:
        partners = Partners(hub)
        await partners.enroll(A, B)
        await partners.publish(agreement("alpine", [A, B], [clause("c1", [A], [B], withhold=["source_detail"])]))
        jti, raw = await partners.send(A)
        found = await partners.judged(A, jti)
        assert (found.status, list(found.acknowledged)) == ("accepted", [B])
        (delivered,) = await hub.log.read(f"comity.deliveries.{B}", wait=5)
        received = envelope.split(delivered.record.value)
        assert received.jws == envelope.split(raw).jws
        assert "source_detail" not in envelope.read(received)[0]["data"]

        async def covered():
            await hub.index.catch_up()
            return hub.index.covered > found.entry.number

        await until(covered)
        prove(hub, found)
        assert (await hub.health()).ready
        before = (found, hub.index.size, hub.index.registry.position, (tmp_path / "data/hub.vkey").read_text())
    async with opened(tmp_path) as hub:
        await hub.index.catch_up()
        again = await hub.index.notice(A, jti)
        assert (again, hub.index.size, hub.index.registry.position) == before[:3]
        assert (tmp_path / "data/hub.vkey").read_text() == before[3]
        assert hub.index.covered == hub.index.size == 5
        prove(hub, again)
        second, _ = await Partners(hub).send(A)
        found = await Partners(hub).judged(A, second)
        assert found.entry.sealed["deliveries"][0]["number"] == 2, "numbering goes on"


def prove(hub, found):
    """The delivery is in the leaf, the leaf in the tree, the tree in the signed checkpoint."""
    verifier = Verifier.parse((hub.settings.data_dir / "hub.vkey").read_text().strip())
    checkpoint = open_checkpoint(hub.index.checkpoint, verifier)
    path = hub.index.proof(found.entry.number)
    leaf = merkle.leaf_hash(found.entry.leaf_bytes)
    merkle.verify_inclusion(leaf, found.entry.number, checkpoint.size, path, checkpoint.root)
    deliveries = [record.Delivery.from_sealed(A, each) for each in found.entry.sealed["deliveries"]]
    seed = strict.unb64(found.entry.sealed["seed"])
    tree = record.DeliveryTree(seed, found.digest, deliveries, 16)
    own = tree.proof(B)
    record.verify_delivery(own.leaf, own.slot, own.slots, own.path, strict.unb64(found.entry.leaf["deliveries"]))


async def test_a_new_hub_founds_itself_in_private(tmp_path):
    """Directory 0700, keys 0600; entry 0 is hub.found, and it is signed before anything else runs."""
    async with Hub.open(settings_for(tmp_path, origin="hub.example.org/ledger")) as hub:
        data = tmp_path / "data"
        modes = {
            name: stat.S_IMODE((data / name).stat().st_mode)
            for name in ("", "keys", "keys/hub.pem", "keys/operator.pem")
        }
        assert modes == {"": 0o700, "keys": 0o700, "keys/hub.pem": 0o600, "keys/operator.pem": 0o600}
        entry = await hub.index.entry(0)
        assert (entry.leaf["kind"], entry.leaf["outcome"], hub.index.registry.position) == ("registry", "accepted", 1)
        assert hub.index.registry.origin == hub.origin == "hub.example.org/ledger"
        assert (data / "hub.vkey").read_text().startswith("hub.example.org/ledger+")
        assert (data / "origin").read_text() == "hub.example.org/ledger\n"
    async with Hub.open(settings_for(tmp_path)) as hub:
        assert hub.origin == "hub.example.org/ledger", "the name is kept when none is given"
        assert hub.index.size == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"origin": "other.example"}, "was founded with origin.*COMITY_ORIGIN="),
        ({"shards": 3}, "has 1 router shards, not 3.*comity shards set 3"),
    ],
)
async def test_what_was_fixed_at_founding_is_not_changed_by_a_setting(tmp_path, change, told):
    """Another name or another sharding would break proofs or lose positions."""
    async with Hub.open(settings_for(tmp_path)):
        pass
    with pytest.raises(ComityError, match=told):
        async with Hub.open(settings_for(tmp_path, **change)):
            pass


async def test_a_second_hub_on_the_directory_is_refused_and_names_the_first(tmp_path):
    """Within the process and from another one."""
    async with Hub.open(settings_for(tmp_path)) as hub:
        with pytest.raises(DataDirError, match=rf"process {os.getpid()}\) is running"):
            async with Hub.open(settings_for(tmp_path)):
                pass
        code = (
            "import asyncio, sys; from pathlib import Path; from hub.app import Hub; from hub.config import Settings\n"
            "async def main():\n    async with Hub.open(Settings(data_dir=Path(sys.argv[1]))): pass\n"
            "asyncio.run(main())"
        )
        child = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", code, str(hub.settings.data_dir)], capture_output=True, timeout=60
        )
        assert child.returncode == 1
        assert f"another hub (process {os.getpid()})" in child.stderr.decode()
        assert (await hub.health()).ready, "the first is not disturbed"
    async with Hub.open(settings_for(tmp_path)):
        pass


async def test_a_lock_file_left_behind_means_nothing(tmp_path):
    """A killed hub's lock file, with a pid in it, does not keep the next one out."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/hub.lock").write_text("1\n")
    async with Hub.open(settings_for(tmp_path)) as hub:
        with open(hub.settings.data_dir / "hub.lock") as file, pytest.raises(OSError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@pytest.mark.parametrize("damage", ["missing", "garbage", "another"])
async def test_a_hub_without_its_key_does_not_start(tmp_path, damage):
    """It says which file to restore, and makes no new key over the old one's place."""
    async with Hub.open(settings_for(tmp_path)):
        pass
    file = tmp_path / "data/keys/hub.pem"
    file.unlink()
    if damage != "missing":
        file.write_text("garbage" if damage == "garbage" else pem("another"))
    with pytest.raises(DataDirError, match="restore"):
        async with Hub.open(settings_for(tmp_path)):
            pass
    assert file.exists() == (damage != "missing")


async def test_a_rewritten_ledger_does_not_start(tmp_path):
    """One byte of one signed leaf is other than it was: the hub stops and says so."""
    async with Hub.open(settings_for(tmp_path)):
        pass
    rewrite(tmp_path / "data/comity.db")
    with pytest.raises(VerificationFailed):
        async with Hub.open(settings_for(tmp_path)):
            pass


def rewrite(path):
    """Change one character of the leaf of entry 0, which the last checkpoint covers."""
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        changed = db.execute(
            """UPDATE records SET value = CAST(replace(CAST(value AS TEXT), '"v":1}', '"v":2}') AS BLOB)
            WHERE CAST(value AS TEXT) LIKE '{"at":%"kind":"registry"%'"""
        ).rowcount
    assert changed == 1


class Faulty:
    """A part that fails as often as it is told, then works."""

    def __init__(self, *faults):
        self.faults = list(faults)
        self.runs = 0

    async def run(self):
        self.runs += 1
        if self.faults:
            raise self.faults.pop(0)
        await asyncio.Event().wait()


async def test_a_part_that_fails_is_started_again(tmp_path):
    """Any fault; health says so meanwhile, and is well afterwards. Being fenced is no fault."""
    async with Hub.open(settings_for(tmp_path)) as hub:
        part = Faulty(Unavailable("away"), ZeroDivisionError("secret text"), Fenced("taken"))
        hub._supervisor.start({"faulty": part.run})

        async def ill():
            health = await hub.health()
            return not health.ready and health.parts["faulty"].fault == "Unavailable"

        async def well():
            health = await hub.health()
            return health.ready and health.parts["faulty"].restarts == 2

        await until(ill)
        await until(well)

        async def all_run():
            return part.runs == 4

        await until(all_run)
        assert b'comity_part_restarts_total{part="faulty"} 2.0' in await hub.exposition()


async def test_evidence_that_does_not_verify_stops_a_part_for_good(tmp_path):
    """A restart would not mend it: the part stays down and the hub is not ready."""
    async with Hub.open(settings_for(tmp_path)) as hub:
        part = Faulty(VerificationFailed("the ledger was rewritten"))
        hub._supervisor.start({"faulty": part.run})

        async def failed():
            return (await hub.health()).parts["faulty"].state == "failed"

        await until(failed)
        health = await hub.health()
        assert (health.ready, health.parts["faulty"].state, part.runs) == (False, "failed", 1)


async def test_a_fenced_router_takes_its_shard_again(tmp_path):
    """Another process steals the shard; the hub's router claims it back, and nothing is lost or doubled."""
    async with opened(tmp_path) as hub:
        partners = Partners(hub)
        await partners.enroll(A, B)
        await partners.publish(agreement("alpine", [A, B], [clause("c1", [A], [B])]))
        await hub.log.claim(Shard("router-0-of-1", prefix="comity.notices.", index=0, count=1))
        sent = [(await partners.send(A))[0] for _ in range(5)]
        for jti in sent:
            assert (await partners.judged(A, jti)).status == "accepted"
        numbers = [d.record.headers["ce_number"] for d in await hub.log.read(f"comity.deliveries.{B}")]
        assert numbers == ["1", "2", "3", "4", "5"]


async def test_stopping_finishes_what_was_taken_in(tmp_path):
    """Notices posted just before the end are judged, delivered and signed; the next hub finds nothing left to do."""
    async with opened(tmp_path, shards=2) as hub:
        partners = Partners(hub)
        await partners.enroll(A, B)
        await partners.publish(agreement("alpine", [A, B], [clause("c1", [A], [B]), clause("c2", [B], [A])]))
        sent = [(iss, (await partners.send(iss))[0]) for iss in (A, B) * 20]
    async with opened(tmp_path) as hub:
        assert hub.index.covered == hub.index.size == 4 + 40
        assert [(await hub.index.notice(*name)).status for name in sent] == ["accepted"] * 40


async def test_a_clock_behind_the_ledger_does_not_date_entries_back(tmp_path, monkeypatch):
    """The machine's clock was set back by a year between two runs: ledger times stand still, they do not go back."""
    async with opened(tmp_path) as hub:
        await Partners(hub).enroll(A)
        last = (await hub.index.entry(hub.index.size - 1)).leaf["at"]
    now = time.time_ns
    monkeypatch.setattr("hub.app.Clock.__init__.__defaults__", (0, lambda: now() - 365 * 86_400 * 10**9))
    async with opened(tmp_path) as hub:
        assert hub.clock() >= last
        assert (await hub.health()).clock_behind_ms > 86_400_000


async def test_metrics_name_no_agency_and_no_notice(tmp_path):
    """What the hub did shows; for whom does not."""
    async with opened(tmp_path) as hub:
        partners = Partners(hub)
        await partners.enroll(A, B)
        await partners.publish(agreement("alpine", [A, B], [clause("c1", [A], [B])]))
        jti, _ = await partners.send(A)
        await partners.judged(A, jti)
        text = (await hub.exposition()).decode()
    assert 'comity_ledger_entries_total{kind="notice",outcome="accepted"} 1.0' in text
    assert "comity_deliveries_total 1.0" in text
    assert 'comity_part_up{part="router-0-of-1"} 1.0' in text
    assert not [word for word in (A, B, jti, "alpine") if word in text]


async def test_parts_are_chosen_and_named(tmp_path):
    """A hub without notary signs nothing; an unknown part is an error."""
    async with Hub.open(settings_for(tmp_path), parts=("registry",)) as hub:
        assert list(hub.parts) == ["registry"]
        assert hub.index.checkpoint is None
    with pytest.raises(ValueError, match="no such part: rooter"):
        async with Hub.open(settings_for(tmp_path), parts=("rooter",)):
            pass
