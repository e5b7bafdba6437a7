"""Settings: read once, frozen, and nothing misspelt goes unnoticed."""

import io
import json
import sys

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families
from pydantic import ValidationError

from hub.clock import Clock
from hub.config import Settings, SettingsError, variables
from hub.telemetry import UNSPEAKABLE, Metrics, set_up_logging


@pytest.fixture(autouse=True)
def clean(monkeypatch):
    """No COMITY_* of the machine reaches a test."""
    import os

    for name in list(os.environ):
        if name.startswith("COMITY_"):
            monkeypatch.delenv(name)


def test_defaults_serve_one_machine():
    """Without any variable the hub listens on this machine only."""
    settings = Settings.read()
    assert (settings.host, settings.port, settings.url) == ("127.0.0.1", 8470, "http://127.0.0.1:8470")


def test_environment_nested_and_overrides(monkeypatch):
    """Variables set fields, `__` reaches nested ones, and an explicit override wins over both."""
    monkeypatch.setenv("COMITY_PORT", "9000")
    monkeypatch.setenv("COMITY_RATE__BURST", "7")
    monkeypatch.setenv("COMITY_LOG__FORMAT", "json")
    settings = Settings.read(port=9001)
    assert (settings.port, settings.rate.burst, settings.log.format) == (9001, 7, "json")
    assert settings.rate.posts_per_second == Settings.model_fields["rate"].default.posts_per_second


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("COMITY_GRACE_MSEC", "COMITY_GRACE_MS"),
        ("COMITY_PROT", "COMITY_PORT"),
        ("COMITY_RATE__BRUST", "COMITY_RATE__BURST"),
        ("COMITY_HUB_KEY_FIEL", "COMITY_HUB_KEY_FILE"),
        ("comity_datadir", "COMITY_DATA_DIR"),
    ],
)
def test_a_misspelt_variable_refuses_and_names_the_one_meant(monkeypatch, name, meant):
    """A limit that is misspelt must not silently have no effect."""
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=f"unknown setting {name}: did you mean {meant}"):
        Settings.read()


def test_a_variable_like_nothing_lists_the_settings(monkeypatch):
    """When nothing is close, the message lists what there is."""
    monkeypatch.setenv("COMITY_XYZZY_QUUX_77", "1")
    with pytest.raises(SettingsError, match=r"the settings are .*COMITY_DATA_DIR"):
        Settings.read()


def test_variables_of_the_tests_are_left_alone(monkeypatch):
    """COMITY_TEST_* belongs to the tests."""
    monkeypatch.setenv("COMITY_TEST_KAFKA", "localhost:9092")
    assert Settings.read().port == 8470


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("COMITY_PORT", "65536", "COMITY_PORT: .*65535"),
        ("COMITY_RATE__BURST", "0", "COMITY_RATE__BURST: "),
        ("COMITY_RATE", "lots", "(?i)rate.*COMITY_RATE__BURST=100"),
        ("COMITY_ORIGIN", "https://x y", "COMITY_ORIGIN: a name like"),
        ("COMITY_PUBLIC_URL", "hub.example.org", "COMITY_PUBLIC_URL: an address like"),
        ("COMITY_LOG__LEVEL", "loud", "COMITY_LOG__LEVEL: "),
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch, name, value, message):
    """The error says which variable to mend."""
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=message):
        Settings.read()


def test_a_secret_may_stand_in_a_file(monkeypatch, tmp_path):
    """`*_FILE` reads the secret, and printing the settings does not show it."""
    (tmp_path / "pem").write_text("-----BEGIN SECRET")
    monkeypatch.setenv("COMITY_HUB_KEY_FILE", str(tmp_path / "pem"))
    settings = Settings.read()
    assert settings.hub_key is not None
    assert settings.hub_key.get_secret_value() == "-----BEGIN SECRET"
    assert "BEGIN" not in repr(settings)


def test_a_secret_file_that_cannot_be_read_or_is_ambiguous_refuses(monkeypatch, tmp_path):
    """A missing file, or the secret given twice, is an error that names the variable."""
    monkeypatch.setenv("COMITY_HUB_KEY_FILE", str(tmp_path / "absent"))
    with pytest.raises(SettingsError, match=r"COMITY_HUB_KEY_FILE: cannot read .*absent"):
        Settings.read()
    monkeypatch.setenv("COMITY_HUB_KEY", "x")
    with pytest.raises(SettingsError, match="keep one"):
        Settings.read()


def test_only_secrets_have_files():
    """`COMITY_PORT_FILE` is not a setting."""
    assert [name for name in variables() if name.endswith("_FILE")] == [
        "COMITY_HUB_KEY_FILE",
        "COMITY_OPERATOR_KEY_FILE",
    ]


def test_settings_are_frozen():
    """Nobody changes a setting while the hub runs."""
    settings = Settings.read()
    with pytest.raises(ValidationError, match="frozen"):
        settings.port = 1


def test_public_url_loses_its_trailing_slash():
    """Paths are appended to it."""
    assert Settings.read(public_url="https://hub.example.org/").url == "https://hub.example.org"
    assert Settings.read(host="::1").url == "http://[::1]:8470"


def test_clock_never_goes_back():
    """A machine clock that steps back, or starts behind the ledger, makes the clock stand still."""
    times = iter([5_000_000_000, 4_000_000_000, 4_500_000_000, 9_000_000_000])
    clock = Clock(floor=4_999, source=lambda: next(times))
    assert [clock(), clock()] == [5_000, 5_000]
    assert clock.behind() == 500
    clock.raise_floor(10_000)
    assert clock() == 10_000


def test_logs_show_that_a_payload_was_logged_but_not_the_payload(monkeypatch):
    """Names of the forbidden list keep their name and lose their value."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    set_up_logging("info", "json")
    try:
        structlog.get_logger().info("posted", bytes=3, **dict.fromkeys(UNSPEAKABLE, "at-cert"))
        structlog.get_logger().debug("not at this level")
    finally:
        structlog.reset_defaults()
    line = json.loads(stream.getvalue())
    assert (line["event"], line["bytes"], line["payload"]) == ("posted", 3, "[hidden]")
    assert "at-cert" not in stream.getvalue()


def test_console_logs_print_no_local_variables(monkeypatch):
    """A traceback names functions and lines; the values in them are partners' secrets."""
    stream = io.StringIO()
    monkeypatch.setattr("sys.stderr", stream)
    set_up_logging("info", "console")
    try:
        secret = "do-not-" + "print"
        try:
            raise RuntimeError(f"length {len(secret)}")
        except RuntimeError:
            structlog.get_logger().exception("failed")
    finally:
        structlog.reset_defaults()
    assert "length 12" in stream.getvalue()
    assert secret not in stream.getvalue()


def test_metrics_are_named_by_the_house_and_have_no_ids_as_labels():
    """Every metric is comity_…, with a unit; no label could carry an agency or a notice."""
    metrics = Metrics()
    families = list(text_string_to_metric_families(metrics.exposition().decode()))
    assert {family.name.split("_")[0] for family in families} == {"comity"}
    labels = {label for family in families for sample in family.samples for label in sample.labels}
    assert not labels & UNSPEAKABLE
    assert Metrics().registry is not metrics.registry


def test_a_hub_goes_on_when_nobody_reads_its_log_any_more(monkeypatch):
    """A closed terminal or a broken pipe must not stop the part that had something to say."""
    gone = io.StringIO()
    monkeypatch.setattr(sys, "stderr", gone)
    set_up_logging("info", "json")
    gone.close()
    structlog.get_logger().critical("unheard")
    monkeypatch.setattr(sys, "stderr", heard := io.StringIO())
    structlog.get_logger().critical("heard again")
    assert "heard again" in heard.getvalue()
