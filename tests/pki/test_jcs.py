"""Canonical JSON against the rfc8785 package, and what the strict parser refuses."""

import enum
from typing import Any

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from pki.jcs import MAX_DEPTH, MAX_INTEGER, JsonMalformed, jcs, parse_jcs, parse_json, parse_object

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-MAX_INTEGER, MAX_INTEGER)
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
)
KEYS = st.text(st.characters(max_codepoint=127), max_size=6)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=12
)


class Colour(enum.IntEnum):
    """An integer that is not exactly an int."""

    RED = 1


@given(VALUES)
def test_jcs_gives_the_bytes_of_rfc8785_and_parses_back(value: Any) -> None:
    data = jcs(value)
    assert data == rfc8785.dumps(value)
    assert parse_jcs(data, 1 << 20) == value


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), 2**53, -(2**53), b"x", {1: 2}, {"é": 1}, "\ud800", {"a": [1.5]}, object(), Colour.RED, {1, 2}],
)
def test_jcs_refuses_what_is_outside_the_subset(value: object) -> None:
    with pytest.raises(JsonMalformed):
        jcs(value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"a":1,"a":2}',
        b'{"x":{"a":1,"\\u0061":2}}',
        b"1.0",
        b"1e3",
        b"NaN",
        b"-Infinity",
        b"9007199254740992",
        b"9" * 5000,
        b'"\\ud800"',
        b'"\xff"',
        b"\xef\xbb\xbf1",
        b"1 2",
        b'{"\xc3\xa9":1}',
        b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
        b"[" * 100_000,
        b"'a'",
        b"[1,]",
    ],
)
def test_parse_json_refuses(data: bytes) -> None:
    with pytest.raises(JsonMalformed):
        parse_json(data, 1 << 20)


def test_parse_json_keeps_its_limits() -> None:
    assert parse_json(b"[1]", 3) == [1]
    with pytest.raises(JsonMalformed, match="limit is 2"):
        parse_json(b"[1]", 2)
    deepest = b"[" * (MAX_DEPTH - 1) + b"7" + b"]" * (MAX_DEPTH - 1)
    assert jcs(parse_json(deepest, 100)) == deepest


@pytest.mark.parametrize("data", [b'{"b":1,"a":2}', b'{"a": 1}', b'"\\u0061"', b"-0", b'{"a":1}\n'])
def test_parse_jcs_refuses_another_encoding_of_the_same_value(data: bytes) -> None:
    parse_json(data, 100)
    with pytest.raises(JsonMalformed, match="canonical"):
        parse_jcs(data, 100)


def test_parse_object_takes_objects_only() -> None:
    assert parse_object(b'{ "a": [1] }', 20) == {"a": [1]}
    for data in (b"[]", b"null", b'"a"', b"{"):
        with pytest.raises(JsonMalformed):
            parse_object(data, 20)


@given(st.binary(max_size=40))
def test_parse_json_never_raises_anything_else(data: bytes) -> None:
    try:
        parse_json(data, 100)
    except JsonMalformed as error:
        assert error.code == "json-malformed"
