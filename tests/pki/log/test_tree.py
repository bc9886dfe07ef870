"""The growing tree: proofs from memory and from the reader, staging, bounded memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.log.errors import NodeInvalid, StageStale
from pki.log.merkle import Frontier, verify_consistency, verify_inclusion
from pki.log.tree import Staged, Tree
from tests.pki.log.test_merkle import make_leaves, naive_consistency, naive_path, naive_root


class Store:
    """All nodes ever accepted, as a database or tiles have them; counts what is asked."""

    def __init__(self) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.reads = 0

    def read(self, level: int, index: int) -> bytes:
        self.reads += 1
        return self.nodes[level, index]

    def keep(self, staged: Staged) -> None:
        for run in staged.runs:
            self.nodes |= {(run.level, run.start + offset): digest for offset, digest in enumerate(run.hashes)}


def grow_tree(tree: Tree, store: Store, leaves: list[bytes]) -> None:
    staged = tree.stage(leaves)
    store.keep(staged)
    tree.accept(staged)


@given(st.data())
def test_every_proof_is_the_naive_one(data: st.DataObject) -> None:
    steps = data.draw(st.lists(st.integers(0, 30), min_size=1, max_size=5))
    recent = data.draw(st.sampled_from([0, 1, 7, 1000]))
    leaves = make_leaves(sum(steps) + 1)
    store = Store()
    tree = Tree(store.read, recent=recent)
    for step in [*steps, 1]:
        grow_tree(tree, store, leaves[tree.size : tree.size + step])
        if data.draw(st.booleans()):  # a restart
            tree = Tree(store.read, Frontier.decode(tree.frontier.encode()), recent=recent)
    assert (tree.size, tree.root()) == (len(leaves), naive_root(leaves))
    for new in data.draw(st.lists(st.integers(1, tree.size), min_size=1, max_size=3)):
        index, old = data.draw(st.integers(0, new - 1)), data.draw(st.integers(1, new))
        path = tree.inclusion_proof(index, new)
        assert list(path) == naive_path(index, leaves[:new])
        verify_inclusion(leaves[index], index, new, naive_root(leaves[:new]), path)
        proof = tree.consistency_proof(old, new)
        assert list(proof) == naive_consistency(old, leaves[:new])
        verify_consistency(old, naive_root(leaves[:old]), new, naive_root(leaves[:new]), proof)


def test_proofs_at_several_sizes_do_not_mix() -> None:
    leaves = make_leaves(32)
    store = Store()
    tree = Tree(store.read)
    grow_tree(tree, store, leaves)
    for size in (21, 23, 22, 21, 31):
        assert list(tree.inclusion_proof(3, size)) == naive_path(3, leaves[:size])


def test_staging_changes_nothing_until_it_is_accepted() -> None:
    leaves = make_leaves(100)
    store = Store()
    tree = Tree(store.read)
    grow_tree(tree, store, leaves[:37])
    before = tree.frontier
    dropped = tree.stage(leaves[50:])  # its commit failed
    assert tree.frontier == before
    staged = tree.stage(leaves[37:])
    assert (staged.size, staged.root) == (100, naive_root(leaves))
    tree.accept(staged)
    assert tree.root() == naive_root(leaves)
    for stale in (dropped, staged):
        with pytest.raises(StageStale):
            tree.accept(stale)
    assert tree.root() == naive_root(leaves)


def test_recent_proofs_read_nothing_and_memory_is_bounded() -> None:
    leaves = make_leaves(5000)
    store = Store()
    tree = Tree(store.read, recent=200)
    for at in range(0, 5000, 50):
        grow_tree(tree, store, leaves[at : at + 50])
        for index in range(max(0, at - 100), at + 50, 7):
            tree.inclusion_proof(index, tree.size)
            tree.inclusion_proof(index, max(at, index + 1))
    assert store.reads == 0
    assert sum(len(level) for level in tree._levels) < 2 * 200 + 5 * 64
    tree.inclusion_proof(0, 5000)
    assert store.reads > 0


def test_nothing_is_proven_outside_the_tree() -> None:
    store = Store()
    tree = Tree(store.read)
    grow_tree(tree, store, make_leaves(10))
    for index, size in [(10, 10), (0, 11), (-1, 10), (0, 0)]:
        with pytest.raises(NodeInvalid):
            tree.inclusion_proof(index, size)
    for old, new in [(5, 11), (6, 5), (-1, 5)]:
        with pytest.raises(NodeInvalid):
            tree.consistency_proof(old, new)
    assert tree.consistency_proof(0, 10) == tree.consistency_proof(10, 10) == ()


def test_reader_that_returns_no_hash_is_refused() -> None:
    tree = Tree(lambda level, index: b"short", Frontier().extend(make_leaves(9)))
    with pytest.raises(NodeInvalid, match="node 1 of level 0 has 5 bytes"):
        tree.inclusion_proof(0, 9)
