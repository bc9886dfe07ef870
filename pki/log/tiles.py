"""Tiles (c2sp.org/tlog-tiles): the log as static files of 256 hashes or entries each.

Level -1 stands for the entry bundles. A tile of level `l` holds nodes of tree level 8 * l.
"""

import re
from collections.abc import Iterator, Sequence

import msgspec

from pki.log.errors import TileInvalid
from pki.log.merkle import HASH_SIZE, MAX_SIZE

ENTRIES = -1
WIDTH = 256
MAX_ENTRY = 65_535

_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9]\d?)/(?P<index>(?:x\d{3}/){0,6}\d{3})(?:\.p/(?P<width>[1-9]\d{0,2}))?\Z", re.ASCII
)


class Tile(msgspec.Struct, frozen=True, order=True):
    """The name of a tile: `level` (ENTRIES or 0 to 63), `index` in the level, `width` from 1 to 256 (complete)."""

    level: int
    index: int
    width: int = WIDTH

    @property
    def path(self) -> str:
        """The path below the log's prefix, for example `tile/0/x001/067.p/12`."""
        level = "entries" if self.level == ENTRIES else str(self.level)
        digits = f"{self.index:03d}"
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        name = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        return f"tile/{level}/{name}" if self.width == WIDTH else f"tile/{level}/{name}.p/{self.width}"


def parse_tile_path(path: str) -> Tile:
    """Read a path; exactly the one that `Tile.path` gives. Raises TileInvalid."""
    match = _PATH.match(path)
    if match is None:
        raise TileInvalid(f"{path[:100]!r} is no tile path")
    level = ENTRIES if match["level"] == "entries" else int(match["level"])
    tile = Tile(level, int(re.sub("[x/]", "", match["index"])), int(match["width"] or WIDTH))
    if level > 63 or tile.path != path:
        raise TileInvalid(f"{path[:100]!r} is no tile path")
    return tile


def list_tiles(size: int) -> Iterator[Tile]:
    """All tiles of a log of this size: the bundles, then each level from 0, each from the left."""
    return changed_tiles(0, size)


def changed_tiles(old: int, new: int) -> Iterator[Tile]:
    """The tiles to write when a log grows: those that became complete, and the new partial one of each level."""
    if not 0 <= old <= new <= MAX_SIZE:
        raise TileInvalid(f"a log cannot grow from {old} to {new}")
    yield from _changed_level(ENTRIES, old, new)
    level = 0
    while new >> (8 * level):
        yield from _changed_level(level, old >> (8 * level), new >> (8 * level))
        level += 1


def increment_start(old: int) -> int:
    """The first entry of the bundle that holds entry `old` - 1: where the files of an increment begin."""
    return (old - 1) // WIDTH * WIDTH if old else 0


def increment_tiles(old: int, new: int) -> Iterator[Tile]:
    """The tiles that show that a log of `new` entries extends its first `old`: of each level those of the old right
    edge and all to the right of them. The rest of the tree is hashes in them.
    """
    if not 0 <= old <= new <= MAX_SIZE:
        raise TileInvalid(f"a log cannot grow from {old} to {new}")
    start, level = increment_start(old), ENTRIES
    while level < 1 or new >> (8 * level):
        span = 8 * max(level, 0)
        for index in range((start >> span) // WIDTH, -(-(new >> span) // WIDTH)):
            yield Tile(level, index, min(WIDTH, (new >> span) - index * WIDTH))
        level += 1


def _changed_level(level: int, old: int, new: int) -> Iterator[Tile]:
    for index in range(old // WIDTH, -(-new // WIDTH) if new > old else 0):
        yield Tile(level, index, min(WIDTH, new - index * WIDTH))


def parse_hash_tile(data: bytes, width: int) -> tuple[bytes, ...]:
    """The hashes of a tile. Raises TileInvalid unless there are `width` of them."""
    if len(data) != width * HASH_SIZE:
        raise TileInvalid(f"the tile has {len(data)} bytes, {width * HASH_SIZE} are expected")
    return tuple(data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE))


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """The content of an entry bundle: each entry after its length as uint16 big-endian."""
    if not 1 <= len(entries) <= WIDTH or any(len(entry) > MAX_ENTRY for entry in entries):
        raise TileInvalid("a bundle is 1 to 256 entries of at most 65,535 bytes")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def split_bundle(data: bytes) -> Iterator[bytes]:
    """The entries of a bundle, one after the other. Raises TileInvalid where one is cut off."""
    at = 0
    while at < len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if at + 2 > len(data) or end > len(data):
            raise TileInvalid(f"the bundle is cut off at byte {at}")
        yield data[at + 2 : end]
        at = end


def parse_bundle(data: bytes, width: int) -> tuple[bytes, ...]:
    """The entries of a bundle. Raises TileInvalid unless there are `width` of them."""
    entries = tuple(split_bundle(data))
    if len(entries) != width:
        raise TileInvalid(f"the bundle has {len(entries)} entries, {width} are expected")
    return entries
