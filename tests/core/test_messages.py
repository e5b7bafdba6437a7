"""The headers of what stands in an agency's topic: read by a CloudEvents library that does not know us."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event

from hub.core.messages import acknowledgement_headers, notice_headers, rfc3339
from schemas.notice import Notice, validate
from tests.world import CYBER

AT = 1_772_366_400_250
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def notice() -> Notice:
    return validate(
        {
            "iss": "at-cert", "jti": "01912d68-783e-7a03-8467-5661c1243ad4", "iat": 1, "exp": 2,
            "type": "threat.cyber.v1", "subject": "Lücke 7", "tlp": "TLP:GREEN", "data": CYBER,
        }
    )  # fmt: skip


def test_a_notice_is_a_cloudevent_to_any_reader() -> None:
    headers = {name: text.encode() for name, text in notice_headers(notice(), AT).items()}
    event = from_binary_event(KafkaMessage(headers, "Lücke 7".encode(), b"the notice"))
    assert event.get_id() == notice().jti and event.get_source() == "/agencies/at-cert"
    assert event.get_type() == "comity.notice.threat.cyber.v1" and event.get_subject() == "Lücke 7"
    assert event.get_time() == datetime.fromtimestamp(AT / 1000, UTC)
    assert event.get_datacontenttype() == "application/sd-jwt" and event.get_data() == "the notice"


@pytest.mark.parametrize(("given", "kept"), [(TRACE, TRACE), (None, None), (TRACE + "\n", None), ("01-0-0-0", None)])
def test_a_traceparent_is_kept_if_it_is_one(given: str | None, kept: str | None) -> None:
    assert notice_headers(notice(), AT, given).get("traceparent") == kept


def test_an_acknowledgement_has_another_content_type() -> None:
    assert acknowledgement_headers("x", AT) == {
        "content-type": "application/jwt", "ce_id": "x", "ce_time": "2026-03-01T12:00:00.250Z"
    }  # fmt: skip


def test_a_time_without_milliseconds_has_them_all_the_same() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000Z"
