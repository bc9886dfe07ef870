"""A set of millions of SHA-256 digests, in little memory: 32 bytes each."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Final

_SIZE: Final = 32


class Digests:
    """Digests in order, each given once, as lowercase hex. A digest's position counts from 0."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        parts = [bytearray() for _ in range(256)]  # by the first byte, so that one part at a time is sorted
        for name in names:
            data = bytes.fromhex(name)
            parts[data[0]] += data
        self._parts = tuple(map(_sort, parts))
        self._starts = (0, *accumulate(len(part) // _SIZE for part in self._parts))

    def __len__(self) -> int:
        return self._starts[-1]

    def __iter__(self) -> Iterator[str]:
        for part in self._parts:
            for at in range(0, len(part), _SIZE):
                yield part[at : at + _SIZE].hex()

    def __contains__(self, name: str) -> bool:
        return self.find(name) >= 0

    def find(self, name: str) -> int:
        """The position of a digest; -1 when it is not there."""
        data = bytes.fromhex(name)
        part = self._parts[data[0]]
        low, high = 0, len(part) // _SIZE
        while low < high:
            middle = (low + high) // 2
            if part[middle * _SIZE : (middle + 1) * _SIZE] < data:
                low = middle + 1
            else:
                high = middle
        return self._starts[data[0]] + low if part[low * _SIZE : (low + 1) * _SIZE] == data else -1

    def name(self, position: int) -> str:
        """The digest at a position, from 0 to below the length."""
        first = bisect_right(self._starts, position) - 1
        at = (position - self._starts[first]) * _SIZE
        return self._parts[first][at : at + _SIZE].hex()


def _sort(part: bytearray) -> bytes:
    return b"".join(sorted(bytes(part[at : at + _SIZE]) for at in range(0, len(part), _SIZE)))
