"""Write the generated files anew, or say which are out of date: `python -m tools.generate [--check]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from hub.cli import reference
from schemas.documents import documents
from schemas.notice import TYPES
from tools import notices_page

ROOT = Path(__file__).resolve().parent.parent
EXAMPLES = ROOT / "schemas" / "examples"
JSON = ROOT / "schemas" / "json"


def generated() -> dict[Path, str]:
    """Every generated file and what must be in it."""
    examples = {folder.name: _examples(folder) for folder in EXAMPLES.iterdir()}
    schemas = dict(documents(examples))
    files = {
        JSON / f"{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas.items()
    }
    pages = {"cli.md": reference.render(), "notices.md": notices_page.render(schemas)}
    return files | {ROOT / "docs" / name: text for name, text in pages.items()}


def _examples(folder: Path) -> list[Any]:
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("good*.json"))]
    return [claims["data"] for claims in found] if folder.name in TYPES else found


def main(arguments: list[str]) -> int:
    stale = [path for path, text in generated().items() if not path.exists() or path.read_text() != text]
    if "--check" not in arguments:
        for path in stale:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(generated()[path])
        return 0
    for path in stale:
        print(f"{path.relative_to(ROOT)} is out of date; run `make generate`", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
