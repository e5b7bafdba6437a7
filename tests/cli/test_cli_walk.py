"""The walk-through of an agency of one's own, from key to audit, by the commands alone, against a serving hub."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from hub.cli.doctor import data_directory
from tests.cli.conftest import Comity, Up

AGREEMENT = {
    "id": "alpine", "version": 1, "title": "Alpine security", "parties": ["at-cert", "de-bsi"],
    "in_force": {"from": "2025-01-01T00:00:00Z", "until": "2090-01-01T00:00:00Z"},
    "clauses": [
        {
            "id": "c1", "from": ["at-cert"], "to": ["de-bsi"], "areas": ["security"], "ceiling": "TLP:AMBER",
            "when": [{"field": "severity", "op": "at_least", "value": "high"}], "withhold": ["source_detail"],
        }
    ],
}  # fmt: skip


@pytest.fixture
def at(comity: Comity, up: Up, monkeypatch: pytest.MonkeyPatch) -> Comity:
    monkeypatch.setenv("COMITY_CLIENT_URL", up.url)
    return comity


def enrol(at: Comity, up: Up, *agencies: str) -> None:
    for agency in agencies:
        key = f"{agency}.key.json"
        at.ok("key", "new", agency)
        at.ok("agency", "enroll", "--agency-key", key, "--name", agency.upper(), "--key", up.operator)


def published(at: Comity, key: str = "at-cert.key.json") -> str:
    """The jti of a fresh notice of the example, posted."""
    at.ok("notice", "new", "threat.cyber.v1", "--out", "n.json")
    Path("n.sdjwt").unlink(missing_ok=True)
    at.ok("notice", "sign", "n.json", "--key", key, "--out", "n.sdjwt")
    jti: str = at.ok("notice", "publish", "n.sdjwt", "--key", key, "-o", "json").json[0]["jti"]
    return jti


def test_from_key_to_audit(at: Comity, up: Up) -> None:
    enrol(at, up, "at-cert", "de-bsi", "us-cisa")
    listed = at.ok("agency", "list", "--key", "at-cert.key.json", "-o", "json").json
    assert [each["id"] for each in listed["agencies"]] == ["at-cert", "de-bsi", "us-cisa"]

    proposed = at.ok("agreement", "sign", "-", "--key", "at-cert.key.json", stdin=json.dumps(AGREEMENT))
    assert "still to sign: de-bsi" in proposed.err
    signed = at.ok("agreement", "sign", "-", "--key", "de-bsi.key.json", stdin=proposed.out)
    assert at("agreement", "publish", "-", "--key", "at-cert.key.json", stdin=proposed.out).code == 1
    assert "alpine version 1" in at.ok("agreement", "publish", "-", "--key", "at-cert.key.json", stdin=signed.out).err
    assert at.ok("agreement", "show", "--key", "de-bsi.key.json", "-o", "json").json[0]["status"] == "in-force"
    assert at("agreement", "show", "alpine", "--key", "us-cisa.key.json").code == 1

    at.ok("notice", "new", "threat.cyber.v1", "--out", "fields.json")
    grants = at.ok("notice", "preview", "fields.json", "--key", "at-cert.key.json", "-o", "json").json["grants"]
    assert [(each["recipient"], each["withheld"]) for each in grants] == [("de-bsi", ["source_detail"])]
    jti = published(at)
    at.ok("notice", "verify", "n.sdjwt", "--key", "de-bsi.key.json")

    tail = at.ok("notice", "tail", "--no-follow", "--inbox", "in", "--key", "de-bsi.key.json", "-o", "json").json
    assert tail["claims"]["jti"] == jti and "source_detail" not in tail["claims"]["data"]
    Path("delivered.sdjwt").write_text(tail["notice"])
    Path("agencies.json").write_text(json.dumps(listed))
    redacted = at.ok("notice", "verify", "delivered.sdjwt", "--agencies", "agencies.json", "-o", "json").json
    assert redacted["withheld"] == 1
    assert at.ok("notice", "tail", "--no-follow", "--inbox", "in", "--key", "de-bsi.key.json").out == ""

    why = at.ok("notice", "explain", jti, "us-cisa", "--key", "at-cert.key.json", "-o", "json").json
    assert [each["code"] for each in why["reasons"]] == ["no-agreement"]
    proof = at.ok(
        "audit", "prove", "n.sdjwt", "--key", "de-bsi.key.json", "--vkey", up.data / "hub.vkey", "-o", "json"
    ).json
    assert proof["delivery"]["clause"] == "c1" and proof["sealed"] is None
    assert at("audit", "prove", "n.sdjwt", "--key", "us-cisa.key.json", "--vkey", up.data / "hub.vkey").code == 1

    kept = at.ok("audit", "checkpoint", "--key", "de-bsi.key.json", "--vkey", up.data / "hub.vkey", "--out", "kept")
    assert "it holds" in kept.err
    report = at.ok("audit", "verify", "--dir", up.data, "--checkpoint", "kept", "-o", "json").json
    assert report["holds"] and report["deliveries"] >= 1
    replay = at.ok("audit", "replay", jti, "--dir", up.data, "-o", "json").json
    assert replay["same"] and replay["denied"] == {"us-cisa": "no-agreement"}


def test_an_enrolment_travels_as_a_file_from_the_agency_to_the_operator(at: Comity, up: Up) -> None:
    at.ok("key", "new", "jp-meti", "2026-9")
    draft = at.ok("agency", "enroll", "--agency-key", "jp-meti.key.json", "--name", "METI", "--draft")
    at.ok("agency", "enroll", "-", "--key", up.operator, stdin=draft.out)
    shown = at.ok("agency", "show", "jp-meti", "--key", "jp-meti.key.json", "-o", "json").json
    assert [key["kid"] for key in shown["keys"]] == ["jp-meti/2026-9"]


def test_a_key_is_rotated_then_the_old_one_revoked_and_denied(at: Comity, up: Up) -> None:
    at.ok("key", "new", "nl-port", "first")
    at.ok("agency", "enroll", "--agency-key", "nl-port.key.json", "--name", "Port", "--key", up.operator)
    fresh = at.ok("key", "rotate", "--key", "nl-port.key.json", "--name", "second", "-o", "json").json
    assert fresh["kid"] == "nl-port/second"
    at.ok("key", "revoke", "nl-port/first", "--reason", "lost", "--key", fresh["file"])
    denied = at("agency", "list", "--key", "nl-port.key.json")
    assert denied.code == 4 and "nl-port/first" in denied.err
    at.ok("agency", "list", "--key", fresh["file"])


def test_a_party_terminates_an_agreement(at: Comity, up: Up) -> None:
    enrol(at, up, "fr-one", "it-two")
    mine = AGREEMENT | {"id": "short", "parties": ["fr-one", "it-two"]}
    mine["clauses"] = [AGREEMENT["clauses"][0] | {"from": ["fr-one"], "to": ["it-two"]}]  # type: ignore[index]
    one = at.ok("agreement", "sign", "-", "--key", "fr-one.key.json", stdin=json.dumps(mine))
    both = at.ok("agreement", "sign", "-", "--key", "it-two.key.json", stdin=one.out)
    at.ok("agreement", "publish", "-", "--key", "fr-one.key.json", stdin=both.out)
    changed = json.dumps(mine | {"version": 2, "title": "Shorter"})
    diff = at.ok("agreement", "diff", "hub:short", "-", "--key", "it-two.key.json", "-o", "json", stdin=changed).json
    assert {each["what"] for each in diff} == {"version", "title"}
    at.ok("agreement", "terminate", "short", "--reason", "enough", "--key", "it-two.key.json")
    assert at.ok("agreement", "show", "--key", "fr-one.key.json", "-o", "json").json[0]["status"] == "terminated"
    jti = published(at, "fr-one.key.json")
    why = at.ok("notice", "explain", jti, "it-two", "--key", "fr-one.key.json")
    assert "terminated" in why.out


def test_publishing_anothers_notice_is_denied_and_told_in_one_line(at: Comity, up: Up) -> None:
    enrol(at, up, "se-one", "fi-two")
    at.ok("notice", "new", "threat.cyber.v1", "--out", "n.json")
    at.ok("notice", "sign", "n.json", "--key", "se-one.key.json", "--out", "n.sdjwt")
    answer = at("notice", "publish", "n.sdjwt", "--key", "fi-two.key.json")
    assert answer.code == 4
    assert answer.err.startswith("comity: refused: wrong-sender") and answer.err.count("\n") == 1


def test_a_changed_notice_does_not_verify(at: Comity, up: Up) -> None:
    enrol(at, up, "no-one")
    at.ok("notice", "new", "threat.cyber.v1", "--out", "n.json")
    at.ok("notice", "sign", "n.json", "--key", "no-one.key.json", "--out", "n.sdjwt")
    head, payload, rest = Path("n.sdjwt").read_text().split(".", 2)
    other = "A" if rest[0] != "A" else "B"
    answer = at("notice", "verify", "-", "--key", "no-one.key.json", stdin=f"{head}.{payload}.{other}{rest[1:]}")
    assert answer.code == 3 and "does not verify" in answer.err
    unknown = at("notice", "verify", "n.sdjwt", "--agencies", "-", stdin='{"agencies":[]}')
    assert unknown.code == 3 and "no agency has registered" in unknown.err


def test_doctor_finds_a_healthy_hub_and_names_what_is_not(at: Comity, up: Up) -> None:
    enrol(at, up, "dk-one")
    checks = {
        each["what"]: each for each in at.ok("doctor", "--key", "dk-one.key.json", "--dir", up.data, "-o", "json").json
    }
    assert {
        checks[name]["status"] for name in ("hub", "clock", "key file", "registration", "data directory", "log file")
    } == {"ok"}

    at.ok("key", "new", "dk-two")
    stranger = at("doctor", "--key", "dk-two.key.json")
    assert stranger.code == 1 and "agency enroll" in stranger.out
    Path("dk-two.key.json").chmod(0o644)
    exposed = at("doctor", "--key", "dk-two.key.json")
    assert exposed.code == 1 and "chmod 600" in exposed.out
    away = at("doctor", "--hub", "http://127.0.0.1:9")
    assert away.code == 5 and "comity up" in away.out


def test_doctor_names_what_is_wrong_with_a_data_directory(comity: Comity, tmp_path: Path) -> None:
    data = tmp_path / "data"
    assert {check.what: check.status for check in data_directory(data)} == {"data directory": "fault"}
    (data / "keys").mkdir(mode=0o700, parents=True)
    data.chmod(0o755)
    with contextlib.closing(sqlite3.connect(data / "comity.db")) as db:
        db.execute("PRAGMA user_version = 99")
    found = {check.what: check for check in data_directory(data)}
    assert found["data directory"].mend == f"chmod 700 {data}" and found["log file"].status == "fault"
    assert "99" in found["log file"].found
    (data / "comity.db").write_bytes(b"not a database, but long enough to be looked at" * 100)
    assert "backup" in ({check.what: check for check in data_directory(data)}["log file"].mend or "")
    answer = comity("doctor", "--dir", data, "--hub", "http://127.0.0.1:9")
    assert answer.code == 1
