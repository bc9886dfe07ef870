"""Shapes: the lines of docs/trust.cddl as values, each of which reads and writes one kind of CBOR item.

A shape is exact: `read` takes the CBOR value and where it stands, and refuses every other type, length, count or map
key with PayloadInvalid. `write` turns the value back. For every value that `read` accepts, `write(read(v)) == v`.
"""

import enum
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from pki.trust.cbor import Key, Value
from pki.trust.errors import PayloadInvalid

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
E = TypeVar("E", bound=enum.IntEnum)

UINT_MAX: Final = (1 << 64) - 1
MANY: Final = 1024
REQUIRED: Final = object()


@dataclass(frozen=True, slots=True)
class Shape(Generic[T]):
    """How to read one item from its CBOR value, and to write it back."""

    read: Callable[[Value, str], T]
    write: Callable[[T], Value]


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a Struct in a `record` or `row`.

    With a default, its map key is left out for that value; the shape must not read that value, or there were two
    encodings of one thing.
    """

    name: str
    shape: Shape[Any]
    default: object = REQUIRED


def _same(value: T) -> T:
    return value


def refuse(where: str, wanted: str) -> PayloadInvalid:
    """The refusal of an item that is not what it should be."""
    return PayloadInvalid(f"{where} is not {wanted}", hint="compare with docs/trust.cddl")


def integer(low: int = -(1 << 64), high: int = UINT_MAX) -> Shape[int]:
    """An integer from `low` to `high`; never a bool."""

    def read(value: Value, where: str) -> int:
        if type(value) is not int or not low <= value <= high:
            raise refuse(where, f"an integer from {low} to {high}")
        return value

    return Shape(read, _same)


def uint(high: int = UINT_MAX) -> Shape[int]:
    """An integer from 0 to `high`."""
    return integer(0, high)


def octets(low: int, high: int) -> Shape[bytes]:
    """A byte string of `low` to `high` bytes."""

    def read(value: Value, where: str) -> bytes:
        if type(value) is not bytes or not low <= len(value) <= high:
            raise refuse(where, f"a byte string of {low} to {high} bytes")
        return value

    return Shape(read, _same)


def text(high: int) -> Shape[str]:
    """A text string of at most `high` characters."""

    def read(value: Value, where: str) -> str:
        if type(value) is not str or len(value) > high:
            raise refuse(where, f"a text of at most {high} characters")
        return value

    return Shape(read, _same)


def choice(kind: type[E]) -> Shape[E]:
    """The number of a member of an enumeration."""

    def read(value: Value, where: str) -> E:
        if type(value) is not int:
            raise refuse(where, f"a number of {kind.__name__}")
        try:
            return kind(value)
        except ValueError:
            raise refuse(where, f"a number of {kind.__name__}") from None

    return Shape(read, int)


def nullable(inner: Shape[T]) -> Shape[T | None]:
    """`null`, or what `inner` is."""

    def read(value: Value, where: str) -> T | None:
        return None if value is None else inner.read(value, where)

    return Shape(read, lambda value: None if value is None else inner.write(value))


def or_true(inner: Shape[T]) -> Shape[T | None]:
    """`true`, which stands for all and is read as None, or what `inner` is."""

    def read(value: Value, where: str) -> T | None:
        return None if value is True else inner.read(value, where)

    return Shape(read, lambda value: True if value is None else inner.write(value))


def array(inner: Shape[T], low: int = 1, high: int = MANY) -> Shape[tuple[T, ...]]:
    """An array of `low` to `high` items of one shape."""

    def read(value: Value, where: str) -> tuple[T, ...]:
        if type(value) is not list or not low <= len(value) <= high:
            raise refuse(where, f"an array of {low} to {high} items")
        return tuple([inner.read(item, f"{where}[{place}]") for place, item in enumerate(value)])

    return Shape(read, lambda value: [inner.write(item) for item in value])


def single(inner: Shape[T]) -> Shape[T]:
    """An array of exactly one item, which stands for the item."""
    one = array(inner, 1, 1)
    return Shape(lambda value, where: one.read(value, where)[0], lambda value: [inner.write(value)])


def distinct(inner: Shape[K], low: int = 1, high: int = MANY) -> Shape[tuple[K, ...]]:
    """An array in which nothing stands twice."""
    plain = array(inner, low, high)

    def read(value: Value, where: str) -> tuple[K, ...]:
        items = plain.read(value, where)
        if len(set(items)) != len(items):
            raise refuse(where, "an array without repetitions")
        return items

    return Shape(read, plain.write)


def pair(first: Shape[T], second: Shape[K]) -> Shape[tuple[T, K]]:
    """An array of exactly two items."""

    def read(value: Value, where: str) -> tuple[T, K]:
        if type(value) is not list or len(value) != 2:
            raise refuse(where, "an array of 2 items")
        return first.read(value[0], f"{where}[0]"), second.read(value[1], f"{where}[1]")

    return Shape(read, lambda value: [first.write(value[0]), second.write(value[1])])


def table(keys: Shape[K], values: Shape[T], low: int = 1, high: int = MANY) -> Shape[Mapping[K, T]]:
    """A map of `low` to `high` entries whose keys are data."""

    def read(value: Value, where: str) -> Mapping[K, T]:
        if type(value) is not dict or not low <= len(value) <= high:
            raise refuse(where, f"a map of {low} to {high} entries")
        return {
            keys.read(key, f"a key of {where}"): values.read(item, f"{where}.{_label(key)}")
            for key, item in value.items()
        }

    def write(value: Mapping[K, T]) -> Value:
        return {_as_key(keys.write(key)): values.write(item) for key, item in value.items()}

    return Shape(read, write)


def record(struct: type[T], fields: Mapping[int, Field], marks: Mapping[Key, Value] | None = None) -> Shape[T]:
    """A map whose integer keys are the fields of a Struct. `marks` are keys with a fixed value (a format number).

    A key that is not listed is refused, and so is a missing field without a default.
    """
    fixed: dict[Key, Value] = {**(marks or {})}
    plan = [(label, field.name, field.shape, field.default) for label, field in fields.items()]
    known = frozenset(fields) | frozenset(fixed)

    def read(value: Value, where: str) -> T:
        if type(value) is not dict:
            raise refuse(where, "a map")
        if unknown := value.keys() - known:
            raise PayloadInvalid(f"{where} has unknown keys: {sorted(map(_label, unknown))}")
        for mark, wanted in fixed.items():
            if type(value.get(mark)) is not type(wanted) or value[mark] != wanted:
                raise refuse(f"{where}.{mark!r}", repr(wanted))
        found: dict[str, Any] = {}
        for label, name, shape, default in plan:
            if label in value:
                found[name] = shape.read(value[label], f"{where}.{label}")
            elif default is REQUIRED:
                raise PayloadInvalid(f"{where} lacks key {label} ({name})", hint="compare with docs/trust.cddl")
            else:
                found[name] = default
        return struct(**found)

    def write(value: T) -> Value:
        items: dict[Key, Value] = {**fixed}
        for label, name, shape, default in plan:
            item = getattr(value, name)
            if default is REQUIRED or item != default:
                items[label] = shape.write(item)
        return items

    return Shape(read, write)


def non_empty(inner: Shape[T]) -> Shape[T]:
    """A record in which at least one field is given."""

    def read(value: Value, where: str) -> T:
        if value == {}:
            raise refuse(where, "a map of one entry or more")
        return inner.read(value, where)

    return Shape(read, inner.write)


def row(struct: type[T], *fields: Field) -> Shape[T]:
    """An array whose items are the fields of a Struct, in order, none left out."""

    def read(value: Value, where: str) -> T:
        if type(value) is not list or len(value) != len(fields):
            raise refuse(where, f"an array of {len(fields)} items")
        items = zip(fields, value, strict=True)
        return struct(**{f.name: f.shape.read(item, f"{where}[{f.name}]") for f, item in items})

    return Shape(read, lambda value: [field.shape.write(getattr(value, field.name)) for field in fields])


def _label(key: Key) -> str:
    return key.hex() if isinstance(key, bytes) else str(key)


def _as_key(value: Value) -> Key:
    if isinstance(value, bool) or not isinstance(value, (int, bytes, str)):
        raise refuse(repr(value), "a map key")
    return value


def _read_bool(value: Value, where: str) -> bool:
    if type(value) is not bool:
        raise refuse(where, "true or false")
    return value


BOOL: Final[Shape[bool]] = Shape(_read_bool, _same)
UUID: Final = octets(16, 16)
HASH: Final = octets(32, 32)
SECONDS: Final = uint()
