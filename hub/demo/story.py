"""The demo's data files, read: who takes part, what they agreed, what they post and what must become of it."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

DATA = files("hub.demo") / "data"
_CLAIMS = ("type", "subject", "tlp", "rel_to", "exercise", "updates", "cancels")


@dataclass(frozen=True, slots=True)
class Agency:
    id: str
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class Expected:
    """One delivery that must happen. clause: "<agreement>/<clause>"."""

    recipient: str
    clause: str
    withheld: tuple[str, ...]
    recall: bool


@dataclass(frozen=True, slots=True)
class Act:
    """A heading of the story."""

    title: str


@dataclass(frozen=True, slots=True)
class Rotation:
    """An agency gets a new key, and its old one is revoked."""

    agency: str
    reason: str


@dataclass(frozen=True, slots=True)
class Post:
    """A notice that an agency posts, and what must become of it.

    fields: claims as `Client.notice` takes them, where `updates` and `cancels` name another post by its id. fault: what is
    wrong with it on purpose (README.md beside the data), None for a good one. refused: the reason code that must come back.
    """

    id: str
    sender: str
    fields: dict[str, Any]
    fault: str | None
    of: str | None
    in_name_of: str | None
    deliveries: tuple[Expected, ...]
    refused: str | None
    explain: str | None

    @property
    def title(self) -> str:
        data = self.fields.get("data", {})
        named = (data[name] for name in ("title", "headline", "name", "product") if name in data)
        title = next(named, f"The very bytes of “{self.of}”" if self.of else self.id)
        return f"{title}: {data['status']}, {data['severity']}" if "status" in data and "severity" in data else title


@dataclass(frozen=True, slots=True)
class Story:
    agencies: tuple[Agency, ...]
    agreements: tuple[dict[str, Any], ...]
    steps: tuple[Act | Rotation | Post, ...]

    @property
    def posts(self) -> tuple[Post, ...]:
        return tuple(step for step in self.steps if isinstance(step, Post))


def load() -> Story:
    """Read the data files of this package."""
    agencies = tuple(Agency(**each) for each in _json("agencies.json"))
    documents = sorted((file for file in (DATA / "agreements").iterdir()), key=lambda file: file.name)
    agreements = tuple(json.loads(file.read_text(encoding="utf-8")) for file in documents)
    facts = _facts()
    return Story(agencies, agreements, tuple(_step(each, facts) for each in _json("story.json")))


def _json(name: str) -> Any:
    return json.loads((DATA / name).read_text(encoding="utf-8"))


def _facts() -> dict[str, dict[str, Any]]:
    """By CVE: the members of a threat.cyber.v1 that the catalogue fills."""
    text = (DATA / "vulnerabilities.csv").read_text(encoding="utf-8")
    return {row["cve"]: _fact(row) for row in csv.DictReader(text.splitlines())}


def _fact(row: dict[str, str]) -> dict[str, Any]:
    fact: dict[str, Any] = {
        "cves": [row["cve"]], "products": [{"vendor": row["vendor"], "product": row["product"]}], "exploited": True,
        "date_added": row["date_added"], "due_date": row["due_date"], "ransomware": row["ransomware"].lower(),
    }  # fmt: skip
    return fact | ({"cwes": row["cwes"].split()} if row["cwes"] else {})


def _step(said: dict[str, Any], facts: dict[str, dict[str, Any]]) -> Act | Rotation | Post:
    if "act" in said:
        return Act(said["act"])
    if "rotate" in said:
        return Rotation(said["rotate"], said["reason"])
    fields = {name: said[name] for name in _CLAIMS if name in said}
    if "data" in said:
        fields["data"] = said["data"] | facts.get(said.get("facts", ""), {})
    expect = said["expect"]
    return Post(
        id=said["id"], sender=said["from"], fields=fields, fault=said.get("fault"), of=said.get("of"),
        in_name_of=said.get("as"), refused=expect.get("refused"), explain=said.get("explain"),
        deliveries=tuple(
            Expected(recipient, each["clause"], tuple(each["withheld"]), each.get("recall", False))
            for recipient, each in sorted(expect.get("deliveries", {}).items())
        ),
    )  # fmt: skip
