"""The ledger for those who may look: checkpoints for everyone, proofs for those concerned, entries for auditors.

Proofs are made against the newest checkpoint and hold offline. A recipient gets its own delivery with a path; neither
the path nor its length tells who else received.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from hub.api import spec
from hub.api.auth import Principal
from hub.api.deliveries import FARTHEST
from hub.api.door import Door, caller
from hub.api.notices import not_found
from hub.api.problems import Problem
from hub.api.requests import accepts
from hub.core import record, strict
from hub.core.errors import Refusal
from hub.index import Index
from hub.log import Log, Record
from hub.rows import Entry

READ_TYPE = "application/vnd.comity.read+json"
JSON = "application/json"
MAX_PAGE = 500

After = Annotated[int, Query(ge=-1, le=FARTHEST, description="The number of the last entry seen; -1: from the start.")]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="At most this many.")]


class Ledger:
    def __init__(self, *, log: Log, index: Index, door: Door, clock: Callable[[], int]) -> None:
        self._log, self._index, self._door, self._clock = log, index, door, clock

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/v1/ledger", tags=["ledger"], dependencies=[Depends(self._door.admit)])
        router.add_api_route("/checkpoint", self.checkpoint, methods=["GET"], **spec.CHECKPOINT)
        router.add_api_route("/proof", self.proof, methods=["GET"], **spec.PROOF)
        router.add_api_route("/entries", self.entries, methods=["GET"], **spec.ENTRIES)
        return router

    async def checkpoint(self, request: Request) -> Response:
        """The newest signed checkpoint; keep it, and nobody can rewrite what came before unseen."""
        accepts(request, "text/plain", JSON)
        if self._index.checkpoint is None:
            raise Problem("not-found", "no checkpoint was signed yet")
        return Response(self._index.checkpoint, media_type="text/plain")

    async def proof(
        self, request: Request, digest: Annotated[str, Query(description="Digest of the notice, base64url.")]
    ) -> Response:
        """That the ledger holds the notice: for its sender and auditors whole, for a recipient its own delivery."""
        accepts(request, JSON)
        principal = caller(request)
        try:
            wanted = strict.unb64(digest)
        except Refusal:
            raise Problem("bad-request", "digest: must be base64url without padding, as in a receipt") from None
        await self._index.catch_up()
        entry, part = await self._concerning(principal, wanted)
        path = self._index.proof(entry.number)
        if path is None or self._index.checkpoint is None:
            raise Problem("not-yet-covered", "no checkpoint covers the ledger entry yet; ask again", retry_after=1)
        shown = {
            "checkpoint": self._index.checkpoint.decode(),
            "index": entry.number,
            "leaf": entry.leaf_bytes.decode(),
            "path": [strict.b64(node) for node in path],
        }
        return Response(strict.dumps(shown | part), media_type=JSON)

    async def _concerning(self, principal: Principal, digest: bytes) -> tuple[Entry, dict[str, Any]]:
        """The entry that concerns the caller. The accepted one first: who posts what it received must not lose its proof."""
        for iss in (None, principal.name):
            found = await self._index.by_digest(digest, iss)
            if found and found.entry and (part := self._for_caller(principal, found.iss, found.entry)):
                return found.entry, part
        raise not_found()

    def _for_caller(self, principal: Principal, sender: str, entry: Entry) -> dict[str, Any] | None:
        """What is added to the proof for this caller; None when the notice does not concern it."""
        if principal.role == "auditor" or principal.name == sender:
            return {"sealed": entry.sealed_bytes.decode() if entry.sealed_bytes is not None else None}
        sealed = entry.sealed or {}
        deliveries = [record.Delivery.from_sealed(sender, each) for each in sealed.get("deliveries", ())]
        if principal.name not in (each.recipient for each in deliveries):
            return None
        slots = record.slots(self._index.registry.view(entry.leaf["registry"]).enrolled())
        tree = record.DeliveryTree(strict.unb64(sealed["seed"]), strict.unb64(entry.leaf["digest"]), deliveries, slots)
        proof = tree.proof(principal.name)
        path = [strict.b64(node) for node in proof.path]
        return {"delivery": {"leaf": proof.leaf.decode(), "slot": proof.slot, "slots": proof.slots, "path": path}}

    async def entries(self, request: Request, after: After = -1, limit: Limit = 100) -> Response:
        """Ledger entries with their sealed parts. The reading is on record before the reader has the answer."""
        accepts(request, JSON)
        principal = caller(request, "auditor")
        await self._index.catch_up()
        found = await self._index.entries(after, limit)
        if _tells_something(found, principal):
            said = {"reader": principal.name, "from": found[0].number, "to": found[-1].number, "at": self._clock()}
            await self._log.append(
                f"comity.notices.{principal.name}", Record(strict.dumps(said), None, {"content-type": READ_TYPE})
            )
        shown = [
            {
                "index": entry.number,
                "leaf": entry.leaf_bytes.decode(),
                "sealed": entry.sealed_bytes.decode() if entry.sealed_bytes is not None else None,
            }
            for entry in found
        ]
        body = await asyncio.to_thread(strict.dumps, {"entries": shown, "next": found[-1].number if found else after})
        return Response(body, media_type=JSON)


def _tells_something(found: Sequence[Entry], principal: Principal) -> bool:
    """Whether the page holds more than notes of the reader's own readings: else each look at the end would make a
    next one.
    """
    return any(entry.leaf["kind"] != "read" or (entry.sealed or {}).get("sender") != principal.name for entry in found)
