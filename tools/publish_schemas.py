"""Make the present schemas the published ones, unless that would break what was published: `python -m tools.publish_schemas`.

Run at a release. Whoever relies on a published schema may go on doing so; a breaking change is a new type.
"""

from __future__ import annotations

import json
import sys

from schemas.compatibility import breaking
from tools.generate import JSON

PUBLISHED = JSON / "published"


def main() -> int:
    present = {path.name: path.read_text() for path in JSON.glob("*.json")}
    faults = [f"{path.stem}: was removed" for path in PUBLISHED.glob("*.json") if path.name not in present]
    for name, text in present.items():
        if (PUBLISHED / name).exists():
            found = breaking(json.loads((PUBLISHED / name).read_text()), json.loads(text))
            faults += [f"{name.removesuffix('.json')}: {fault}" for fault in found]
    if faults:
        print("\n".join([*faults, "nothing was published; make it a new version of the type"]), file=sys.stderr)
        return 1
    PUBLISHED.mkdir(exist_ok=True)
    for name, text in present.items():
        (PUBLISHED / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
