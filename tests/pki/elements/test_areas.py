"""Public areas of TPM keys: one kind is taken, and every attribute that makes it that kind is demanded."""

import hashlib
from typing import Any

import pytest

from pki.elements.areas import ALLOWED, DEMANDED, LIMIT, read_area
from pki.elements.errors import AreaRefused
from pki.signatures import spki_der, spki_sha256
from tests.makers import make_key, sized, write_area

KEY = make_key()
GOOD = sum(1 << bit for bit in DEMANDED)


def test_an_area_gives_the_name_and_the_key() -> None:
    data = write_area(KEY, GOOD)
    area = read_area(data)
    assert area.name == b"\0\x0b" + hashlib.sha256(data[2:]).digest()
    assert area.public_key == spki_der(KEY.public_key())
    assert area.spki == spki_sha256(area.public_key)
    assert read_area(write_area(KEY, GOOD, scheme=0x10)).spki == area.spki
    assert read_area(write_area(KEY, GOOD | sum(1 << bit for bit in ALLOWED))).spki == area.spki


@pytest.mark.req("CA-2")
@pytest.mark.parametrize(("bit", "name"), DEMANDED.items())
def test_a_key_that_lacks_an_attribute_is_refused(bit: int, name: str) -> None:
    with pytest.raises(AreaRefused, match=name):
        read_area(write_area(KEY, GOOD & ~(1 << bit)))


@pytest.mark.parametrize("bit", sorted(set(range(32)) - set(DEMANDED) - set(ALLOWED)))
def test_a_key_with_another_attribute_is_refused(bit: int) -> None:
    with pytest.raises(AreaRefused, match="not taken"):
        read_area(write_area(KEY, GOOD | 1 << bit))


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"type": 1}, "type"),
        ({"name": 0xC}, "nameAlg"),
        ({"symmetric": 6}, "symmetric"),
        ({"scheme": 0x1A}, "scheme"),
        ({"hash": 4}, "hash of the scheme"),
        ({"curve": 4}, "curve"),
        ({"kdf": 7}, "kdf"),
        ({"policy": b"x" * 32}, "has a policy"),
    ],
)
def test_another_kind_of_key_is_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(AreaRefused, match=why):
        read_area(write_area(KEY, GOOD, **changed))


def test_areas_that_are_cut_or_longer_are_refused() -> None:
    data = write_area(KEY, GOOD)
    for end in range(len(data)):
        with pytest.raises(AreaRefused):
            read_area(data[:end])
        with pytest.raises(AreaRefused):
            read_area(sized(data[2:end]))
    for wrong in (data + b"\0", sized(data[2:] + b"\0"), b"\xff" * (LIMIT + 1), data[:-1] + bytes([data[-1] ^ 1])):
        with pytest.raises(AreaRefused):
            read_area(wrong)
    with pytest.raises(AreaRefused, match="more than 32"):
        read_area(sized(data[2:-68] + sized(b"\1" * 33) + sized(b"\1" * 32)))
