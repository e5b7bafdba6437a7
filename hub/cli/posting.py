"""Publishing signed notices from files, with a bar for many, and what is told of each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from connectors import Published, Refused, SignedNotice
from hub.cli.options import partner
from hub.cli.output import progress


async def publish_all(
    signed: list[SignedNotice], hub: str, key: Path | None, vkey: Path | None, journal: Path | None
) -> list[Published | Refused]:
    """Send them, and before them what a journal holds unanswered; the results as they come."""
    results = []
    async with partner(hub, key, vkey, journal) as publisher:
        if journal is not None:
            results += await publisher.publish_pending()
        with progress() as bar:
            task = bar.add_task("publishing", total=len(signed))
            async for result in publisher.publish_many(signed):
                results.append(result)
                bar.advance(task)
    return results


def told(result: Published | Refused, names: dict[str, str]) -> dict[str, Any]:
    """One result for people and machines; `names`: the file of each jti."""
    file = names.get(result.jti or "", "(journal)")
    if isinstance(result, Refused):
        outcome = f"refused: {result.code}"
        return {
            "file": file,
            "jti": result.jti,
            "outcome": outcome,
            "detail": result.detail,
            "digest": None,
            "receipt": None,
        }
    if not result.receipt:  # over Kafka: durable, and not judged yet
        return {
            "file": file, "jti": result.jti, "outcome": "written", "detail": result.location, "digest": result.digest,
            "receipt": None,
        }  # fmt: skip
    return {
        "file": file, "jti": result.jti, "outcome": "accepted", "detail": None, "digest": result.digest,
        "receipt": result.receipt,
    }  # fmt: skip
