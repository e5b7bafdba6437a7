"""Invariant 6: the notary's checkpoints, against a tree of our own over the ledger's records (RFC 6962 §2.1).

If every checkpoint has the root of the ledger's first `size` records, they are all consistent with one another.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from hashlib import sha256

from nacl.exceptions import BadSignatureError
from nacl.signing import VerifyKey

from tests.faults.reading import Seen


class Roots:
    """The roots of a list's beginnings: for each size, folded from the complete subtrees on its left."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self._of_size = [sha256(b"").digest()]
        peaks: list[tuple[int, bytes]] = []  # (leaves, hash), largest first
        for leaf in leaves:
            peaks.append((1, sha256(b"\x00" + leaf).digest()))
            while len(peaks) > 1 and peaks[-1][0] == peaks[-2][0]:
                (count, right), (_, left) = peaks.pop(), peaks.pop()
                peaks.append((2 * count, sha256(b"\x01" + left + right).digest()))
            root = peaks[-1][1]
            for _, left in reversed(peaks[:-1]):
                root = sha256(b"\x01" + left + root).digest()
            self._of_size.append(root)

    def __len__(self) -> int:
        return len(self._of_size) - 1

    def __getitem__(self, size: int) -> bytes:
        return self._of_size[size]


def check_tree(
    ledger: Sequence[Seen], checkpoints: Sequence[Seen], origin: str, public: bytes, *, complete: bool = True
) -> list[str]:
    """What is wrong. The ledger must have been read after the checkpoints. complete: the last one covers everything."""
    roots = Roots([seen.value.partition(b"\n")[0] for seen in ledger])
    wrong: list[str] = []
    signed: dict[int, bytes] = {}
    last = 0
    for seen in checkpoints:
        place = f"6: checkpoint {seen.offset}"
        text, _, signature = seen.value.decode().partition("\n\n")
        name, size_text, root_text = text.split("\n")
        size, root = int(size_text), base64.b64decode(root_text)
        if name != origin or not _is_signed(text, signature, origin, public):
            wrong.append(f"{place} is not signed by {origin}")
        if signed.setdefault(size, root) != root:
            wrong.append(f"{place} is another root for {size} entries")
        if size <= last:
            wrong.append(f"{place} covers {size} entries, the one before {last}")
        if size > len(roots):
            wrong.append(f"{place} covers {size} entries, the ledger has {len(roots)}")
        elif roots[size] != root:
            wrong.append(f"{place} has not the root of the first {size} entries")
        last = max(last, size)
    if complete and last != len(roots):
        wrong.append(f"7: the ledger has {len(roots)} entries, the last checkpoint covers {last}")
    return wrong


def _is_signed(text: str, signature_line: str, origin: str, public: bytes) -> bool:
    """A signed note of one signature (c2sp.org/signed-note): key id of 4 bytes, then Ed25519 over the text."""
    blob = base64.b64decode(signature_line.removeprefix(f"— {origin} "))
    key_id = sha256(origin.encode() + b"\n\x01" + public).digest()[:4]
    try:
        VerifyKey(public).verify(f"{text}\n".encode(), blob[4:])
    except BadSignatureError:
        return False
    return blob[:4] == key_id
