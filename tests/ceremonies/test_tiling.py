"""Any tile from the database is the tile of the C2SP formats."""

import pytest

from ceremonies.tables import EntryRow
from ceremonies.tiling import TileAbsent, read_tile
from pki.log.merkle import Frontier
from pki.log.tiles import ENTRIES, Tile, list_tiles, parse_bundle, parse_hash_tile
from tests.ceremonies.small import Clock, open_journal
from tests.ceremonies.test_journal import grow
from tests.ceremonies.test_store import open_store


@pytest.mark.parametrize("size", [1, 255, 256, 257, 700])
def test_tiles_follow_from_the_entries(url: str, size: int) -> None:
    store = open_store(url)
    journal = open_journal(store, Clock())
    grow(store, journal, size)
    files = {tile.path: read_tile(store, tile) for tile in list_tiles(size)}
    rows = store.list(EntryRow, "seq")
    leaves = [row["leaf"] for row in rows]
    assert [e for t in list_tiles(size) if t.level == ENTRIES for e in parse_bundle(files[t.path], t.width)] == leaves
    for tile in list_tiles(size):
        if tile.level != ENTRIES:
            span = 256**tile.level
            starts = range(tile.index * 256 * span, (tile.index * 256 + tile.width) * span, span)
            parts = [[row["hash"] for row in rows[at : at + span]] for at in starts]
            hashes = parse_hash_tile(files[tile.path], tile.width)
            assert list(hashes) == [Frontier().extend(part).root for part in parts]
    store.close()


@pytest.mark.parametrize("tile", [Tile(ENTRIES, 0, 4), Tile(0, 0, 4), Tile(0, 1, 1), Tile(1, 0, 1), Tile(2, 0, 1)])
def test_a_tile_beyond_the_journal_is_absent(url: str, tile: Tile) -> None:
    store = open_store(url)
    grow(store, open_journal(store, Clock()), 3)
    with pytest.raises(TileAbsent):
        read_tile(store, tile)
    store.close()
