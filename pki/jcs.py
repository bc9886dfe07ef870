"""Canonical JSON (RFC 8785, JCS) for the documents that people sign, and a strict parser for JSON from outside.

The subset: objects with ASCII keys, arrays, strings without lone surrogates, integers below 2^53, true, false, null.
There are no floats, so `json.dumps` with sorted keys gives the RFC's bytes.
"""

import json
from typing import Any, NoReturn, TypeAlias

from pki.errors import PkiError

JsonValue: TypeAlias = "None | bool | int | str | list[JsonValue] | dict[str, JsonValue]"

MAX_DEPTH = 16
MAX_INTEGER = 2**53 - 1


class JsonMalformed(PkiError):
    """Bytes are not the strict JSON that Kedge reads, or a value cannot be written as such."""

    code = "json-malformed"


def jcs(value: object) -> bytes:
    """The RFC 8785 bytes of a value made of dict, list or tuple, str, int, bool and None.

    Raises JsonMalformed for anything else, for integers of 2^53 and more, and for more than 16 levels.
    """
    _check(value, 1)
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def parse_json(data: bytes, limit: int) -> JsonValue:
    """Parse at most `limit` bytes of UTF-8 JSON.

    Raises JsonMalformed for duplicate or non-ASCII keys, floats, NaN, integers of 2^53 and more, lone surrogates,
    a byte order mark, trailing bytes, and more than 16 levels.
    """
    if len(data) > limit:
        raise JsonMalformed(f"JSON has {len(data)} bytes, the limit is {limit}")
    try:
        value: JsonValue = json.loads(
            data.decode(),
            object_pairs_hook=_unique_object,
            parse_float=_refuse_number,
            parse_constant=_refuse_number,
        )
    except (ValueError, RecursionError) as error:
        raise JsonMalformed(f"JSON does not parse: {error}") from error
    _check(value, 1)
    return value


def parse_object(data: bytes, limit: int) -> dict[str, Any]:
    """As `parse_json`, for bytes that must hold a JSON object. Raises JsonMalformed."""
    value = parse_json(data, limit)
    if not isinstance(value, dict):
        raise JsonMalformed("JSON is no object")
    return value


def parse_jcs(data: bytes, limit: int) -> JsonValue:
    """Parse bytes that must be the canonical encoding of their value. Raises JsonMalformed."""
    value = parse_json(data, limit)
    if jcs(value) != data:
        raise JsonMalformed("JSON is not in canonical form", hint="encode the document by RFC 8785")
    return value


def _unique_object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise JsonMalformed("a JSON object has a key twice")
    return value


def _refuse_number(text: str) -> NoReturn:
    raise JsonMalformed(f"JSON number {text[:32]} is not an integer")


def _check(value: object, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise JsonMalformed(f"JSON has more than {MAX_DEPTH} levels")
    if isinstance(value, dict):
        for key, item in value.items():
            if not (isinstance(key, str) and key.isascii()):
                raise JsonMalformed(f"JSON key {str(key)[:32]!r} is not an ASCII string")
            _check(item, depth + 1)
    elif isinstance(value, list | tuple):
        for item in value:
            _check(item, depth + 1)
    else:
        _check_scalar(value)


def _check_scalar(value: object) -> None:
    # Subclasses (IntEnum, str enums) may encode as something else than their value.
    if value is None or type(value) is bool:
        return
    if type(value) is int:
        if abs(value) > MAX_INTEGER:
            raise JsonMalformed("JSON integer is 2^53 or more")
    elif type(value) is str:
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            raise JsonMalformed("JSON string has a lone surrogate")
    else:
        raise JsonMalformed(f"{type(value).__name__} is no JSON type")
