"""Checking what the hub signs: receipts and proofs, against the verifier key that the partner got from it once.

`hub.vkey` is a line such as `comity.example/ledger+1b2c3d4e+AT…` (C2SP signed-note): the hub's name and public key. The
same key signs receipts and checkpoints.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from pydantic import ValidationError

from connectors.errors import UnexpectedAnswer
from connectors.notices import SignedNotice
from hub.core import checkpoint, envelope, jws, merkle, record, strict
from hub.core.checkpoint import Checkpoint, Verifier
from hub.core.errors import Refusal, VerificationFailed
from hub.core.strict import b64, unb64
from schemas.ledger import Receipt

RECEIPT_TYP = "receipt+jwt"
RECEIPT_KID = "hub"


@dataclass(frozen=True, slots=True)
class Proof:
    """That a notice is entry `index` of the ledger under `checkpoint`: verified.

    leaf: the public part. sealed: sender, reason, deliveries, for sender and auditors. delivery: a recipient's own.
    """

    checkpoint: Checkpoint
    index: int
    leaf: dict[str, Any]
    sealed: dict[str, Any] | None
    delivery: dict[str, Any] | None


def check_receipt(receipt: str, agency: str, notice: SignedNotice, hub: Verifier | None) -> None:
    """That the receipt is for this notice; and, when the hub's key is known, the hub's. Raises VerificationFailed."""
    try:
        signed = jws.read_compact(receipt.encode(), typ=RECEIPT_TYP)
        said = Receipt.model_validate(signed.payload)
    except (Refusal, ValidationError):
        raise VerificationFailed(f"the receipt for {notice.jti} is not one") from None
    if (said.sub, said.jti, said.digest) != (agency, notice.jti, notice.digest):
        raise VerificationFailed(f"the receipt for {notice.jti} speaks of another notice")
    if hub is None:
        return
    good = envelope.verify(hub.public, signed.signature, signed.signing_input)
    if not good or said.iss != hub.name or signed.kid != RECEIPT_KID:
        raise VerificationFailed(f"the receipt for {notice.jti} is not signed by {hub.name}: is this the hub you mean?")


def check_proof(answer: dict[str, Any], digest: str, me: str, hub: Verifier) -> Proof:
    """The proof in an answer of GET /v1/ledger/proof. Raises VerificationFailed; UnexpectedAnswer for a wrong shape."""
    try:
        signed = checkpoint.open_checkpoint(answer["checkpoint"].encode(), hub)
        leaf_bytes, leaf, _, _ = record.decode(answer["leaf"].encode())
        path = [unb64(node) for node in answer["path"]]
        merkle.verify_inclusion(merkle.leaf_hash(leaf_bytes), answer["index"], signed.size, path, signed.root)
        if leaf["digest"] != digest:
            raise VerificationFailed(f"the proof is of {leaf['digest']}, not of {digest}")
        sealed = _check_sealed(answer.get("sealed"), leaf)
        delivery = _check_delivery(answer.get("delivery"), leaf, me)
    except (KeyError, TypeError, AttributeError, Refusal):
        raise UnexpectedAnswer("GET /v1/ledger/proof: the answer does not have the form of a proof") from None
    return Proof(signed, answer["index"], leaf, sealed, delivery)


def _check_sealed(text: str | None, leaf: dict[str, Any]) -> dict[str, Any] | None:
    if text is None:
        return None
    if b64(sha256(text.encode()).digest()) != leaf["sealed"]:
        raise VerificationFailed("the sealed part is not the one that the ledger commits to")
    sealed: dict[str, Any] = strict.loads(text.encode(), max_bytes=record.MAX_SEALED, max_depth=24)
    return sealed


def _check_delivery(given: dict[str, Any] | None, leaf: dict[str, Any], me: str) -> dict[str, Any] | None:
    if given is None:
        return None
    path = [unb64(node) for node in given["path"]]
    record.verify_delivery(given["leaf"].encode(), given["slot"], given["slots"], path, unb64(leaf["deliveries"]))
    delivery: dict[str, Any] = strict.loads(given["leaf"].encode())
    if delivery["digest"] != leaf["digest"] or delivery["recipient"] != me:
        raise VerificationFailed("the delivery proven is another's, or of another notice")
    return delivery
