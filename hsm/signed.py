"""A signature as it comes out of a series: made, or why not, and how long it took."""

from collections.abc import Callable

import msgspec

from hsm.errors import HsmError
from hsm.keys import KeyName

Item = tuple[KeyName, bytes]
"""Which key signs which bytes."""


class Signed(msgspec.Struct, frozen=True):
    """One of many signatures: raw, as `Strongbox.sign` gives it, or why there is none; and how long it took."""

    raw: bytes = b""
    error: Exception | None = None
    us: int = 0


def sign_one(sign: Callable[[KeyName, bytes], bytes], key: KeyName, data: bytes, clock: Callable[[], float]) -> Signed:
    """A signature or why there is none, and how long it took."""
    started = clock()
    try:
        return Signed(sign(key, data), None, int(1_000_000 * (clock() - started)))
    except HsmError as error:
        return Signed(b"", error, int(1_000_000 * (clock() - started)))
