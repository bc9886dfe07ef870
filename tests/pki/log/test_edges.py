"""The rows above the leaf hashes, where an audit begins in the middle of a log."""

import pytest

from pki.log.edges import Row, read_edge
from pki.log.errors import AuditFailed
from pki.log.merkle import Frontier, leaf_hash
from tests.pki.log.building import assemble_export


def test_frontier_left_of_the_first_entry_is_that_of_the_tree() -> None:
    entries = [b"%d" % number for number in range(256 * 259 + 5)]
    files = assemble_export(entries, {})
    digests = [leaf_hash(entry) for entry in entries]
    for first in (0, 256, 256 * 256, 256 * 258):
        frontier, rows = read_edge(first, len(entries), files.__getitem__)
        assert frontier == Frontier().extend(digests[:first])
        assert all(row.known for number, row in rows.items() if (first >> 8 * number) % 256)


def test_a_tile_of_another_size_is_named() -> None:
    with pytest.raises(AuditFailed, match=r"^tile/1/000\.p/2: the tile has 3 bytes"):
        Row(1, 256, 513, lambda _: b"abc")
