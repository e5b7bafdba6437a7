"""The Merkle tree against RFC 6962's recursive definitions, known roots, and everything that is nearly a proof."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.core import merkle
from hub.core.errors import ComityError, VerificationFailed
from hub.core.merkle import EMPTY_ROOT, Tree, leaf_hash, node_hash, verify_consistency, verify_inclusion

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "rfc6962.json").read_text())
KNOWN = [leaf_hash(bytes.fromhex(leaf)) for leaf in VECTORS["leaves"]]
LEAVES = [leaf_hash(b"%d" % n) for n in range(70)]
TREE = Tree(LEAVES)


# RFC 6962 §2.1, word for word


def split(n: int) -> int:
    k = 1
    while k * 2 < n:
        k *= 2
    return k


def mth(leaves: list[bytes]) -> bytes:
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return node_hash(mth(leaves[:k]), mth(leaves[k:]))


def path(m: int, leaves: list[bytes]) -> list[bytes]:
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    return [*path(m, leaves[:k]), mth(leaves[k:])] if m < k else [*path(m - k, leaves[k:]), mth(leaves[:k])]


def subproof(m: int, leaves: list[bytes], known: bool) -> list[bytes]:
    if m == len(leaves):
        return [] if known else [mth(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*subproof(m, leaves[:k], known), mth(leaves[k:])]
    return [*subproof(m - k, leaves[k:], False), mth(leaves[:k])]


def shape(index: int, size: int) -> list[bool]:
    """From the leaf up: whether the sibling is on the left. Roots of sizes of one shape cannot be told apart."""
    if size == 1:
        return []
    k = split(size)
    return [*shape(index, k), False] if index < k else [*shape(index - k, size - k), True]


def test_the_roots_are_the_known_ones() -> None:
    tree = Tree()
    for size, root in enumerate(VECTORS["roots"]):
        assert tree.size == size
        assert tree.root().hex() == root
        if size < len(KNOWN):
            tree.append(KNOWN[size])
    assert [tree.root(size).hex() for size in range(9)] == VECTORS["roots"]


@pytest.mark.parametrize("proof", VECTORS["inclusion"], ids=lambda proof: f"{proof['index']} of {proof['size']}")
def test_known_inclusion_proofs_are_made_and_verified(proof: dict[str, object]) -> None:
    index, size = int(str(proof["index"])), int(str(proof["size"]))
    made = Tree(KNOWN).inclusion(index, size)
    assert [hashed.hex() for hashed in made] == proof["path"]
    verify_inclusion(KNOWN[index], index, size, made, bytes.fromhex(VECTORS["roots"][size]))


@pytest.mark.parametrize("proof", VECTORS["consistency"], ids=lambda proof: f"{proof['old']} to {proof['new']}")
def test_known_consistency_proofs_are_made_and_verified(proof: dict[str, object]) -> None:
    old, new = int(str(proof["old"])), int(str(proof["new"]))
    made = Tree(KNOWN).consistency(old, new)
    assert [hashed.hex() for hashed in made] == proof["path"]
    roots = [bytes.fromhex(root) for root in VECTORS["roots"]]
    verify_consistency(old, roots[old], new, roots[new], made)


def test_roots_and_proofs_are_those_of_the_definition_at_every_size() -> None:
    for size in range(35):
        assert TREE.root(size) == mth(LEAVES[:size])
        for index in range(size):
            assert TREE.inclusion(index, size) == path(index, LEAVES[:size])
            verify_inclusion(LEAVES[index], index, size, TREE.inclusion(index, size), TREE.root(size))
        for old in range(size + 1):
            expected = subproof(old, LEAVES[:size], True) if old else []
            assert TREE.consistency(old, size) == expected
            verify_consistency(old, TREE.root(old), size, TREE.root(size), expected)


@given(st.lists(st.integers(0, 20), max_size=6))
def test_appending_one_by_one_or_many_at_once_makes_the_same_tree(portions: list[int]) -> None:
    together, single, done = Tree(), Tree(), 0
    for portion in portions:
        fresh = [leaf_hash(b"%d" % n) for n in range(done, done + portion)]
        together.extend(fresh)
        for hashed in fresh:
            single.append(hashed)
        done += portion
    assert together.size == single.size == done
    for size in range(done + 1):
        assert together.root(size) == single.root(size)
    assert together.root() == Tree([leaf_hash(b"%d" % n) for n in range(done)]).root()


@given(st.integers(1, 70), st.data())
@settings(max_examples=150)
def test_an_inclusion_proof_holds_for_its_leaf_index_size_path_and_root_and_nothing_else(
    size: int, draw: st.DataObject
) -> None:
    index = draw.draw(st.integers(0, size - 1))
    proof, root, leaf = TREE.inclusion(index, size), TREE.root(size), LEAVES[index]
    verify_inclusion(leaf, index, size, tuple(proof), root)
    other_index, other_size = draw.draw(st.integers(-2, 72)), draw.draw(st.integers(-2, 80))
    if 0 <= other_index < other_size and shape(other_index, other_size) == shape(index, size):
        verify_inclusion(leaf, other_index, other_size, proof, root)
    else:
        _not_included(leaf, other_index, other_size, proof, root)
    if other_index != index:
        _not_included(leaf, other_index, size, proof, root)
    for changed in _changes(proof, draw):
        _not_included(leaf, index, size, changed, root)
    _not_included(_flipped(leaf, draw), index, size, proof, root)
    _not_included(leaf, index, size, proof, _flipped(root, draw))
    _not_included(leaf[:-1], index, size, proof, root)


@given(st.integers(1, 70), st.data())
@settings(max_examples=150)
def test_a_consistency_proof_holds_for_its_sizes_roots_and_path_and_nothing_else(
    size: int, draw: st.DataObject
) -> None:
    old = draw.draw(st.integers(1, size))
    proof, old_root, root = TREE.consistency(old, size), TREE.root(old), TREE.root(size)
    verify_consistency(old, old_root, size, root, tuple(proof))
    for changed in _changes(proof, draw):
        _not_consistent(old, old_root, size, root, changed)
    _not_consistent(old, _flipped(old_root, draw), size, root, proof)
    _not_consistent(old, old_root, size, _flipped(root, draw), proof)
    _not_consistent(size, root, old, old_root, proof) if old != size else None
    other = draw.draw(st.integers(1, 70))
    if other != old:
        _not_consistent(other, old_root, size, root, proof)
        _not_consistent(other, TREE.root(other), size, root, proof)


def test_a_rewritten_past_has_no_consistency_proof() -> None:
    for size in range(2, 20):
        for old in range(1, size):
            rewritten = Tree([leaf_hash(b"other"), *LEAVES[1:size]])
            _not_consistent(old, TREE.root(old), size, rewritten.root(), rewritten.consistency(old))
            _not_consistent(old, TREE.root(old), size, rewritten.root(), TREE.consistency(old, size))


def test_the_empty_tree_is_the_beginning_of_every_tree_and_has_one_root() -> None:
    for size in (0, 1, 5):
        verify_consistency(0, EMPTY_ROOT, size, TREE.root(size), [])
    _not_consistent(0, LEAVES[0], 5, TREE.root(5), [])
    _not_consistent(0, EMPTY_ROOT, 5, TREE.root(5), [LEAVES[0]])
    _not_consistent(0, EMPTY_ROOT, 0, LEAVES[0], [])
    _not_consistent(0, LEAVES[0], 0, LEAVES[0], [])
    _not_consistent(5, TREE.root(5), 5, TREE.root(6), [])
    _not_consistent(-1, EMPTY_ROOT, 5, TREE.root(5), [])
    _not_consistent(4, TREE.root(4), 5, TREE.root(5), [])
    _not_consistent(3, TREE.root(3), 5, TREE.root(5), [])


def test_what_is_no_hash_proves_nothing() -> None:
    _not_included(b"", 0, 1, [], b"")
    _not_included(b"short", 0, 1, [], b"short")
    _not_consistent(1, b"", 1, b"", [])
    _not_consistent(0, EMPTY_ROOT, 5, b"short", [])


def test_questions_that_the_tree_cannot_answer_are_errors() -> None:
    for question in (
        lambda: TREE.root(71),
        lambda: TREE.root(-1),
        lambda: TREE.inclusion(70),
        lambda: TREE.inclusion(-1),
        lambda: TREE.inclusion(5, 5),
        lambda: TREE.consistency(6, 5),
        lambda: TREE.consistency(-1),
        lambda: Tree().append(b"short"),
        lambda: Tree().extend([bytes(31), bytes(33)]),
    ):
        with pytest.raises(ValueError):
            question()


def test_a_refused_leaf_leaves_the_tree_as_it_was() -> None:
    tree = Tree(LEAVES[:5])
    with pytest.raises(ValueError):
        tree.extend([LEAVES[5], b"short"])
    assert (tree.size, tree.root()) == (5, TREE.root(5))


def test_leaves_and_nodes_are_hashed_apart() -> None:
    """A node read as a leaf would let anyone put entries into the past (RFC 6962 §2.1)."""
    assert node_hash(b"a" * 32, b"b" * 32) != leaf_hash(b"a" * 32 + b"b" * 32)
    assert len(leaf_hash(b"")) == merkle.HASH_BYTES
    assert issubclass(VerificationFailed, ComityError)


def _changes(proof: list[bytes], draw: st.DataObject) -> list[list[bytes]]:
    """Truncated, extended, reordered, cut, flipped."""
    at = draw.draw(st.integers(0, max(0, len(proof) - 1)))
    changed = [[*proof, LEAVES[0]], [LEAVES[0], *proof], proof[:-1], proof[1:], proof[::-1], [*proof, *proof]]
    if proof:
        changed += [proof[:at] + proof[at + 1 :], [*proof[:at], _flipped(proof[at], draw), *proof[at + 1 :]]]
        changed += [[*proof[:at], proof[at][:-1], *proof[at + 1 :]], [*proof[:at], proof[at] + b"\0", *proof[at + 1 :]]]
    return [one for one in changed if one != proof]


def _flipped(hashed: bytes, draw: st.DataObject) -> bytes:
    bit = draw.draw(st.integers(0, 255))
    return (int.from_bytes(hashed, "big") ^ (1 << bit)).to_bytes(32, "big")


def _not_included(leaf: bytes, index: int, size: int, proof: list[bytes], root: bytes) -> None:
    with pytest.raises(VerificationFailed):
        verify_inclusion(leaf, index, size, proof, root)


def _not_consistent(old: int, old_root: bytes, new: int, new_root: bytes, proof: list[bytes]) -> None:
    with pytest.raises(VerificationFailed):
        verify_consistency(old, old_root, new, new_root, proof)
