import enum
from typing import Any

import msgspec
import pytest

from pki.trust.cbor import Value
from pki.trust.errors import PayloadInvalid
from pki.trust.shapes import (
    BOOL,
    HASH,
    UUID,
    Field,
    Shape,
    array,
    choice,
    distinct,
    integer,
    non_empty,
    nullable,
    octets,
    or_true,
    pair,
    record,
    row,
    single,
    table,
    text,
    uint,
)


class Colour(enum.IntEnum):
    RED = 1


class Thing(msgspec.Struct, frozen=True):
    size: int
    name: str | None = None


THING = record(Thing, {1: Field("size", uint(9)), 2: Field("name", text(3), None)}, marks={0: 7})
ROW = row(Thing, Field("size", uint(9)), Field("name", nullable(text(3))))

GOOD: list[tuple[Shape[Any], Value, object]] = [
    (uint(3), 3, 3),
    (integer(-2, 2), -2, -2),
    (octets(1, 2), b"ab", b"ab"),
    (text(2), "ab", "ab"),
    (BOOL, False, False),
    (choice(Colour), 1, Colour.RED),
    (nullable(BOOL), None, None),
    (nullable(BOOL), True, True),
    (or_true(array(BOOL)), True, None),
    (or_true(array(BOOL)), [True], (True,)),
    (array(uint()), [1, 1], (1, 1)),
    (single(uint()), [4], 4),
    (distinct(uint()), [2, 1], (2, 1)),
    (pair(uint(), BOOL), [1, True], (1, True)),
    (table(uint(), BOOL), {1: True}, {1: True}),
    (THING, {0: 7, 1: 2}, Thing(2)),
    (THING, {0: 7, 1: 2, 2: "x"}, Thing(2, "x")),
    (ROW, [1, None], Thing(1)),
    (non_empty(record(Thing, {1: Field("size", uint(), 0)})), {1: 4}, Thing(4)),
]


@pytest.mark.parametrize(("shape", "value", "meaning"), GOOD)
def test_reads_and_writes_back(shape: Shape[Any], value: Value, meaning: object) -> None:
    assert shape.read(value, "it") == meaning
    assert shape.write(meaning) == value


BAD: list[tuple[Shape[Any], Value]] = [
    (uint(3), 4), (uint(3), -1), (uint(3), True), (uint(3), None), (uint(3), b"\1"),
    (integer(-2, 2), 3), (octets(1, 2), b""), (octets(1, 2), b"abc"), (octets(1, 2), "a"), (HASH, bytes(31)),
    (UUID, bytes(17)), (text(2), "abc"), (text(2), b"a"), (BOOL, 1), (BOOL, None), (choice(Colour), 2),
    (choice(Colour), True), (choice(Colour), "1"), (nullable(BOOL), 0), (or_true(array(BOOL)), False),
    (or_true(array(BOOL)), 1), (array(uint()), []), (array(uint(), high=1), [1, 1]), (array(uint()), {}),
    (array(uint()), 1), (single(uint()), []), (single(uint()), [1, 2]), (distinct(uint()), [1, 1]),
    (pair(uint(), BOOL), [1]), (pair(uint(), BOOL), [1, 1]), (table(uint(), BOOL), {}), (table(uint(), BOOL), [True]),
    (table(uint(), BOOL, high=1), {1: True, 2: True}), (table(uint(), BOOL), {"1": True}),
    (table(uint(), BOOL), {1: 1}),
    (THING, {1: 2}), (THING, {0: 8, 1: 2}), (THING, {0: True, 1: 2}), (THING, {0: 7}), (THING, {0: 7, 1: 2, 3: 0}),
    (THING, {0: 7, 1: 2, b"x": 0}), (THING, {0: 7, 1: 2, 2: None}), (THING, [7, 2]), (ROW, [1]), (ROW, [1, None, 0]),
    (ROW, {1: 1}), (non_empty(record(Thing, {1: Field("size", uint(), 0)})), {}),
]  # fmt: skip


@pytest.mark.parametrize(("shape", "value"), BAD)
def test_refuses(shape: Shape[Any], value: Value) -> None:
    with pytest.raises(PayloadInvalid, match=r"^(a key of )?it"):
        shape.read(value, "it")


def test_a_table_key_must_be_a_cbor_key() -> None:
    with pytest.raises(PayloadInvalid):
        table(nullable(uint()), BOOL).write({None: True})
