"""Logs and metrics of a hub process: what happened and how much, never to whom or what it said.

No identifier of an agency, notice or key may become a metric label or a log value, nor any payload or secret: logs
travel further than the ledger, and who talks to whom is itself the partners' secret.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO, cast

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from structlog.typing import Processor

# Names whose value never reaches a log, whoever passes it.
UNSPEAKABLE = frozenset(
    {
        "agency",
        "assertion",
        "authorization",
        "body",
        "data",
        "digest",
        "disclosure",
        "iss",
        "jti",
        "key",
        "kid",
        "notice",
        "password",
        "payload",
        "pem",
        "raw",
        "recipient",
        "salt",
        "secret",
        "seed",
        "sender",
        "signature",
        "sub",
        "subject",
        "token",
        "value",
    }
)


def hide_unspeakable(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor: the name stays, so that the mistake shows; the value goes."""
    for name in event.keys() & UNSPEAKABLE:
        event[name] = "[hidden]"
    return event


class Stderr:
    """Where log lines go: whatever stderr is at that moment. A hub whose terminal or log pipe is gone goes on without."""

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            sys.stderr.flush()


def set_up_logging(level: str = "info", style: str = "console") -> None:
    """Once per process, by its entry point: structured lines on stderr; `style` is `console` or `json`."""
    # Rich tracebacks print local variables, and those hold payloads: plain ones only.
    plain = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
    ending: list[Processor] = [plain]
    if style == "json":
        ending = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(sort_keys=True)]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            hide_unspeakable,
            *ending,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(file=cast("TextIO", Stderr())),
        cache_logger_on_first_use=False,
    )


class Metrics:
    """The metrics of one hub, in a registry of their own: two hubs in one process do not share counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.entries = self._count("comity_ledger_entries", "Ledger entries indexed", "kind", "outcome")
        self.deliveries = self._count("comity_deliveries", "Deliveries that the ledger explains")
        self.restarts = self._count("comity_part_restarts", "Parts restarted after a fault", "part")
        self.part_up = self._gauge("comity_part_up", "1 while the part runs", "part")
        self.index_lag = self._gauge("comity_index_lag_entries", "Ledger entries not indexed yet")
        self.uncovered = self._gauge("comity_uncovered_entries", "Ledger entries that no checkpoint covers yet")
        self.uncovered_age = self._gauge("comity_uncovered_age_seconds", "Age of the oldest entry without a checkpoint")
        self.data_size = self._gauge("comity_data_bytes", "Size of the data directory's files")
        self.claims = self._count("comity_claims", "Shards taken", "shard")
        self.fencings = self._count(
            "comity_fencings", "Claims that ended because another holder took the shard", "shard"
        )
        self.held = self._gauge("comity_shard_held", "1 while this process holds the shard", "shard")
        self.lag = self._gauge("comity_shard_lag_records", "Records that wait in the shard's topics, about", "shard")
        self.routed = self._count("comity_shard_records", "Records taken from the shard's topics", "shard")
        self.commit_time = Histogram(
            "comity_commit_seconds", "Time of a commit: one transaction", ["shard"], registry=self.registry
        )
        self.checkpoint_time = self._gauge("comity_checkpoint_timestamp_seconds", "When this process last signed one")
        self.requests = self._count("comity_http_requests", "HTTP requests answered", "method", "route", "status")
        self.request_time = Histogram(
            "comity_http_request_seconds", "Time to answer", ["method", "route"], registry=self.registry
        )

    def _count(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(name, what, labels, registry=self.registry)

    def exposition(self) -> bytes:
        """Prometheus text format (`text/plain; version=0.0.4`)."""
        return generate_latest(self.registry)
