"""Rows as public sources write them, converted by the schema alone: what is odd in reality is taken, whole and unchanged."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from pydantic import ValidationError

from schemas.notice import TYPES, validate

ROOT = Path(__file__).parents[2] / "schemas"
SCHEMAS = {type_: Draft202012Validator(json.loads((ROOT / "json" / f"{type_}.json").read_text())) for type_ in TYPES}
GOOD: dict[str, dict[str, Any]] = {
    type_: json.loads((ROOT / "examples" / type_ / "good.json").read_text()) for type_ in TYPES
}

ALERTS: dict[str, dict[str, Any]] = {
    "the least that can be said": {"reference": "2026.0001", "risk": "none", "product": "x"},
    "a subject in place of a product": {
        "reference": "2021.4567",
        "title": "Aflatoxin B1 = 12.4; Tot. = 14.1 µg/kg - ppb in pistachios from Iran, via Türkiye",
        "classification": "border-rejection",
        "basis": "border-control",
        "risk": "serious",
        "product": "pistachios",
        "category": "nuts, nut products and seeds",
        "hazards": [
            {"name": "aflatoxins", "category": "mycotoxins", "result": "B1 = 12.4 µg/kg - ppb", "limit": "8 µg/kg"},
            {"name": "aflatoxins", "category": "mycotoxins", "result": "Tot. = 14.1 µg/kg - ppb", "limit": "10 µg/kg"},
        ],
        "origin": ["IR"],
        "distribution": [],
        "for_follow_up": ["TR"],
        "notifying": "DE",
        "notified": "2021-08-31T14:03:07Z",
    },
    "codes outside ISO 3166-1": {
        "reference": "2022.1", "risk": "medium", "risk_detail": "undecided", "product": "Ajvar",
        "notifying": "EL", "origin": ["XK"], "distribution": ["XI", "UK", "AN", "EU"],
    },
    "a toy with a long description": {
        "reference": "A12/00123/25",
        "title": "Plüschhase „Hoppel“",
        "risk": "serious",
        "product": "Soft toy 🐇 — Παιχνίδι / мягкая игрушка / لعبة / 玩具",
        "category": "Toys",
        "brand": "Unknown",
        "description": "Small parts can be detached.\n" * 300,
        "hazards": [{"name": "Choking"}, {"name": "Chemical"}],
        "lots": ["8690123456789", "not specified", "Lot n° 25-001/A; best before 31.12.2026"],
        "measures": ["Withdrawal of the product from the market", "Recall of the product from end users"],
        "references": ["https://ec.europa.eu/safety-gate-alerts/screen/webReport/alertDetail/10012345?lang=en#a"],
        "traders": [{"name": "Пример ООД", "role": "importer", "country": "BG", "address": "ул. Примерна 1\n1000 София"}],
    },
    "fields that are there but empty of meaning": {
        "reference": "2023.9", "risk": "low", "product": "Thé vert", "brand": None, "notified": None, "hazards": [],
        "origin": None, "traders": None,
    },
}  # fmt: skip

CYBER: dict[str, dict[str, Any]] = {
    "the least that can be said": {"kind": "other", "title": "x"},
    "a row of the KEV catalogue": {
        "kind": "exploitation",
        "title": "Microsoft Windows Management Console (MMC) Improper Neutralization Vulnerability",
        "summary": "Microsoft Windows Management Console (MMC) contains an improper neutralization vulnerability.",
        "products": [{"vendor": "Microsoft", "product": "Windows"}],
        "cves": ["CVE-2025-26633"],
        "cwes": [],
        "exploited": True,
        "ransomware": "unknown",
        "actions": ["Apply mitigations per vendor instructions, follow applicable BOD 22-01 guidance for cloud services."],
        "date_added": "2025-03-11",
        "due_date": "2025-04-01",
        "references": ["https://msrc.microsoft.com/update-guide/vulnerability/CVE-2025-26633"],
    },
    "an advisory after CSAF": {
        "kind": "advisory",
        "title": "SSA-000001: Multiple vulnerabilities",
        "severity": "critical",
        "cvss": 10,
        "products": [
            {
                "vendor": "Example AG",
                "product": "RTU (6GK7 243-8RX30-0XE0)",
                "cpe": r"cpe:2.3:o:example:rtu_firmware\:6gk7:*:*:*:*:*:*:*:*",
                "versions": ["vers:intdot/<3.5.20", "V4 (all versions)"],
            }
        ],
        "cves": [f"CVE-2024-{number:05}" for number in range(400)],
        "cwes": ["CWE-20", "CWE-1321"],
        "external_ids": ["SSA-000001"],
    },
    "an indicator after STIX": {
        "kind": "indicators",
        "title": "Malicious site hosting downloader",
        "techniques": ["TA0011", "T1071", "T1071.001"],
        "indicators": [
            {
                "type": "stix",
                "value": "[file:hashes.'SHA-256' = 'aec070645fe53ee3b3763059376134f058cc337247c978add178b6ccdfb0019f']",
                "first_seen": "2026-01-20T12:34:56.789123456Z",
            },
            {"type": "domain", "value": "xn--bcher-kva.example"},
            {"type": "url", "value": "http://203.0.113.7:8080/a?b=c#d"},
        ],
        "external_ids": ["indicator--d81f86b9-975b-4c0b-875e-810c5ad45a4f"],
    },
}  # fmt: skip
REAL = [("trade.product-alert.v1", name, data) for name, data in ALERTS.items()]
REAL += [("threat.cyber.v1", name, data) for name, data in CYBER.items()]


@pytest.mark.parametrize(("type_", "data"), [(row[0], row[2]) for row in REAL], ids=[row[1] for row in REAL])
def test_real_data_is_taken_unchanged(type_: str, data: dict[str, Any]) -> None:
    assert validate(GOOD[type_] | {"data": data}).data == data
    assert TYPES[type_].model_validate(data).model_dump(by_alias=True, exclude_unset=True) == data
    assert [error.message for error in SCHEMAS[type_].iter_errors(data)] == []


# Values that are right somewhere and wrong elsewhere: whatever stands at a place, both validators must say the same.
VALUES = st.sampled_from(
    [
        None,
        True,
        0,
        -1,
        1.5,
        10**15,
        "",
        "x",
        "x" * 2001,
        "x" * 20001,
        "DE",
        "high",
        "serious",
        "2026-03-01",
        [],
        {},
        "2026-03-01T12:00:00Z",
        "https://example.org/",
        "080212",
        "٠٨",
        "CVE-2026-1234",
        ["DE"],
        ["x"],
        [1],
        [[]],
        {"name": "x"},
        {"lat": 1, "lon": 2},
        {"product": "x"},
        {"x": 1},
    ]
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [found for key, said in inner for found in [(*path, key), *places(said, (*path, key))]]


PLACES = [(type_, path) for type_ in TYPES for path in places(GOOD[type_]["data"])]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(PLACES), VALUES)
def test_the_generated_schema_and_the_model_say_the_same(place: tuple[str, tuple[str | int, ...]], value: Any) -> None:
    type_, (*way, last) = place
    claims = copy.deepcopy(GOOD[type_])
    at: Any = claims["data"]
    for key in way:
        at = at[key]
    at[last] = value
    try:
        validate(claims)
        taken = True
    except ValidationError:
        taken = False
    assert SCHEMAS[type_].is_valid(claims["data"]) == taken
