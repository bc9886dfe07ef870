"""Inclusion proofs at one size of the journal from what the database holds, on any thread."""

from functools import lru_cache

from ceremonies.store import Store
from ceremonies.tiling import TILE_WIDTH, read_tile
from pki.log.merkle import Frontier
from pki.log.proofs import encode_proof
from pki.log.tiles import Tile, parse_hash_tile
from pki.log.tree import Tree

TILES_KEPT = 64


class Prover:
    """Proofs under one checkpoint, for one thread at a time."""

    def __init__(self, store: Store, size: int, note: bytes) -> None:
        self._store, self._size, self._note = store, size, note
        self._tile = lru_cache(TILES_KEPT)(self._read_tile)
        peaks = [level for level in reversed(range(size.bit_length())) if size >> level & 1]
        hashes = tuple(self._node(level, (size >> level) - 1) for level in peaks)
        self._tree = Tree(self._node, Frontier(size, hashes))

    def prove(self, seq: int) -> bytes:
        """The tlog-proof of an entry."""
        return encode_proof(seq, self._tree.inclusion_proof(seq, self._size), self._note)

    def _node(self, level: int, index: int) -> bytes:
        tile_level, height = divmod(level, 8)
        number, offset = divmod(index << height, TILE_WIDTH)
        return Frontier().extend(self._tile(tile_level, number)[offset : offset + (1 << height)]).root

    def _read_tile(self, level: int, number: int) -> tuple[bytes, ...]:
        width = min(TILE_WIDTH, (self._size >> 8 * level) - number * TILE_WIDTH)
        return parse_hash_tile(read_tile(self._store, Tile(level, number, width)), width)
