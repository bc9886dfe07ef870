"""Any tile of the journal from the database (C2SP tlog-tiles). A tile is a pure function of the entries."""

from sqlalchemy import select

from ceremonies.errors import KeyroomError
from ceremonies.store import Store, table_of
from ceremonies.tables import EntryRow, TileRow
from pki.log.merkle import Frontier
from pki.log.tiles import ENTRIES, Tile, encode_bundle

TILE_WIDTH = 256


class TileAbsent(KeyroomError):
    """The journal has no such tile (yet)."""

    code = "tile-absent"


def read_tile(store: Store, tile: Tile) -> bytes:
    """The bytes of a tile. Raises TileAbsent when the journal is too short for it."""
    if tile.level in (ENTRIES, 0):
        return _read_entries(store, tile)
    first = tile.index * TILE_WIDTH
    return b"".join(_tile_root(store, tile.level - 1, number) for number in range(first, first + tile.width))


def _read_entries(store: Store, tile: Tile) -> bytes:
    entry = table_of(EntryRow)
    column = entry.c.leaf if tile.level == ENTRIES else entry.c.hash
    first = tile.index * TILE_WIDTH
    query = select(column).where(entry.c.seq >= first, entry.c.seq < first + tile.width).order_by(entry.c.seq)
    found = [bytes(next(iter(row.values()))) for row in store.rows(query)]
    if len(found) != tile.width:
        raise TileAbsent(f"tile {tile.path} is beyond the journal", hint="see the checkpoint's size")
    return encode_bundle(found) if tile.level == ENTRIES else b"".join(found)


def _tile_root(store: Store, level: int, number: int) -> bytes:
    row = store.find(TileRow, level=level, number=number)
    if row is None:
        raise TileAbsent(f"hash tile {level}/{number} is not complete", hint="see the checkpoint's size")
    data = bytes(row["hashes"])
    return Frontier().extend([data[at : at + 32] for at in range(0, len(data), 32)]).root
