"""What the demo prints: plain text where there is no terminal, a little colour where there is one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from hub.auditor import Report
from hub.demo.story import Act, Agency, Post, Rotation

TLP_STYLE = {"TLP:GREEN": "green", "TLP:AMBER": "yellow", "TLP:AMBER+STRICT": "yellow", "TLP:RED": "red"}
AGENCY, CLAUSE = 17, 39  # characters of the longest, and one


class Stage:
    """Prints the demo as it happens."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def line(self, *parts: str | tuple[str, str], indent: int = 0) -> None:
        """One line of plain and (text, style) parts, cut at the edge rather than wrapped."""
        self._console.print(Text.assemble(" " * indent, *parts), no_wrap=True, overflow="ellipsis", crop=True)

    def opening(self, url: str, kafka: str | None) -> None:
        self.line(("Comity demo", "bold"), f"  a real hub on {url}; agencies, agreements and notices are fictitious")
        if kafka is not None:
            self.line(f"Its log is Apache Kafka at {kafka}; partners publish and subscribe there, natively")

    def agencies(self, agencies: Sequence[Agency]) -> None:
        countries = len({agency.id[:2] for agency in agencies})
        self.line("")
        self.line(
            (f"{len(agencies)} agencies of {countries} countries", "bold"),
            ", each enrolled by the operator and its own key",
        )
        for agency in agencies:
            self.line(f"{agency.id:<{AGENCY}}", (f"{agency.role:<9}", "dim"), (agency.name, "dim"), indent=2)

    def agreements(self, agreements: Sequence[dict[str, Any]]) -> None:
        self.line("")
        self.line((f"{len(agreements)} agreements", "bold"), ", each signed by all its parties over the same bytes")
        for each in agreements:
            clauses = f"{len(each['clauses'])} clauses"
            self.line(f"{each['id']:<30}", (f"{clauses:<11}", "dim"), (", ".join(each["parties"]), "dim"), indent=2)

    def act(self, act: Act) -> None:
        self.line("")
        self._console.rule(Text(act.title, "bold"), align="left", style="dim", characters="─")

    def post(self, post: Post) -> None:
        fields = post.fields
        self.line("")
        tlp = fields.get("tlp", "")
        shown: list[str | tuple[str, str]] = [(post.sender, "bold")]
        if tlp:
            shown += [f"  {fields['type']}  ", (tlp, TLP_STYLE.get(tlp, ""))]
        for name in ("updates", "cancels"):
            if name in fields:
                shown.append((f"  {name} “{fields[name]}”", "cyan"))
        if "rel_to" in fields:
            shown.append((f"  only to {', '.join(fields['rel_to'])}", "cyan"))
        if fields.get("exercise"):
            shown.append(("  exercise", "cyan"))
        self.line(*shown)
        self.line(post.title, indent=2)

    def delivered(self, recipient: str, clause: str, withheld: Sequence[str], reason: str) -> None:
        said = (f"without {', '.join(withheld)}", "yellow") if withheld else ("whole", "dim")
        recalled = (" (recall)", "cyan") if reason == "recall" else ""
        self.line(("→ ", "green"), f"{recipient:<{AGENCY}}", f"{clause:<{CLAUSE}}", said, recalled, indent=2)

    def nobody(self) -> None:
        self.line(("· ", "dim"), "nobody: accepted and recorded, but no clause grants it to anyone", indent=2)

    def refused(self, code: str, detail: str) -> None:
        self.line(("✗ ", "red"), (f"refused: {code}", "red"), indent=2)
        self._console.print(Padding(Text(detail), (0, 0, 0, 4), expand=False))

    def repeated(self) -> None:
        self.line(("= ", "dim"), "the same bytes, the same receipt; nothing was delivered twice", indent=2)

    def rotation(self, step: Rotation, kid: str, old: str) -> None:
        self.line("")
        self.line((step.agency, "bold"), f"  {step.reason}")
        self.line(("↻ ", "cyan"), f"new key {kid}; {old} is revoked", indent=2)

    def difference(self, what: str) -> None:
        self.line(("! not as expected: ", "bold red"), what, indent=2)

    def explanation(self, post: Post, agency: str, reasons: Iterable[dict[str, Any]]) -> None:
        self.line("")
        self.line((f"Why did {agency} not receive “{post.title}”?", "bold"))
        table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
        for name in ("agreement", "clause", "code", "detail"):
            table.add_column(name, overflow="fold", no_wrap=name == "code")
        for each in reasons:
            table.add_row(each["agreement"] or "–", each["clause"] or "–", each["code"], each["detail"])
        self._console.print(table)

    def proof(self, agency: str, index: int, size: int, clause: str) -> None:
        self.line("")
        self.line((f"{agency} proves its delivery to itself", "bold"), ", offline, from the hub's verifier key alone")
        self.line(
            ("✓ ", "green"), f"ledger entry {index} of {size}, under {clause}; who else received stays hidden", indent=2
        )

    def ledger(self, report: Report) -> None:
        self.line("")
        self.line(
            ("The ledger, read by the auditor", "bold"), ", who believes signed bytes only and decides everything again"
        )
        counts = (
            f"{report.entries} entries: {report.statements} statements, {report.notices} notices ({report.refused} refused), "
            f"{report.acknowledgements} acknowledgements"
        )
        self.line(counts, indent=2)
        self.line(
            f"{report.deliveries} deliveries, {report.checkpoints} checkpoints, root {report.root.hex()[:16]}…",
            indent=2,
        )
        for finding in report.findings[:5]:
            self.line(("✗ ", "red"), str(finding), indent=2)
        if report.holds:
            self.line(("✓ the ledger holds", "bold green"), indent=2)

    def ending(self, good: bool, counts: str, directory: str) -> None:
        self.line("")
        self.line(("Everything went as expected", "bold green") if good else ("Not as expected", "bold red"))
        self.line(counts, indent=2)
        self._console.print(
            f"  Keys, notices, deliveries and ledger are in {directory}", soft_wrap=True, highlight=False
        )
