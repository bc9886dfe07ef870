"""Tile names and contents, with the examples of c2sp.org/tlog-tiles."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.log.errors import TileInvalid
from pki.log.merkle import MAX_SIZE
from pki.log.tiles import (
    ENTRIES,
    Tile,
    changed_tiles,
    encode_bundle,
    list_tiles,
    parse_bundle,
    parse_hash_tile,
    parse_tile_path,
    split_bundle,
)
from tests.pki.log.test_merkle import make_leaves


def test_examples_of_the_standard() -> None:
    assert Tile(0, 1234067).path == "tile/0/x001/x234/067"
    tiles = list(list_tiles(70_000))
    assert Counter((tile.level, tile.width) for tile in tiles if tile.level >= 0) == {
        (0, 256): 273,
        (0, 112): 1,
        (1, 256): 1,
        (1, 17): 1,
        (2, 1): 1,
    }
    assert [tile.path for tile in list_tiles(256)] == ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]
    assert list(list_tiles(0)) == []


@given(st.integers(-1, 63), st.integers(0, 2**55), st.integers(1, 256))
def test_path_round_trip(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert parse_tile_path(tile.path) == tile


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/0",
        "tile/0/x000/001",
        "tile/00/001",
        "tile/64/001",
        "tile/-1/001",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/01",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/001\n",
        "/tile/0/001",
        "tile/0/../001",
        "tile/8/0/001",
        "tile/data/001",
        "tile/entries/x001/",
        "tile/0/\u0660\u0660\u0660",
        "checkpoint",
        "",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(TileInvalid):
        parse_tile_path(path)


@given(st.integers(0, 70_000), st.integers(0, 3000))
def test_growth_writes_what_differs(old: int, step: int) -> None:
    before, after = set(list_tiles(old)), set(list_tiles(old + step))
    assert set(changed_tiles(old, old + step)) == after - before


def test_growth_within_bounds_only() -> None:
    for old, new in [(2, 1), (-1, 1), (0, MAX_SIZE + 1)]:
        with pytest.raises(TileInvalid):
            list(changed_tiles(old, new))


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=20))
def test_bundle_round_trip(entries: list[bytes]) -> None:
    data = encode_bundle(entries)
    assert parse_bundle(data, len(entries)) == tuple(entries)
    with pytest.raises(TileInvalid):
        parse_bundle(data, len(entries) + 1)
    with pytest.raises(TileInvalid):
        parse_bundle(data[:-1], len(entries))


def test_bundle_limits() -> None:
    assert encode_bundle([b"x" * 65_535])[:2] == b"\xff\xff"
    for entries in ([], [b""] * 257, [b"x" * 65_536]):
        with pytest.raises(TileInvalid):
            encode_bundle(entries)
    with pytest.raises(TileInvalid, match="cut off at byte 3"):
        list(split_bundle(b"\x00\x01a\x00"))


def test_a_hash_tile_has_its_width() -> None:
    hashes = make_leaves(3)
    assert parse_hash_tile(b"".join(hashes), 3) == tuple(hashes)
    with pytest.raises(TileInvalid):
        parse_hash_tile(bytes(95), 3)


def test_entries_have_their_own_level() -> None:
    assert Tile(ENTRIES, 67, 9).path == "tile/entries/067.p/9"
