"""Deployed is what was tested."""

from __future__ import annotations

import re

from tests.deploy import composition
from tests.deploy.composition import ROOT


def test_kafka_is_the_one_that_tests_run_and_none_that_loses_the_ends_of_transactions() -> None:
    """Docs/decisions/0016."""
    pom = (ROOT / "deploy" / "kafka" / "pom.xml").read_text(encoding="utf-8")
    services = composition.read()["services"]
    deployed = {service["image"].partition("@")[0] for name, service in services.items() if name.startswith("kafka-")}
    (tested,) = re.findall(r"<kafka\.version>(.*)</", pom)
    assert deployed == {f"apache/kafka:{tested}"}
    assert not "4.3" <= tested <= "4.4.0"


def test_python_is_the_oldest_that_is_supported_so_that_nothing_newer_is_needed() -> None:
    supported = re.findall(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (base,) = re.findall(
        r"^ARG PYTHON=python:(\d+\.\d+)\.", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert supported == [base]
