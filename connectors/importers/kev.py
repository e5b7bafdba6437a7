"""Rows of a catalogue of known exploited vulnerabilities (CISA KEV, CSV) to threat.cyber.v1.

Reads the columns of the published catalogue (cveID, vendorProject, …) and their short forms (cve, vendor, …).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from connectors.importers.row import SUBJECT, BadRow, Item, cell, day, needed, present, shorten

TYPE = "threat.cyber.v1"
_CVE = re.compile(r"CVE-\d{4}-\d{4,19}")
_CWE = re.compile(r"CWE-\d{1,5}")
_URL = re.compile(r"https?://[^\s<>\";,]+")


def from_row(row: Mapping[str, str]) -> Item:
    """One vulnerability; the subject is its CVE. Raises BadRow.

    The catalogue lists only what is exploited, and states no severity: known ransomware use is taken as critical, the
    rest as high.
    """
    cve = needed(row, "cveID", "cve")
    if not _CVE.fullmatch(cve):
        raise BadRow(f"cveID: {cve[:40]!r} is not a CVE identifier")
    vendor, product = needed(row, "vendorProject", "vendor"), needed(row, "product")
    ransomware = cell(row, "knownRansomwareCampaignUse", "ransomware").lower() == "known"
    due = cell(row, "dueDate", "due_date")
    data = present(
        kind="exploitation",
        title=shorten(cell(row, "vulnerabilityName") or f"{vendor} {product}: {cve} is exploited"),
        summary=cell(row, "shortDescription"),
        severity="critical" if ransomware else "high",
        products=[{"vendor": shorten(vendor), "product": shorten(product)}],
        cves=[cve],
        cwes=list(dict.fromkeys(_CWE.findall(cell(row, "cwes")))),
        exploited=True,
        ransomware="known" if ransomware else "unknown",
        actions=[action] if (action := cell(row, "requiredAction")) else [],
        date_added=day(needed(row, "dateAdded", "date_added"), "%Y-%m-%d"),
        due_date=day(due, "%Y-%m-%d") if due else "",
        references=list(dict.fromkeys(_URL.findall(cell(row, "notes")))),
    )
    return Item(TYPE, shorten(cve, SUBJECT), data)
