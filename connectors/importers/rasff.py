"""Rows of RASFF-like food and feed notifications (CSV export) to trade.product-alert.v1.

Countries come as names or codes; names that are not known are left out of the code lists and kept in the description, so
that nothing is guessed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from connectors.importers.countries import code_of
from connectors.importers.row import SUBJECT, Item, cell, day, needed, present, shorten, split

TYPE = "trade.product-alert.v1"
_DATES = ("%Y-%m-%d", "%d-%m-%Y %H:%M:%S", "%d-%m-%Y", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y", "%d %b %Y", "%Y-%m-%d %H:%M:%S")
_RISKS = {
    "serious": "serious",
    "potentially serious": "medium",
    "potential risk": "medium",
    "undecided": "medium",
    "not serious": "low",
    "no risk": "none",
}
_CLASSES = {
    "alert": "alert",
    "information notification for attention": "information-attention",
    "information for attention": "information-attention",
    "information notification for follow-up": "information-follow-up",
    "information for follow-up": "information-follow-up",
    "border rejection": "border-rejection",
    "news": "news",
}
_BASES = {
    "official control": "official-control",
    "border control": "border-control",
    "company's own-check": "own-check",
    "own-check": "own-check",
    "consumer complaint": "consumer-complaint",
    "food poisoning": "food-poisoning",
    "monitoring": "monitoring",
}
# "Salmonella Enteritidis - presence /25g - {pathogenic micro-organisms}"
_HAZARD = re.compile(r"\s+-\s*")
_BRACES = str.maketrans("", "", "{}")


def from_row(row: Mapping[str, str]) -> Item:
    """One notification; the subject is its reference. Raises BadRow."""
    reference = needed(row, "reference")
    risk = cell(row, "risk_decision", "risk").lower()
    unknown: list[str] = []
    data = present(
        reference=shorten(reference),
        title=shorten(cell(row, "subject", "title")),
        basis=_word(cell(row, "notification_basis", "basis"), _BASES),
        classification=_word(cell(row, "classification"), _CLASSES),
        risk=_RISKS.get(risk, "medium"),
        risk_detail=shorten(risk),
        hazards=[_hazard(part) for part in re.split(r"[;|]\s*", cell(row, "hazards")) if part],
        product=shorten(cell(row, "product", "subject", "title") or reference),
        category=shorten(cell(row, "category", "product_category")),
        notifying=next(iter(_countries(cell(row, "notifying_country", "notifying"), unknown)), ""),
        origin=_countries(cell(row, "origin"), unknown),
        distribution=_countries(cell(row, "distribution"), unknown),
        for_attention=_countries(cell(row, "forAttention", "for_attention"), unknown),
        for_follow_up=_countries(cell(row, "forFollowUp", "for_follow_up"), unknown),
        notified=day(notified, *_DATES) if (notified := cell(row, "date", "notified")) else "",
        references=[url] if (url := cell(row, "url", "link")).startswith(("http://", "https://")) else [],
    )
    if unknown:
        data["description"] = f"Countries in the source's words: {', '.join(dict.fromkeys(unknown))}"
    return Item(TYPE, shorten(reference, SUBJECT), data)


def _word(text: str, words: Mapping[str, str]) -> str:
    """Ours for theirs, by the longest beginning that is known; `other` for what is not, nothing for nothing."""
    said = text.lower().strip()
    known = [word for word in words if said.startswith(word)]
    return words[max(known, key=len)] if known else ("other" if said else "")


def _hazard(text: str) -> dict[str, str]:
    """`name - result - category`, of which the last two may be missing."""
    name, *rest = _HAZARD.split(text.translate(_BRACES).strip())
    category = rest.pop() if rest else ""
    return present(name=shorten(name), category=shorten(category), result=shorten(" - ".join(rest)))


def _countries(text: str, unknown: list[str]) -> list[str]:
    codes = []
    for name in split(text):
        code = code_of(name)
        if code is None:
            unknown.append(name)
        elif code not in codes:
            codes.append(code)
    return codes
