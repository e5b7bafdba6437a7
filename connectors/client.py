"""The partner's client of a hub over HTTP: publish, subscribe, ask.

    key = PartnerKey.load("us-cisa.key.json")
    async with Client("https://hub.example", key, journal="outbox") as client:
        published = await client.publish(client.notice(type=…, subject=…, tlp=…, data=…))

A client belongs to one event loop and is safe for concurrent use in it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from typing import Any

from connectors.deliveries import KeyRing
from connectors.errors import ConnectorError, Refused, Unreachable
from connectors.evidence import Proof, check_proof
from connectors.journal import Journal
from connectors.keyfile import PartnerKey
from connectors.notices import SignedNotice
from connectors.partner import Partner
from connectors.publishing import MEDIA, Post, Publisher
from connectors.receiving import HttpReceiver
from connectors.session import Session, read_json
from hub.core import strict
from hub.core.checkpoint import Verifier, open_checkpoint

PATIENCE = 120.0  # seconds that a call repeats its request while the hub decides nothing
CONNECTIONS = 72
STATEMENT_MEDIA = "application/jose+json"
LOOK_SECONDS = 1.0  # between looks at a statement that waits to be judged


class Client(Partner):
    """Use as an async context manager.

    url: the hub's base URL. journal: directory or .db file for what is published; without it a kill can lose a notice
    that was not answered yet. vkey: text of the hub's `hub.vkey`; with it receipts and proofs are verified. patience:
    seconds that a call repeats its request while the hub decides nothing. audience: what the hub calls itself, when it
    is reached by another address than its own.
    """

    def __init__(
        self,
        url: str,
        key: PartnerKey,
        *,
        journal: str | os.PathLike[str] | None = None,
        vkey: str | None = None,
        patience: float = PATIENCE,
        audience: str | None = None,
    ) -> None:
        if not url.startswith(("http://", "https://")):
            raise ConnectorError(f"{url[:80]!r} is no address of a hub: it begins with https:// (or http://)")
        self.url = url.rstrip("/")
        self.hub = Verifier.parse(vkey.strip()) if vkey else None
        opened = Journal.open(journal) if journal is not None else None
        # An assertion names the address it is sent to, so that whoever answers there cannot pass it on to the hub and
        # get a token in our name.
        named = audience or self.url
        self._session = Session(self.url, key, audience=named, connections=CONNECTIONS, patience=patience)
        self.keys = KeyRing(self.agencies)
        post = Post(self._session, key.agency, self.hub)
        super().__init__(key, opened, Publisher(post, opened), HttpReceiver(self._session, key, self.keys))
        self._patience = patience

    def __repr__(self) -> str:
        return f"Client({self.url!r}, {self.key.kid!r})"

    async def disconnect(self) -> None:
        await self._session.close()

    async def preview(self, notice: SignedNotice | bytes | Mapping[str, Any]) -> dict[str, Any]:
        """Who would receive it, and what would be withheld: of a signed notice, or of claims. Nothing is stored."""
        if isinstance(notice, Mapping):
            return read_json(await self._session.post("/v1/notices/preview", strict.dumps(notice), "application/json"))
        return read_json(await self._session.post("/v1/notices/preview", bytes(notice), MEDIA))

    async def status(self, jti: str, iss: str | None = None) -> dict[str, Any]:
        """What became of a notice: by default one of our own. Refused("not-found") when it does not concern us."""
        return read_json(await self._session.get(f"/v1/notices/{iss or self.key.agency}/{jti}"))

    async def explain(self, jti: str, agency: str, iss: str | None = None) -> dict[str, Any]:
        """Why `agency` received the notice, or every reason why not. For its sender and auditors."""
        return read_json(await self._session.get(f"/v1/notices/{iss or self.key.agency}/{jti}/explain", agency=agency))

    async def proof(self, digest: str) -> Proof:
        """That the ledger holds a notice (digest: base64url), verified under the hub's key; waits for the checkpoint.

        Raises VerificationFailed when it does not hold; ConnectorError when the client was made without `vkey`.
        """
        if self.hub is None:
            raise ConnectorError("a proof needs the hub's verifier key: Client(…, vkey=Path('hub.vkey').read_text())")
        answer = read_json(await self._session.get("/v1/ledger/proof", digest=digest))
        return check_proof(answer, digest, self.key.agency, self.hub)

    async def checkpoint(self) -> bytes:
        """The newest signed checkpoint, verified: a note to keep, for the ledger must contain that very tree for ever.

        Raises VerificationFailed when it is not the hub's; ConnectorError when the client was made without `vkey`.
        """
        if self.hub is None:
            raise ConnectorError(
                "a checkpoint needs the hub's verifier key: Client(…, vkey=Path('hub.vkey').read_text())"
            )
        note = (await self._session.get("/v1/ledger/checkpoint")).content
        open_checkpoint(note, self.hub)
        return note

    async def agencies(self) -> dict[str, Any]:
        """GET /v1/agencies: every agency with its keys."""
        return read_json(await self._session.get("/v1/agencies"))

    async def agreements(self) -> list[dict[str, Any]]:
        """Every version of the agreements we are a party to."""
        found: list[dict[str, Any]] = read_json(await self._session.get("/v1/agreements"))["agreements"]
        return found

    async def statement(self, document: Mapping[str, Any] | bytes) -> dict[str, Any]:
        """Hand in a signed statement (`connectors.statements`) and wait for its judgement: its registry event.

        The same document again gets the same answer. Raises Refused; Unreachable when it is not judged in time.
        """
        content = document if isinstance(document, bytes) else strict.dumps(document)
        deadline = time.monotonic() + self._patience
        while (answer := await self._session.post("/v1/registry", content, STATEMENT_MEDIA)).status_code == 202:
            await self._judged(read_json(answer).get("id", ""), deadline)
        return read_json(answer)

    async def _judged(self, statement: str, deadline: float) -> None:
        """Return once the registry has judged it; to a partner, one that waits does not exist yet."""
        while time.monotonic() < deadline:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                if read_json(await self._session.get(f"/v1/registry/{statement}"))["status"] != "pending":
                    return
            except Refused as refused:
                if refused.code != "not-found":
                    raise
        raise Unreachable(f"statement {statement} is not judged yet: hand in the same document again")
