"""Hashes, frontier and proof verification against the published vectors of RFC 6962 logs and a naive tree."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.log.errors import ConsistencyInvalid, FrontierInvalid, InclusionInvalid
from pki.log.merkle import (
    EMPTY_ROOT,
    Frontier,
    fold_peaks,
    grow,
    leaf_hash,
    node_hash,
    verify_consistency,
    verify_inclusion,
)

# Inputs and roots of the reference tests of github.com/google/certificate-transparency (Apache-2.0), facts only.
INPUTS = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


def make_leaves(count: int) -> list[bytes]:
    return [leaf_hash(b"%d" % number) for number in range(count)]


def naive_root(leaves: list[bytes]) -> bytes:
    """MTH of RFC 6962 section 2.1, word by word."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaves[0]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


def naive_path(index: int, leaves: list[bytes]) -> list[bytes]:
    """PATH of RFC 6962 section 2.1.1."""
    if len(leaves) == 1:
        return []
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if index < split:
        return [*naive_path(index, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_path(index - split, leaves[split:]), naive_root(leaves[:split])]


def naive_consistency(old: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of RFC 6962 section 2.1.2."""
    if old == len(leaves):
        return [] if whole else [naive_root(leaves)]
    split = 1 << (len(leaves) - 1).bit_length() - 1
    if old <= split:
        return [*naive_consistency(old, leaves[:split], whole), naive_root(leaves[split:])]
    return [*naive_consistency(old - split, leaves[split:], False), naive_root(leaves[:split])]


def test_roots_are_those_of_the_reference() -> None:
    assert EMPTY_ROOT == hashlib.sha256(b"").digest() == Frontier().root
    leaves = [leaf_hash(bytes.fromhex(text)) for text in INPUTS]
    assert [Frontier().extend(leaves[:size]).root.hex() for size in range(1, 9)] == ROOTS


@given(st.lists(st.integers(0, 40), max_size=8))
def test_frontier_grows_to_the_naive_root(steps: list[int]) -> None:
    leaves = make_leaves(sum(steps))
    frontier, at = Frontier(), 0
    for step in steps:
        frontier, runs = grow(frontier, leaves[at : at + step])
        at += step
        for run in runs:
            for offset, digest in enumerate(run.hashes):
                first = run.start + offset << run.level
                assert digest == naive_root(leaves[first : first + (1 << run.level)])
        assert frontier.root == naive_root(leaves[:at])
        assert Frontier.decode(frontier.encode()) == frontier


def test_grow_names_every_complete_node_once() -> None:
    leaves = make_leaves(300)
    first, runs = grow(Frontier(), leaves[:77])
    _, more = grow(first, leaves[77:])
    names = [(run.level, run.start + at) for run in (*runs, *more) for at in range(len(run.hashes))]
    assert sorted(names) == [(level, index) for level in range(9) for index in range(300 >> level)]


@pytest.mark.parametrize(
    "data", [b"", b"1234567", bytes(7) + b"\x01", bytes(8) + bytes(32), bytes(7) + b"\x03" + bytes(33), b"\xff" * 2056]
)
def test_stored_frontier_that_does_not_fit_is_refused(data: bytes) -> None:
    with pytest.raises(FrontierInvalid):
        Frontier.decode(data)


def test_hash_of_wrong_size_is_refused() -> None:
    with pytest.raises(FrontierInvalid):
        Frontier().extend([bytes(31)])
    with pytest.raises(FrontierInvalid):
        Frontier(1, (bytes(31),))
    with pytest.raises(FrontierInvalid):
        Frontier(-1)


def test_fold_of_nothing_is_the_empty_tree() -> None:
    assert fold_peaks([]) == EMPTY_ROOT


@pytest.mark.req("AU-2")
@given(st.data())
def test_inclusion_holds_for_the_true_leaf_only(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 70))
    index = data.draw(st.integers(0, size - 1))
    leaves = make_leaves(size)
    root, path = naive_root(leaves), naive_path(index, leaves)
    verify_inclusion(leaves[index], index, size, root, path)

    wrong = data.draw(st.integers(0, size + 1).filter(lambda other: other != index))
    for bad in [
        (leaf_hash(b"other"), index, size, root, path),
        (leaves[index], wrong, size, root, path),
        (leaves[index], index, size, leaf_hash(b"root"), path),
        (leaves[index], index, size, root, [*path, bytes(32)]),
        *[(leaves[index], index, size, root, path[:-1])] * bool(path),
        *[(leaves[index], index, size, root, [bytes(32), *path[1:]])] * bool(path),
        *[(leaves[index], index, size, root, [item[:31] for item in path])] * bool(path),
    ]:
        with pytest.raises(InclusionInvalid):
            verify_inclusion(*bad)


@pytest.mark.req("AU-2", "T26")
@given(st.data())
def test_consistency_holds_between_true_trees_only(data: st.DataObject) -> None:
    new = data.draw(st.integers(1, 70))
    old = data.draw(st.integers(0, new))
    leaves = make_leaves(new)
    old_root, new_root = naive_root(leaves[:old]), naive_root(leaves)
    proof = naive_consistency(old, leaves) if old else []
    verify_consistency(old, old_root, new, new_root, proof)

    other = leaf_hash(b"fork")
    for bad in [
        (old, other, new, new_root, proof),
        *[(old, old_root, new, other, proof)] * bool(old),
        (old, old_root, new, new_root, [*proof, other]),
        (new + 1, old_root, new, new_root, proof),
        *[(old, old_root, new, new_root, proof[:-1])] * bool(proof),
        *[(old, old_root, new, new_root, [other, *proof[1:]])] * bool(proof),
    ]:
        with pytest.raises(ConsistencyInvalid):
            verify_consistency(*bad)
