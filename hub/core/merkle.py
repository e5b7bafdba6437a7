"""The Merkle tree of RFC 6962 §2.1 (RFC 9162 §2.1): roots, inclusion and consistency proofs, and their verification.

The tree keeps every complete subtree, one byte array per level, so a leaf costs 64 bytes and any past size can still be
proved. A ragged right edge is never stored: it is folded from complete subtrees when asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256

from hub.core.errors import VerificationFailed

HASH_BYTES = 32
_PAIR = 2 * HASH_BYTES
EMPTY_ROOT = sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """An append-only tree in memory. Takes leaf hashes (32 bytes), not leaves."""

    __slots__ = ("_levels",)

    def __init__(self, leaf_hashes: Iterable[bytes] = ()) -> None:
        self._levels: list[bytearray] = [
            bytearray()
        ]  # level k, 32 bytes each: the subtrees of 2^k leaves, left to right
        self.extend(leaf_hashes)

    @property
    def size(self) -> int:
        return len(self._levels[0]) // HASH_BYTES

    def append(self, leaf_hash: bytes) -> None:
        if len(leaf_hash) != HASH_BYTES:
            raise ValueError(f"a leaf hash has {HASH_BYTES} bytes, not {len(leaf_hash)}")
        node = leaf_hash
        for level in self._levels:
            level += node
            if len(level) & HASH_BYTES:  # an odd count: the new node has no sibling yet
                return
            node = sha256(b"\x01" + level[-_PAIR:]).digest()
        self._levels.append(bytearray(node))

    def extend(self, leaf_hashes: Iterable[bytes]) -> None:
        """Append many at once: level by level, three times quicker than leaf by leaf."""
        nodes = list(leaf_hashes)
        if any(len(node) != HASH_BYTES for node in nodes):
            raise ValueError(f"every leaf hash has {HASH_BYTES} bytes")
        height = 0
        while nodes:
            if height == len(self._levels):
                self._levels.append(bytearray())
            level = self._levels[height]
            start = len(level) - len(level) % _PAIR  # the last node may have waited for a sibling
            level += b"".join(nodes)
            fresh = bytes(level[start:])
            whole = len(fresh) - len(fresh) % _PAIR
            nodes = [sha256(b"\x01" + fresh[at : at + _PAIR]).digest() for at in range(0, whole, _PAIR)]
            height += 1

    def root(self, size: int | None = None) -> bytes:
        """The root of the first `size` leaves, of all by default."""
        size = self._checked(size)
        return self._subtree(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """PATH(index, D[size]): the siblings from the leaf up."""
        size = self._checked(size)
        if not 0 <= index < size:
            raise ValueError(f"leaf {index} is not in a tree of {size}")
        path, start, end = [], 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start = middle
        return path[::-1]

    def consistency(self, old: int, new: int | None = None) -> list[bytes]:
        """PROOF(old, D[new]): that the tree of `new` leaves begins with that of `old`; empty for 0 and for equals."""
        new = self._checked(new)
        if not 0 <= old <= new:
            raise ValueError(f"a tree of {new} cannot be consistent with a larger one of {old}")
        if old == 0:
            return []
        path, start, end = [], 0, new
        while end != old:
            middle = start + _split(end - start)
            if old <= middle:
                path.append(self._subtree(middle, end))
                end = middle
            else:
                path.append(self._subtree(start, middle))
                start = middle
        if start:  # else the subtree is the old tree, whose root the verifier has
            path.append(self._subtree(start, end))
        return path[::-1]

    def _checked(self, size: int | None) -> int:
        if size is None:
            return self.size
        if not 0 <= size <= self.size:
            raise ValueError(f"the tree has {self.size} leaves, not {size}")
        return size

    def _subtree(self, start: int, end: int) -> bytes:
        """The hash over leaves [start, end); start is a multiple of the largest complete subtree inside."""
        hashed = b""
        while end > start:
            # the rightmost complete subtree of what is left: its size is the lowest bit of the count
            height = ((end - start) & -(end - start)).bit_length() - 1
            end -= 1 << height
            at = (end >> height) * HASH_BYTES
            complete = bytes(self._levels[height][at : at + HASH_BYTES])
            hashed = node_hash(complete, hashed) if hashed else complete
        return hashed


def verify_inclusion(leaf_hash: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> None:
    """RFC 9162 §2.1.3.2. Raises VerificationFailed.

    A root does not tell its size: the caller takes both from one signed checkpoint.
    """
    if not 0 <= index < size:
        raise VerificationFailed(f"leaf {index} cannot be in a tree of {size}")
    _check_hashes(leaf_hash, root, *path)
    position, last, computed = index, size - 1, leaf_hash
    for sibling in path:
        if not last:
            raise VerificationFailed(f"the proof of leaf {index} in a tree of {size} is too long")
        if position & 1 or position == last:
            computed = node_hash(sibling, computed)
            while not position & 1 and position:  # the edge of the tree: levels where the node has no sibling
                position, last = position >> 1, last >> 1
        else:
            computed = node_hash(computed, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise VerificationFailed(f"the proof of leaf {index} in a tree of {size} is too short")
    if computed != root:
        raise VerificationFailed(f"leaf {index} is not what the root over {size} leaves commits to")


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, path: Sequence[bytes]) -> None:
    """RFC 9162 §2.1.4.2: that the new tree begins with the old one. Raises VerificationFailed."""
    if not 0 <= old_size <= new_size:
        raise VerificationFailed(f"a tree of {new_size} cannot grow out of one of {old_size}")
    _check_hashes(old_root, new_root, *path)
    if old_size == 0 or old_size == new_size:
        expected = EMPTY_ROOT if old_size == 0 else new_root
        if path or old_root != expected or (new_size == 0 and new_root != EMPTY_ROOT):
            raise VerificationFailed(f"the roots over {old_size} and {new_size} leaves do not agree")
        return
    siblings = list(path) if old_size & (old_size - 1) else [old_root, *path]
    if not siblings:
        raise VerificationFailed(f"the proof from {old_size} to {new_size} is empty")
    position, last = old_size - 1, new_size - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    old = new = siblings[0]
    for sibling in siblings[1:]:
        if not last:
            raise VerificationFailed(f"the proof from {old_size} to {new_size} is too long")
        if position & 1 or position == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        position, last = position >> 1, last >> 1
    if last:
        raise VerificationFailed(f"the proof from {old_size} to {new_size} is too short")
    if old != old_root or new != new_root:
        raise VerificationFailed(f"the tree of {new_size} leaves does not begin with the tree of {old_size}")


def _check_hashes(*hashes: bytes) -> None:
    if any(len(hashed) != HASH_BYTES for hashed in hashes):
        raise VerificationFailed(f"a proof consists of hashes of {HASH_BYTES} bytes")


def _split(size: int) -> int:
    """The largest power of two smaller than `size` (≥ 2)."""
    return int(1 << (size - 1).bit_length() - 1)
