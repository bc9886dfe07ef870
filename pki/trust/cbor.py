"""Deterministic CBOR (RFC 8949 section 4.2.1) and nothing else.

Integers of 64 bits, byte and text strings, arrays, maps, false, true and null (major types 0 to 5 and three simple
values). No tags, no floats, no indefinite lengths; shortest forms only; map keys sorted by their encoded bytes, each
once; no bytes after the item. So `encode(decode(data)) == data` for everything that decodes.
Types are exact: `True` is not 1, neither as a value nor as a map key. Map keys are integers, byte or text strings.
"""

from collections.abc import Callable
from operator import itemgetter
from typing import TypeAlias, Union

from pki.trust.errors import (
    CborKeyDuplicate,
    CborNotDeterministic,
    CborTextInvalid,
    CborTooLarge,
    CborTrailing,
    CborTruncated,
    CborTypeForbidden,
)

MAX_SIZE = 1 << 20
MAX_DEPTH = 16
MAX_COUNT = 10_000

Key: TypeAlias = int | bytes | str
Value: TypeAlias = Union[int, bytes, str, bool, None, "list[Value]", "tuple[Value, ...]", "dict[Key, Value]"]

_SIMPLE: dict[int, bool | None] = {0xF4: False, 0xF5: True, 0xF6: None}
_WIDTHS = {24: 1, 25: 2, 26: 4, 27: 8}
_SMALLEST = {24: 24, 25: 1 << 8, 26: 1 << 16, 27: 1 << 32}


def encode(value: Value) -> bytes:
    """Encode a value deterministically. Raises CborTypeForbidden for any other type or an integer over 64 bits."""
    out = bytearray()
    _write(value, out)
    return bytes(out)


def decode(data: bytes, *, max_size: int = MAX_SIZE, max_depth: int = MAX_DEPTH, max_count: int = MAX_COUNT) -> Value:
    """Decode exactly one item; arrays become lists.

    max_size: bytes; max_depth: nested arrays and maps; max_count: elements and keys of all arrays and maps together.
    Raises a CborInvalid leaf, with the offset.
    """
    if len(data) > max_size:
        raise CborTooLarge(f"{len(data)} bytes, {max_size} are allowed", offset=max_size)
    reader = _Reader(data, max_count)
    value = reader.read(max_depth)
    if reader.offset != len(data):
        raise CborTrailing(f"{len(data) - reader.offset} bytes follow the item", offset=reader.offset)
    return value


_SHORT = [bytes((initial,)) for initial in range(256)]


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return _SHORT[major << 5 | number]
    for info, width in _WIDTHS.items():
        if number < 1 << (8 * width):
            return bytes((major << 5 | info,)) + number.to_bytes(width, "big")
    raise CborTypeForbidden("integer does not fit 64 bits")


def _write(value: Value, out: bytearray) -> None:
    writer = _WRITERS.get(type(value))
    if writer is None:
        raise CborTypeForbidden(f"{type(value).__name__} has no encoding in this profile")
    writer(value, out)


def _write_int(value: int, out: bytearray) -> None:
    out += _head(0, value) if value >= 0 else _head(1, -1 - value)


def _write_text(value: str, out: bytearray) -> None:
    try:
        raw = value.encode()
    except UnicodeEncodeError as error:
        raise CborTextInvalid("text has a lone surrogate") from error
    out += _head(3, len(raw)) + raw


def _write_array(value: "list[Value] | tuple[Value, ...]", out: bytearray) -> None:
    out += _head(4, len(value))
    for item in value:
        _write(item, out)


def _write_map(value: "dict[Key, Value]", out: bytearray) -> None:
    out += _head(5, len(value))
    if any(type(key) not in (int, bytes, str) for key in value):
        raise CborTypeForbidden("map key is neither an integer nor a string")
    for raw, item in sorted([(encode(key), item) for key, item in value.items()], key=itemgetter(0)):
        out += raw
        _write(item, out)


def _write_bytes(value: bytes, out: bytearray) -> None:
    out += _head(2, len(value)) + value


def _write_simple(value: bool | None, out: bytearray) -> None:
    out.append(0xF6 if value is None else 0xF4 + value)


_WRITERS: dict[type, Callable[..., None]] = {
    int: _write_int,
    bytes: _write_bytes,
    str: _write_text,
    list: _write_array,
    tuple: _write_array,
    dict: _write_map,
    bool: _write_simple,
    type(None): _write_simple,
}


class _Reader:
    """Reads items from `data`, counting what it made."""

    def __init__(self, data: bytes, max_count: int) -> None:
        self.data = data
        self.offset = 0
        self.left = max_count

    def read(self, depth: int) -> Value:
        start = self.offset
        if start >= len(self.data):
            raise CborTruncated("no item", offset=start)
        initial = self.data[start]
        major, info = initial >> 5, initial & 0x1F
        self.offset = start + 1
        if major >= 6:
            if initial in _SIMPLE:
                return _SIMPLE[initial]
            raise CborTypeForbidden("tag, float or simple value", offset=start)
        number = info if info < 24 else self._number(info, start)
        return self._item(major, number, depth, start)

    def _item(self, major: int, number: int, depth: int, start: int) -> Value:
        match major:
            case 0:
                return number
            case 1:
                return -1 - number
            case 2:
                return self._take(number)
            case 3:
                return self._text(number)
        self._enter(number if major == 4 else 2 * number, depth, start)
        return self._array(number, depth - 1) if major == 4 else self._map(number, depth - 1)

    def _number(self, info: int, start: int) -> int:
        width = _WIDTHS.get(info)
        if width is None:
            raise CborNotDeterministic("indefinite length or reserved form", offset=start)
        number = int.from_bytes(self._take(width), "big")
        if number < _SMALLEST[info]:
            raise CborNotDeterministic("integer is not in its shortest form", offset=start)
        return number

    def _take(self, size: int) -> bytes:
        end = self.offset + size
        if end > len(self.data):
            raise CborTruncated(f"{size} bytes are announced, {len(self.data) - self.offset} left", offset=self.offset)
        taken = self.data[self.offset : end]
        self.offset = end
        return taken

    def _text(self, size: int) -> str:
        start = self.offset
        try:
            return self._take(size).decode()
        except UnicodeDecodeError as error:
            raise CborTextInvalid("text is not UTF-8", offset=start + error.start) from error

    def _enter(self, count: int, depth: int, start: int) -> None:
        if depth <= 0:
            raise CborTooLarge("nested too deep", offset=start)
        if count > self.left:
            raise CborTooLarge("too many elements", offset=start)
        self.left -= count

    def _array(self, count: int, depth: int) -> "list[Value]":
        return [self.read(depth) for _ in range(count)]

    def _map(self, count: int, depth: int) -> "dict[Key, Value]":
        found: dict[Key, Value] = {}
        previous = b""
        for _ in range(count):
            start = self.offset
            key = self.read(depth)
            if isinstance(key, bool) or not isinstance(key, (int, bytes, str)):
                raise CborTypeForbidden("map key is neither an integer nor a string", offset=start)
            raw = self.data[start : self.offset]
            if raw == previous:
                raise CborKeyDuplicate("the key stands twice", offset=start)
            if raw < previous:
                raise CborNotDeterministic("keys are not in bytewise order", offset=start)
            previous = raw
            found[key] = self.read(depth)
        return found
