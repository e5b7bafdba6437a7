"""For every test: logging as it is in a new process, whatever a test before it set up. And Kafka for those that need it."""

from collections.abc import Iterator

import pytest
import structlog

from tests.kafka import broker, fixtures
from tests.kafka.fixtures import kafka_bootstrap, sealed_cluster, three_nodes  # noqa: F401  for tests in any folder


@pytest.fixture(autouse=True)
def logging_as_new() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


def pytest_configure(config: pytest.Config) -> None:
    if not is_worker(config):
        broker.begin_session()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not is_worker(config):
        broker.end_session()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    fixtures.mark(items)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("kafka"):
        fixtures.need_kafka()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if line := fixtures.summary(terminalreporter):
        terminalreporter.write_line(line, red=True, bold=True)
