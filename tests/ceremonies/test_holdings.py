"""Entries and the blobs that they name, as the database has them."""

import asyncio

from ceremonies.holdings import find_blobs, read_entries, walk_entries, walk_leaves
from pki.log.evidence import blob_path
from tests.world import World, issue_device, make_request


def test_blobs_of_an_entry_are_those_that_it_and_its_statement_name(factory_world: World) -> None:
    world = factory_world
    issued = asyncio.run(issue_device(world, 1, make_request()))
    store, seq = world.room.store, issued.proven.index
    intent, leaf = list(walk_leaves(store, 0, seq))[-1]
    assert leaf.op
    assert leaf.op.policy
    both = read_entries(store, [intent, seq])
    assert [index for index, _ in both] == [intent, seq]
    blobs = find_blobs(store, both)
    assert blob_path(str((leaf.op.what or {})["csr"])) in blobs
    assert issued.certificate in blobs.values()
    assert blob_path(leaf.op.policy) in blobs
    without = find_blobs(store, both, policies=False)
    assert blobs.keys() - without.keys() == {blob_path(leaf.op.policy)}


def test_entries_are_walked_between_bounds(genesis_world: World) -> None:
    store = genesis_world.room.store
    assert [seq for seq, _ in walk_entries(store, 3, 7)] == [3, 4, 5, 6]
    assert [leaf.seq for _, leaf in walk_leaves(store, 0, 2)] == [0, 1]
