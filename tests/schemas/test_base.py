"""Codes and times of the shared vocabulary: what the patterns take, what they refuse, and that texts are kept as they came."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from schemas import base, infrastructure, threat, trade

TAKEN: list[tuple[Any, str]] = [
    (base.Instant, "2026-03-01T12:00:00Z"),
    (base.Instant, "2026-03-01T12:00:00.1Z"),
    (base.Instant, "2026-03-01T12:00:00.123456789Z"),
    (base.Date, "2028-02-29"),
    (base.Country, "XK"),
    (base.Country, "EL"),
    (base.HsCode, "08"),
    (base.HsCode, "0802320000"),
    (base.Url, "https://example.org/a?b=%20&c=ü#d"),
    (threat.Cve, "CVE-1999-0001"),
    (threat.Cve, "CVE-2025-1234567"),
    (threat.Cwe, "CWE-20"),
    (threat.Cpe, "cpe:2.3:a:git:git:*:*:*:*:*:*:*:*"),
    (threat.Cpe, r"cpe:2.3:o:vendor:a\:b\/c:1.0:-:*:*:*:*:x64:*"),
    (trade.IcsCode, "67.040"),
    (infrastructure.Locode, "NLRTM"),
    (infrastructure.Locode, "USNY2"),
    (infrastructure.Eic, "10YNL----------L"),
]
REFUSED: list[tuple[Any, str]] = [
    (base.Instant, "2026-03-01T12:00:00"),
    (base.Instant, "2026-03-01T12:00:00+01:00"),
    (base.Instant, "2026-03-01 12:00:00Z"),
    (base.Instant, "2026-02-30T12:00:00Z"),
    (base.Instant, "2026-03-01T12:00:60Z"),
    (base.Date, "2026-02-29"),
    (base.Date, "2026-3-1"),
    (base.Date, "２０２６-03-01"),
    (base.Country, "de"),
    (base.Country, "DEU"),
    (base.Country, "DE\n"),
    (base.HsCode, "080"),
    (base.HsCode, "٠٨"),
    (base.Url, "ftp://example.org/"),
    (base.Url, "https://example.org/ a"),
    (threat.Cve, "CVE-2025-123"),
    (threat.Cve, "CVE-２０２５-1234"),
    (threat.Cwe, "79"),
    (threat.Cpe, "cpe:/a:git:git"),
    (threat.Cpe, r"cpe:2.3:a:git\:git:*:*:*:*:*:*:*:*"),
    (infrastructure.Locode, "NLRT1"),
    (infrastructure.Locode, "NL RTM"),
    (infrastructure.Eic, "10YNL"),
]


@pytest.mark.parametrize(("kind", "text"), TAKEN, ids=[text for _, text in TAKEN])
def test_a_good_code_is_kept_as_it_came(kind: Any, text: str) -> None:
    assert TypeAdapter(kind).validate_python(text) == text


@pytest.mark.parametrize(("kind", "text"), REFUSED, ids=[repr(text) for _, text in REFUSED])
def test_a_bad_code_is_refused(kind: Any, text: str) -> None:
    with pytest.raises(ValidationError):
        TypeAdapter(kind).validate_python(text)
