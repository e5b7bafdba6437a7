"""Rows of public feeds become notices that validate, and what cannot is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from connectors import notices
from connectors.importers import kev, rasff
from connectors.importers.countries import code_of
from connectors.importers.row import BadRow, Item, read_csv

VECTORS = Path(__file__).parents[1] / "vectors" / "importers"


def validated(item: Item) -> Item:
    notices.claims("us-cisa", type=item.type, subject=item.subject, tlp="TLP:CLEAR", data=item.data)
    return item


def test_catalogue_rows_become_cyber_notices() -> None:
    first, second = (validated(kev.from_row(row)) for row in read_csv(VECTORS / "kev.csv"))
    assert (first.type, first.subject) == ("threat.cyber.v1", "CVE-2025-48384")
    assert first.data["products"] == [{"vendor": "Git", "product": "Git"}]
    assert first.data["cwes"] == ["CWE-59", "CWE-436"]
    assert first.data["references"] == ["https://example.org/a", "https://example.org/b"]
    assert (first.data["severity"], first.data["ransomware"], first.data["due_date"]) == (
        "high",
        "unknown",
        "2025-09-15",
    )
    assert (second.data["severity"], second.data["ransomware"]) == ("critical", "known")
    assert "references" not in second.data


def test_short_column_names_will_do() -> None:
    row = {"cve": "CVE-2012-4969", "vendor": "Microsoft", "product": "Internet Explorer", "date_added": "2022-06-08"}
    data = validated(kev.from_row(row | {"due_date": "2022-06-22", "ransomware": "Unknown", "cwes": ""})).data
    assert data["title"] == "Microsoft Internet Explorer: CVE-2012-4969 is exploited"
    assert "cwes" not in data


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cve": ""}, "cveID"),
        ({"cve": "CVE-1"}, "not a CVE"),
        ({"date_added": "8 June"}, "not a date"),
        ({"vendor": " "}, "vendor"),
    ],
)
def test_a_row_that_cannot_become_a_notice_is_named(change: dict[str, str], told: str) -> None:
    row = {"cve": "CVE-2012-4969", "vendor": "Microsoft", "product": "Internet Explorer", "date_added": "2022-06-08"}
    with pytest.raises(BadRow, match=told):
        kev.from_row(row | change)


def test_food_notifications_become_product_alerts() -> None:
    first, second = (validated(rasff.from_row(row)) for row in read_csv(VECTORS / "rasff.csv"))
    assert (first.type, first.subject) == ("trade.product-alert.v1", "2026.1234")
    assert (first.data["risk"], first.data["classification"], first.data["notified"]) == (
        "serious",
        "alert",
        "2026-02-03",
    )
    assert first.data["hazards"] == [
        {"name": "Salmonella Enteritidis", "result": "presence /25g", "category": "pathogenic micro-organisms"}
    ]
    assert (first.data["notifying"], first.data["origin"]) == ("DE", ["NG"])
    assert (first.data["distribution"], first.data["for_follow_up"]) == (["AT", "NL", "TR"], ["AT", "PL"])
    assert second.data["product"] == second.data["title"] == "冷凍エビ"
    assert (second.data["risk"], second.data["risk_detail"]) == ("medium", "potentially serious")
    assert [hazard["name"] for hazard in second.data["hazards"]] == [
        "nitrofuran (metabolite) AOZ", "too high content of sulphites"
    ]  # fmt: skip
    assert second.data["hazards"][0]["result"] == "2,4 µg/kg - ppb"
    assert "for_attention" not in second.data and "INFOSAN" in second.data["description"]


@pytest.mark.parametrize(
    ("name", "code"),
    [("Viet Nam", "VN"), ("vietnam", "VN"), ("Côte d’Ivoire", "CI"), ("Cote d'Ivoire", "CI"), ("St. Lucia", "LC"),
     ("the Netherlands", "NL"), ("Türkiye", "TR"), ("us", "US"), ("Bosnia & Herzegovina", "BA"), ("Atlantis", None)],
)  # fmt: skip
def test_countries_are_known_as_feeds_write_them(name: str, code: str | None) -> None:
    assert code_of(name) == code


def test_a_row_with_other_cells_than_its_header_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("a,b\n1,2\n1\n")
    with pytest.raises(BadRow, match="line 3"):
        list(read_csv(tmp_path / "x.csv"))
