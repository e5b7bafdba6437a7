"""What stands in an agency's topic, as CloudEvents 1.0 in the Kafka binding, binary mode: written by the API for the agency,
or by the agency itself.

Headers are hints for whoever reads the topic; only the signed bytes are believed.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from schemas.notice import Notice

NOTICE_TYPE = "application/sd-jwt"
ACK_TYPE = "application/jwt"
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


def notice_headers(notice: Notice, at: int, traceparent: str | None = None) -> dict[str, str]:
    """Of a notice written at `at` (ms). A `traceparent` that is none (W3C Trace Context §3.2) is left out."""
    headers = {
        "ce_specversion": "1.0",
        "ce_id": notice.jti,
        "ce_source": f"/agencies/{notice.iss}",
        "ce_type": f"comity.notice.{notice.type}",
        "ce_time": rfc3339(at),
        "ce_subject": notice.subject,
        "content-type": NOTICE_TYPE,
    }
    if traceparent is not None and _TRACEPARENT.fullmatch(traceparent):
        headers["traceparent"] = traceparent
    return headers


def acknowledgement_headers(jti: str, at: int) -> dict[str, str]:
    """Of an acknowledgement written at `at` (ms)."""
    return {"content-type": ACK_TYPE, "ce_id": jti, "ce_time": rfc3339(at)}


def rfc3339(ms: int) -> str:
    """Milliseconds since the epoch as text, such as 2026-03-01T12:00:00.000Z."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
