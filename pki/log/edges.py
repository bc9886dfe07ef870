"""The rows of hash tiles above the leaf hashes, from the first entry of an audit on, and what stands left of it."""

from collections.abc import Callable, Mapping

from pki.log.errors import AuditFailed, TileInvalid
from pki.log.merkle import Frontier, NodeRun
from pki.log.tiles import WIDTH, Tile, parse_hash_tile

Read = Callable[[str], bytes]


class Row:
    """One level of hash tiles above the leaf hashes, compared as the entries complete their hashes.

    The hashes left of `first` are those of the tile: the tree's root holds them.
    """

    def __init__(self, level: int, first: int = 0, size: int = 0, read: Read = lambda _: b"") -> None:
        self._level = level
        self._index, known = divmod(first >> (8 * level), WIDTH)
        self.known: tuple[bytes, ...] = ()
        if known:
            self.tile = Tile(level, self._index, _width(level, self._index, size))
            self.known = _read_tile(self.tile, read)[:known]
        self._hashes = list(self.known)

    def add(self, run: NodeRun, read: Read) -> None:
        """Take the next computed hashes; they come one bundle at a time, so at most one tile becomes complete."""
        self._hashes += run.hashes
        if len(self._hashes) == WIDTH:
            self.check_last(read)
            self._index, self._hashes = self._index + 1, []

    def check_last(self, read: Read) -> None:
        """Compare the tile that the collected hashes fill."""
        if not self._hashes:
            return
        tile = Tile(self._level, self._index, len(self._hashes))
        found = _read_tile(tile, read)
        for position, (computed, stored) in enumerate(zip(self._hashes, found, strict=True)):
            if computed != stored:
                below = Tile(self._level - 1, self._index * WIDTH + position).path
                raise AuditFailed(f"{tile.path}: hash {position} is not that of {below}", path=tile.path)


def read_edge(first: int, size: int, read: Read) -> tuple[Frontier, Mapping[int, Row]]:
    """The frontier of the first `first` entries (a multiple of 256) of a log of `size`, and the rows that go on."""
    rows: dict[int, Row] = {}
    level = 1
    while first >> (8 * level):
        rows[level] = Row(level, first, size, read)
        level += 1
    peaks = [peak for number in sorted(rows, reverse=True) for peak in Frontier().extend(rows[number].known).hashes]
    return Frontier(first, tuple(peaks)), rows


def _width(level: int, index: int, size: int) -> int:
    return min(WIDTH, (size >> (8 * level)) - index * WIDTH)


def _read_tile(tile: Tile, read: Read) -> tuple[bytes, ...]:
    try:
        return parse_hash_tile(read(tile.path), tile.width)
    except TileInvalid as error:
        raise AuditFailed(f"{tile.path}: {error}", path=tile.path) from error
