"""For every test: logging as it is in a new process, whatever a test before it set up."""

from collections.abc import Iterator

import pytest
import structlog


@pytest.fixture(autouse=True)
def logging_as_new() -> Iterator[None]:
    yield
    structlog.reset_defaults()
