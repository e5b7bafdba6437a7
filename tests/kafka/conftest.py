"""Fixtures of the tests of the log on Kafka."""

from tests.kafka.logs import place, proxy, quiet  # noqa: F401  for tests in this folder
