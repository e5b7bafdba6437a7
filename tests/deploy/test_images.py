"""Which versions run where. A difference between tests and deployment is written down here, or it is a mistake."""

from __future__ import annotations

import re

from tests.deploy import composition
from tests.deploy.composition import ROOT

# Not newer: 4.3.0 to 4.4.0 lose the ends of transactions in a restart (docs/decisions/0016).
PINNED = {"tests": "4.2.1", "docker-compose.yml": "4.2.1"}


def test_kafka_is_of_the_versions_that_are_written_down() -> None:
    pom = (ROOT / "deploy" / "kafka" / "pom.xml").read_text(encoding="utf-8")
    services = composition.read()["services"]
    deployed = {service["image"].partition("@")[0] for name, service in services.items() if name.startswith("kafka-")}
    assert re.findall(r"<kafka\.version>(.*)</", pom) == [PINNED["tests"]]
    assert deployed == {f"apache/kafka:{PINNED['docker-compose.yml']}"}


def test_python_is_the_oldest_that_is_supported_so_that_nothing_newer_is_needed() -> None:
    supported = re.findall(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (base,) = re.findall(
        r"^ARG PYTHON=python:(\d+\.\d+)\.", (ROOT / "Dockerfile").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert supported == [base]
