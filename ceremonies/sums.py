"""Sums over rows, by which tables are compared with the journal: every row counts, their order does not.

A row's SHA-256 is stretched to 4096 bits, and those are added modulo 2^4096 (Bellare and Micciancio, EUROCRYPT 1997).
Who writes to the database may choose rows freely: with 256 bits, 255 chosen ones reach any sum in about 2^37 steps
(Wagner, CRYPTO 2002); with 4096 bits it takes 2^128, however many rows there are.
"""

import hashlib
from typing import Final

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
