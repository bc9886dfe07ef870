"""Sums over rows, by which tables are compared with the journal: every row counts, their order does not.

A row's SHA-256 is stretched to 4096 bits, and those are added modulo 2^4096 (Bellare and Micciancio, EUROCRYPT 1997).
Who writes to the database may choose rows freely: with 256 bits, 255 chosen ones reach any sum in about 2^37 steps
(Wagner, CRYPTO 2002); with 4096 bits it takes 2^128, however many rows there are.
"""

import hashlib
from collections.abc import Iterable
from typing import Final

import msgspec

SIZE: Final = 512
"""Bytes of a sum."""
SPACE: Final = 1 << 8 * SIZE
EMPTY: Final = "00" * SIZE
"""The sum of no rows, in hex."""


def weigh(digest: bytes) -> int:
    """What a row adds to a sum, by its SHA-256: SHAKE-256 of that, big endian."""
    return int.from_bytes(hashlib.shake_256(digest).digest(SIZE), "big")


def write_sum(total: int) -> str:
    """A sum in lowercase hex."""
    return f"{total % SPACE:0{2 * SIZE}x}"


class Tally(msgspec.Struct, frozen=True):
    """How many rows, and their sum in hex."""

    count: int = 0
    total: str = EMPTY

    def put(self, digest: str, instead: str = "") -> "Tally":
        """With one row more, by its SHA-256 in hex, or with a row in the place of another."""
        total = int(self.total, 16) + weigh(bytes.fromhex(digest))
        if instead:
            total -= weigh(bytes.fromhex(instead))
        return Tally(self.count + (not instead), write_sum(total))

    def add(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(self.count + other.count, write_sum(int(self.total, 16) + int(other.total, 16)))


def tally_digests(digests: Iterable[bytes]) -> Tally:
    """The tally of rows by their SHA-256."""
    count, total = 0, 0
    for digest in digests:
        count, total = count + 1, total + weigh(digest)
    return Tally(count, write_sum(total))
