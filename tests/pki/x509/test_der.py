import pytest
from asn1crypto import core
from hypothesis import given
from hypothesis import strategies as st

from pki.x509 import der
from pki.x509.errors import DerMalformed


@given(st.binary(max_size=700))
def test_octet_strings_as_asn1crypto_writes_them(octets: bytes) -> None:
    encoded = core.OctetString(octets).dump()
    assert der.write_element(der.OCTET_STRING, octets) == encoded
    assert der.content(encoded, der.read_whole(encoded, der.OCTET_STRING)) == octets


@given(st.integers(0, 2), st.integers(0, 39), st.lists(st.integers(0, 2**40), max_size=6))
def test_oids_as_asn1crypto_writes_them(first: int, second: int, rest: list[int]) -> None:
    dotted = ".".join(str(arc) for arc in (first, second, *rest))
    assert der.write_oid(dotted) == core.ObjectIdentifier(dotted).dump()


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_children(parts: list[bytes]) -> None:
    elements = [der.write_element(der.OCTET_STRING, part) for part in parts]
    sequence = der.write_element(der.SEQUENCE, *elements)
    children = der.read_children(sequence, der.read_whole(sequence, der.SEQUENCE))
    assert [der.whole(sequence, child) for child in children] == elements
    assert der.tags(children) == [der.OCTET_STRING] * len(parts)


def test_long_content() -> None:
    encoded = der.write_element(der.SEQUENCE, bytes(40000))
    assert encoded[:4].hex() == "30829c40"
    assert der.read_whole(encoded, der.SEQUENCE) == (der.SEQUENCE, 0, 4, 40004)


@pytest.mark.parametrize(
    ("octets", "why"),
    [
        ("", "truncated"),
        ("30", "truncated"),
        ("3001", "truncated"),
        ("308000", "shortest"),  # indefinite
        ("308100", "shortest"),
        ("30817f" + "00" * 127, "shortest"),
        ("30820080" + "00" * 128, "shortest"),
        ("308400000001ff", "shortest"),
        ("30ff", "shortest"),
        ("3082ffff", "truncated"),
        ("1f8101", "long tag"),
        ("300000", "follow"),
        ("3100", "0x31"),
    ],
)
def test_what_is_not_strict_is_refused(octets: str, why: str) -> None:
    with pytest.raises(DerMalformed, match=why):
        der.read_whole(bytes.fromhex(octets), der.SEQUENCE)


def test_a_child_cannot_reach_past_its_parent() -> None:
    data = bytes.fromhex("30030403aa" + "bbcc")
    with pytest.raises(DerMalformed, match="truncated"):
        der.read_children(data, (der.SEQUENCE, 0, 2, 5))


def test_too_many_children() -> None:
    data = der.write_element(der.SEQUENCE, b"\x05\x00" * 33)
    with pytest.raises(DerMalformed, match="more than 32"):
        der.read_children(data, der.read_whole(data, der.SEQUENCE))


@given(st.binary(max_size=40))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        element = der.read_whole(data, der.SEQUENCE)
        children = der.read_children(data, element)
    except DerMalformed:
        return
    assert der.write_element(der.SEQUENCE, *(der.whole(data, child) for child in children)) == data
