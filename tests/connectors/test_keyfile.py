"""The key file, and what is refused when a notice or a statement is drawn up."""

from __future__ import annotations

import json
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors import InvalidNotice, KeyFileError, PartnerKey, SignedNotice, notices, statements
from hub.core import envelope
from hub.core.process import MAX_LIFETIME
from tests.world import CYBER

KEY = PartnerKey.generate("us-cisa", "2026-1")
USUAL: dict[str, Any] = {"type": "threat.cyber.v1", "subject": "s", "tlp": "TLP:GREEN", "data": CYBER}


def test_a_saved_key_loads_again_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    file = KEY.save(tmp_path / "us-cisa.key.json")
    loaded = PartnerKey.load(file)
    assert (loaded.agency, loaded.kid, loaded.public) == ("us-cisa", "us-cisa/2026-1", KEY.public)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [file]


def test_a_key_is_never_written_over_another(tmp_path: Path) -> None:
    file = KEY.save(tmp_path / "key.json")
    with pytest.raises(KeyFileError, match="never overwritten"):
        PartnerKey.generate("de-bsi", "1").save(file)
    assert PartnerKey.load(file).public == KEY.public


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    file = KEY.save(tmp_path / "key.json")
    file.chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        PartnerKey.load(file)


def broken(change: dict[str, Any]) -> str:
    return json.dumps({"agency": "us-cisa", "kid": "us-cisa/1", "key": "x"} | change)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("", "not a key file"),
        ("[]", "exactly the texts"),
        (broken({"more": 1}), "exactly the texts"),
        (broken({"key": 7}), "exactly the texts"),
        (broken({}), "not an unencrypted PKCS 8 PEM"),
    ],
)
def test_a_broken_key_file_is_refused_and_named(tmp_path: Path, content: str, told: str) -> None:
    file = tmp_path / "key.json"
    file.touch(0o600)
    file.write_text(content)
    with pytest.raises(KeyFileError, match=told):
        PartnerKey.load(file)


def test_a_kid_of_another_agency_is_refused(tmp_path: Path) -> None:
    file = KEY.save(tmp_path / "key.json")
    said = json.loads(file.read_text())
    file.write_text(json.dumps(said | {"agency": "de-bsi"}))
    with pytest.raises(KeyFileError, match="not one of de-bsi"):
        PartnerKey.load(file)
    with pytest.raises(KeyFileError, match="cannot read"):
        PartnerKey.load(tmp_path / "missing")
    with pytest.raises(KeyFileError, match="kid"):
        PartnerKey("us-cisa", "de-bsi/1", KEY.private)


@pytest.mark.parametrize(("agency", "name"), [("USA", "1"), ("us-cisa", ""), ("us-cisa", "a b"), ("us-cisa/x", "1")])
def test_bad_names_are_refused(agency: str, name: str) -> None:
    with pytest.raises(KeyFileError):
        PartnerKey.generate(agency, name)


@pytest.mark.parametrize(
    ("exp", "seconds"),
    [(None, 30 * 86_400), (timedelta(hours=1), 3_600), (datetime.now(UTC) + timedelta(days=2), 2 * 86_400)],
)
def test_a_notice_expires_when_it_is_told_to(exp: Any, seconds: int) -> None:
    said = notices.claims("us-cisa", **USUAL, exp=exp)
    assert abs(said["exp"] - said["iat"] - seconds) <= 120


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"tlp": "TLP:PINK"}, "tlp"),
        ({"type": "threat.cybre.v1"}, "did you mean threat.cyber.v1"),
        ({"subject": ""}, "subject"),
        ({"data": CYBER | {"severity": "hgh"}}, "data.severity"),
        ({"data": CYBER | {"colour": "red"}}, "data.colour"),
        ({"data": CYBER | {"title": "x" * 5_000}}, "data.title"),
        ({"updates": "1", "tlp": "TLP:RED"}, "updates"),
        ({"exp": timedelta(seconds=-1)}, "exp"),
        ({"exp": MAX_LIFETIME * 10**6}, "exp"),
        ({"exp": datetime(2030, 1, 1)}, "time zone"),
        ({"data": CYBER | {"indicators": [{"type": "other", "value": "y" * 8_000}] * 20}}, "too-large"),
    ],
)
def test_a_notice_that_the_hub_would_refuse_is_refused_here_and_the_fault_named(
    change: dict[str, Any], told: str
) -> None:
    with pytest.raises(InvalidNotice, match=told):
        notices.sign(notices.claims("us-cisa", **USUAL | change), KEY)


def test_withholdable_fields_and_no_others_become_disclosures() -> None:
    signed = notices.sign(notices.claims("us-cisa", **USUAL), KEY)
    found = envelope.split(signed.raw)
    assert [each.name for each in found.disclosures.values()] == ["source_detail"]
    assert SignedNotice.read(signed.raw) == signed
    assert envelope.read(found)[0]["data"] == CYBER


def test_bytes_that_are_no_notice_are_refused() -> None:
    with pytest.raises(InvalidNotice, match="not a signed notice"):
        SignedNotice.read(b"hello")


def test_a_statement_collects_each_signature_once() -> None:
    operator = PartnerKey.generate("operator", "1")
    drawn = statements.enroll("us-cisa", "CISA", KEY)
    both = statements.sign(drawn, operator)
    assert statements.read(both).kids == (KEY.kid, operator.kid)
    assert statements.sign(both, operator) == both
    assert statements.read(both).kind == "agency.enroll"


@pytest.mark.parametrize(
    "draw",
    [
        lambda: statements.propose({"id": "x"}, KEY),
        lambda: statements.enroll("USA", "CISA", KEY),
        lambda: statements.read(b"{}"),
        lambda: statements.draw_up("agency.enrol", KEY),
    ],
    ids=["agreement", "agency", "document", "kind"],
)
def test_a_statement_that_cannot_hold_is_refused(draw: Any) -> None:
    with pytest.raises(statements.InvalidStatement):
        draw()
