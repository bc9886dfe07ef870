"""UUIDv7 from a time and random bits that are given."""

import uuid
from functools import partial

from hypothesis import given
from hypothesis import strategies as st

from ceremonies.surroundings import Surroundings


def take(bits: bytes, count: int) -> bytes:
    """The first of some bits, as a source of entropy."""
    return bits[:count]


@given(st.integers(0, 2**48 * 1000 - 1), st.binary(min_size=10, max_size=10))
def test_identifiers_are_uuid7(now_us: int, entropy: bytes) -> None:
    around = Surroundings(int, int, partial(take, entropy), "boot", "00" * 32)
    (text,) = around.identifiers(now_us, 1)
    value = uuid.UUID(text)
    assert (value.version, value.variant) == (7, uuid.RFC_4122)
    assert value.int >> 80 == now_us // 1000


@given(st.binary(min_size=10, max_size=10), st.binary(min_size=10, max_size=10))
def test_74_bits_are_random(first: bytes, second: bytes) -> None:
    mask = ~(0xF << 76 | 0x3 << 62) & (1 << 80) - 1
    texts = [Surroundings(int, int, partial(take, bits), "boot", "").identifiers(0, 1) for bits in (first, second)]
    same = (int.from_bytes(first, "big") & mask) == (int.from_bytes(second, "big") & mask)
    assert (texts[0] == texts[1]) == same


def test_many_identifiers_share_no_bits() -> None:
    """Each has its own ten bytes of one draw."""
    around = Surroundings(int, int, lambda count: bytes(range(count)), "boot", "")
    assert len(set(around.identifiers(0, 20))) == 20
