"""The strict codec: every refusal with its code and place, and cbor2 as an oracle for what is accepted."""

import cbor2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.trust import cbor
from pki.trust.errors import CborInvalid, CborTextInvalid, CborTypeForbidden

KEYS = st.integers(-(1 << 64), (1 << 64) - 1) | st.binary(max_size=40) | st.text(max_size=20)
VALUES = st.recursive(
    KEYS | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(KEYS, inner, max_size=6),
    max_leaves=20,
)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_round_trip_and_same_bytes_as_an_oracle(value: cbor.Value) -> None:
    data = cbor.encode(value)
    assert cbor.decode(data) == value
    assert cbor2.loads(data) == value
    # cbor2's canonical form sorts keys by length first (RFC 7049), so only the size can be compared.
    assert len(cbor2.dumps(value, canonical=True)) == len(data)


@given(st.binary(max_size=60))
@settings(max_examples=500, deadline=None)
def test_whatever_decodes_encodes_to_the_same_bytes(data: bytes) -> None:
    try:
        value = cbor.decode(data)
    except CborInvalid as error:
        assert 0 <= error.offset <= len(data)
        return
    assert cbor.encode(value) == data


@given(VALUES, st.data())
@settings(max_examples=150, deadline=None)
def test_a_changed_byte_never_gives_two_encodings(value: cbor.Value, data: st.DataObject) -> None:
    encoded = bytearray(cbor.encode(value))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= data.draw(st.integers(1, 255))
    try:
        changed = cbor.decode(bytes(encoded))
    except CborInvalid:
        return
    assert cbor.encode(changed) == bytes(encoded)


# RFC 8949 appendix A: those of its examples that this profile has.
@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (0, "00"), (23, "17"), (24, "1818"), (100, "1864"), (1000, "1903e8"), (1000000, "1a000f4240"),
        (1000000000000, "1b000000e8d4a51000"), (18446744073709551615, "1bffffffffffffffff"),
        (-18446744073709551616, "3bffffffffffffffff"), (-1, "20"), (-10, "29"), (-100, "3863"), (-1000, "3903e7"),
        (False, "f4"), (True, "f5"), (None, "f6"), (b"", "40"), (b"\1\2\3\4", "4401020304"), ("", "60"),
        ("IETF", "6449455446"), ("\u6c34", "63e6b0b4"), ([], "80"), ([1, [2, 3], [4, 5]], "8301820203820405"),
        ({}, "a0"), ({1: 2, 3: 4}, "a201020304"), ({"a": 1, "b": [2, 3]}, "a26161016162820203"),
    ],
)  # fmt: skip
def test_examples_of_the_standard(value: cbor.Value, encoded: str) -> None:
    assert cbor.encode(value).hex() == encoded
    assert cbor.decode(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize(
    ("encoded", "code", "offset"),
    [
        ("", "cbor-truncated", 0),
        ("18", "cbor-truncated", 1),
        ("4401", "cbor-truncated", 1),
        ("8201", "cbor-truncated", 2),
        ("5bffffffffffffffff", "cbor-truncated", 9),
        ("1817", "cbor-not-deterministic", 0),
        ("1900ff", "cbor-not-deterministic", 0),
        ("1a0000ffff", "cbor-not-deterministic", 0),
        ("1b00000000ffffffff", "cbor-not-deterministic", 0),
        ("3817", "cbor-not-deterministic", 0),
        ("580141", "cbor-not-deterministic", 0),
        ("9801f6", "cbor-not-deterministic", 0),
        ("1c", "cbor-not-deterministic", 0),
        ("5f4101ff", "cbor-not-deterministic", 0),
        ("9fff", "cbor-not-deterministic", 0),
        ("bfff", "cbor-not-deterministic", 0),
        ("a203000100", "cbor-not-deterministic", 3),
        ("a2410000200000", "cbor-not-deterministic", 4),
        ("a201000100", "cbor-key-duplicate", 3),
        ("a1f500", "cbor-type-forbidden", 1),
        ("a1f600", "cbor-type-forbidden", 1),
        ("a1800000", "cbor-type-forbidden", 1),
        ("c000", "cbor-type-forbidden", 0),
        ("d818456161616161", "cbor-type-forbidden", 0),
        ("f7", "cbor-type-forbidden", 0),
        ("f0", "cbor-type-forbidden", 0),
        ("f97e00", "cbor-type-forbidden", 0),
        ("fb3ff199999999999a", "cbor-type-forbidden", 0),
        ("ff", "cbor-type-forbidden", 0),
        ("62c328", "cbor-text-invalid", 1),
        ("0000", "cbor-trailing", 1),
        ("9b0000000100000000", "cbor-too-large", 0),
        ("bb0000000100000000", "cbor-too-large", 0),
        ("81" * 16 + "8100", "cbor-too-large", 16),
    ],
)
def test_refusals_name_code_and_offset(encoded: str, code: str, offset: int) -> None:
    with pytest.raises(CborInvalid) as caught:
        cbor.decode(bytes.fromhex(encoded))
    assert (caught.value.code, caught.value.offset) == (code, offset)
    assert f"at byte {offset}" in str(caught.value)


def test_limits_are_arguments() -> None:
    data = cbor.encode([1, [2], {3: 4}])
    assert cbor.decode(data, max_size=len(data), max_depth=2, max_count=6) == [1, [2], {3: 4}]
    for limits in ({"max_size": len(data) - 1}, {"max_depth": 1}, {"max_count": 5}):
        with pytest.raises(CborInvalid) as caught:
            cbor.decode(data, **limits)
        assert caught.value.code == "cbor-too-large"


@pytest.mark.parametrize("value", [1.5, {1}, object(), bytearray(b"a"), 1 << 64, -(1 << 64) - 1, {True: 1}, {None: 1}])
def test_other_types_have_no_encoding(value: cbor.Value) -> None:
    with pytest.raises(CborTypeForbidden):
        cbor.encode(value)


def test_a_lone_surrogate_has_no_encoding() -> None:
    with pytest.raises(CborTextInvalid):
        cbor.encode("\ud800")


def test_true_is_not_one() -> None:
    assert cbor.encode(True) != cbor.encode(1)
    assert type(cbor.decode(b"\xf5")) is bool
    assert type(cbor.decode(b"\x01")) is int


def test_keys_are_sorted_bytewise_not_by_length() -> None:
    # 0x1818 (24) sorts before 0x20 (-1), though it is longer: RFC 8949 section 4.2.1 against section 4.2.3.
    assert cbor.encode({-1: 0, 24: 0}).hex() == "a21818002000"
