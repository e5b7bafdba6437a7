"""How commands fail: exit codes, one line on stderr, nothing on stdout, no tracebacks unless asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from connectors.errors import AuthenticationFailed, InvalidDelivery, InvalidNotice, KeyFileError, Refused, Unreachable
from hub.cli.faults import exit_code, message
from hub.config import SettingsError
from hub.core.errors import VerificationFailed
from hub.log import Unavailable
from tests.cli.conftest import Comity


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (InvalidNotice("x"), 1),
        (KeyFileError("x"), 1),
        (Refused("signature", "x", status=422), 1),
        (ValueError("x"), 1),
        (SettingsError("x"), 2),
        (VerificationFailed("x"), 3),
        (InvalidDelivery(1, "signature", "x", b"", {}), 3),
        (AuthenticationFailed("x"), 4),
        (Refused("forbidden", "x", status=403), 4),
        (Unreachable("x"), 5),
        (Unavailable("x"), 5),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_error_has_its_exit_code_and_one_line(error: BaseException, code: int) -> None:
    assert exit_code(error) == code
    assert message(error) and "\n" not in message(error)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("agency", "list"), 2, "--key"),
        (("agency", "list", "--key", "nowhere.json"), 1, "nowhere.json"),
        (("agency", "list", "--key", "mine.json", "--hub", "hub.example"), 1, "https://"),
        (("agency", "enroll", "--key", "mine.json"), 2, "REQUEST"),
        (("agency", "enroll", "--agency-key", "mine.json", "--draft"), 2, "--name"),
        (("notice", "frobnicate"), 2, "frobnicate"),
        (("notice", "new", "threat.cyber.v9"), 2, "threat.cyber.v1"),
        (("notice", "sign", "nowhere.json", "--key", "mine.json"), 1, "nowhere.json"),
        (("notice", "sign", "broken.json", "--key", "mine.json"), 1, "not JSON"),
        (("notice", "sign", "list.json", "--key", "mine.json"), 1, "not an object"),
        (("notice", "sign", "empty.json", "--key", "mine.json"), 1, "missing: data; missing: subject"),
        (("notice", "sign", "full.json", "--key", "mine.json"), 1, "jti"),
        (("notice", "sign", "empty.json", "--key", "mine.json", "--expires", "soon"), 2, "30d"),
        (("notice", "verify", "broken.json", "--agencies", "empty.json"), 3, "malformed"),
        (("notice", "publish", "broken.json", "--key", "mine.json"), 1, "not a signed notice"),
        (("agreement", "check", "empty.json"), 1, "empty.json: id: "),
        (("agreement", "publish", "empty.json", "--key", "mine.json"), 1, "not a statement"),
        (("audit", "verify", "--dir", "nowhere"), 1, "comity.db"),
        (("audit", "replay", "0", "--dir", "nowhere"), 1, "comity.db"),
        (("audit", "prove", "x", "--key", "mine.json"), 2, "--vkey"),
        (("key", "new", "Austria"), 1, "us-cisa"),
        (("key", "new", "at-cert", "--out", "mine.json"), 1, "never overwritten"),
        (("key", "revoke", "at-cert/1", "--reason", "x", "--key", "mine.json", "--compromised-from", "noon"), 2, "instant"),
        (("up", "--port", "70000"), 2, "COMITY_PORT"),
        (("demo", "--dir", "full"), 1, "not empty"),
        (("demo", "--dir", "mine.json"), 1, "not a directory"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_on_stderr(comity: Comity, arguments: tuple[str, ...], code: int, told: str) -> None:
    comity.ok("key", "new", "at-cert", "--out", "mine.json")
    Path("broken.json").write_text("{")
    Path("list.json").write_text("[]")
    Path("empty.json").write_text("{}")
    Path("full.json").write_text(json.dumps({"type": "threat.cyber.v1", "jti": "x"}))
    Path("full").mkdir()
    Path("full/precious").write_text("mine")
    answer = comity(*arguments)
    assert answer.code == code, answer
    assert told in " ".join(answer.err.split())
    assert answer.out == "" and "Traceback" not in answer.err
    assert Path("full/precious").read_text() == "mine"


def test_a_hub_that_is_away_is_unavailable(comity: Comity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.cli.options.PATIENCE", 0.2)
    comity.ok("key", "new", "at-cert")
    answer = comity("agency", "list", "--key", "at-cert.key.json", "--hub", "http://127.0.0.1:9")
    assert answer.code == 5 and "127.0.0.1:9" in answer.err and answer.err.count("\n") == 1


def test_an_unknown_setting_refuses_to_start(comity: Comity, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMITY_PROT", "8000")
    answer = comity("up")
    assert answer.code == 2 and "COMITY_PORT" in answer.err and not Path("data").exists()


def test_debug_tells_where(comity: Comity) -> None:
    answer = comity("--debug", "agreement", "check", "nowhere.json")
    assert answer.code == 1 and "Traceback" in answer.err


def test_a_key_that_others_can_read_is_refused(comity: Comity) -> None:
    comity.ok("key", "new", "at-cert")
    Path("at-cert.key.json").chmod(0o644)
    answer = comity("agency", "list", "--key", "at-cert.key.json")
    assert answer.code == 1 and "chmod 600" in answer.err


def test_output_of_signing_never_replaces_a_file(comity: Comity) -> None:
    Path("there.json").write_text("mine")
    answer = comity("notice", "new", "threat.cyber.v1", "--out", "there.json")
    assert answer.code == 1 and Path("there.json").read_text() == "mine"
