"""The partner's client of a hub: publish, subscribe, ask.

    key = PartnerKey.load("us-cisa.key.json")
    async with Client("https://hub.example", key, journal="outbox") as client:
        published = await client.publish(client.notice(type=…, subject=…, tlp=…, data=…))

A client belongs to one event loop and is safe for concurrent use in it.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from types import TracebackType
from typing import Any, Unpack

from connectors import notices
from connectors.deliveries import Delivery, KeyRing, Numbering
from connectors.errors import ConnectorError, InvalidDelivery, Refused, Unreachable
from connectors.evidence import Proof, check_proof
from connectors.journal import Journal
from connectors.keyfile import PartnerKey
from connectors.notices import NoticeFields, SignedNotice
from connectors.publishing import MEDIA, Published, Publisher
from connectors.receiving import Receiver
from connectors.session import Session, read_json
from hub.core import strict
from hub.core.checkpoint import Verifier, open_checkpoint

PATIENCE = 120.0  # seconds that a call repeats its request while the hub decides nothing
CONNECTIONS = 72
STATEMENT_MEDIA = "application/jose+json"
LOOK_SECONDS = 1.0  # between looks at a statement that waits to be judged


class Client:
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
        self.key = key
        self.hub = Verifier.parse(vkey.strip()) if vkey else None
        self.journal = Journal.open(journal) if journal is not None else None
        # An assertion names the address it is sent to, so that whoever answers there cannot pass it on to the hub and
        # get a token in our name.
        named = audience or self.url
        self._session = Session(self.url, key, audience=named, connections=CONNECTIONS, patience=patience)
        self._publisher = Publisher(self._session, key.agency, self.journal, self.hub)
        self.keys = KeyRing(self.agencies)
        self.receiver = Receiver(self._session, key, self.keys)
        self._patience = patience

    def __repr__(self) -> str:
        return f"Client({self.url!r}, {self.key.kid!r})"

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._session.close()
        if self.journal is not None:
            await self.journal.close()

    def notice(self, **fields: Unpack[NoticeFields]) -> SignedNotice:
        """Build, check and sign a notice; nothing is sent. Raises InvalidNotice, which names every fault."""
        return notices.sign(notices.claims(self.key.agency, **fields), self.key)

    async def publish(self, notice: SignedNotice | bytes) -> Published:
        """Journal, then post until the hub decides. The same notice again: the same answer.

        Raises Refused: final, and so marked. Unreachable, AuthenticationFailed: it stays pending; publish it again, or
        call `publish_pending`. VerificationFailed: the receipt is not this hub's.
        """
        return await self._publisher.publish(notice)

    def publish_many(
        self, notices: Iterable[SignedNotice | bytes], *, concurrency: int = 64
    ) -> AsyncIterator[Published | Refused]:
        """Publish many at once; a result for each, as they are decided.

        An update or a cancel waits for the notice it names, if that is among these; otherwise the order is not kept.
        What stops all (Unreachable, …) is raised; everything begun is in the journal.
        """
        return self._publisher.publish_many(notices, concurrency)

    async def publish_pending(self) -> list[Published | Refused]:
        """Send again, as the same bytes, what the journal holds without a final answer. Do it at every start."""
        return await self._publisher.publish_pending()

    async def subscribe(self, after: int = -1, numbers: Mapping[str, int] | None = None) -> AsyncIterator[Delivery]:
        """Verified deliveries after an offset, for ever; it waits out a hub that is away.

        numbers: last number seen per sender, so that gaps show across a restart; after=-1 begins with none. Raises
        InvalidDelivery, whose `offset` is where to resume if it is to be passed over. `Inbox` does all that by itself.
        """
        numbering = Numbering(numbers, complete=numbers is not None or after < 0)
        async for page in self.receiver.pages(after, numbering):
            for each in page:
                if isinstance(each, InvalidDelivery):
                    raise each
                yield each

    async def acknowledge(self, deliveries: Iterable[Delivery]) -> None:
        """Sign that these are stored durably; it enters the ledger. Only say so when it is true."""
        await self.receiver.acknowledge((each.sender, each.number, each.digest) for each in deliveries)

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
