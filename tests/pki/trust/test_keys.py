"""COSE_Keys: thumbprints, conversion to and from SubjectPublicKeyInfo, and what is refused."""

import pytest

from pki.errors import KeyUnsupported
from pki.trust import cbor
from pki.trust.errors import CoseKeyInvalid, PayloadInvalid
from pki.trust.keys import COSE_KEY, CoseKey
from tests.pki.trust.fleets import soft_key

# RFC 9679 section 6: the example key and its SHA-256 thumbprint.
X = bytes.fromhex("65eda5a12577c2bae829437fe338701a10aaa375e1bb5b5de108de439c08551d")
Y = bytes.fromhex("1e52ed75701163f7f9e40ddf9f341b3dc9ba860af7e0ca7ca7e9eecd0084d19c")
THUMBPRINT = "496bd8afadf307e5b08c64b0421bf9dc01528a344a43bda88fadd1669da253ec"

CARRIED = [CoseKey(3, -37, (b"n" * 256, b"\1\0\1")), CoseKey(5, -46, (b"h" * 60,)), CoseKey(7, -48, (b"p" * 1312,))]


def test_the_example_of_rfc_9679() -> None:
    assert CoseKey(2, -7, (1, X, Y)).thumbprint.hex() == THUMBPRINT


def test_the_algorithm_counts_in_the_thumbprint_of_an_akp_key_only() -> None:
    assert CoseKey(7, -48, (b"p",)).thumbprint != CoseKey(7, -49, (b"p",)).thumbprint
    assert CoseKey(3, -37, (b"n", b"e")).thumbprint == CoseKey(3, -38, (b"n", b"e")).thumbprint


@pytest.mark.parametrize("kind", ["P-256", "P-384", "Ed25519"])
def test_spki_round_trip(kind: str) -> None:
    signer = soft_key(7, kind)
    assert CoseKey.from_spki(signer.key.to_spki()) == signer.key
    assert COSE_KEY.read(cbor.decode(cbor.encode(COSE_KEY.write(signer.key))), "key") == signer.key


@pytest.mark.parametrize("key", CARRIED)
def test_the_next_algorithms_are_carried_not_verified(key: CoseKey) -> None:
    assert COSE_KEY.read(cbor.decode(cbor.encode(COSE_KEY.write(key))), "key") == key
    with pytest.raises(CoseKeyInvalid):
        key.to_spki()


def test_a_point_off_the_curve_has_no_spki() -> None:
    with pytest.raises(CoseKeyInvalid, match="no point"):
        CoseKey(2, -7, (1, X, X)).to_spki()


def test_a_key_that_is_not_one_is_refused() -> None:
    with pytest.raises(KeyUnsupported):
        CoseKey.from_spki(b"0")


@pytest.mark.parametrize(
    ("kty", "alg", "params"),
    [
        (4, -7, (b"k",)),
        (2, -7, (2, X, Y)),
        (2, -35, (1, X, Y)),
        (2, -7, (1, X, Y[:31])),
        (2, -7, (1, X)),
        (2, -36, (3, X, Y)),
        (2, -8, (1, X, Y)),
        (1, -8, (7, X)),
        (1, -7, (6, X)),
        (2, -7, (True, X, Y)),
        (2, -7, (1, X, True)),
        (7, -48, (b"",)),
        (7, -48, (b"p" * 4097,)),
    ],
)
def test_parameters_that_do_not_fit(kty: int, alg: int, params: tuple[int | bytes, ...]) -> None:
    with pytest.raises(CoseKeyInvalid):
        CoseKey(kty, alg, params)


GOOD: dict[cbor.Key, cbor.Value] = {1: 2, 3: -7, -1: 1, -2: X, -3: Y}


@pytest.mark.parametrize(
    "value",
    [1, {}, GOOD | {1: True}, GOOD | {3: None}, GOOD | {4: b"k"}, GOOD | {-4: b"d"}, GOOD | {-3: True}, {1: 2, 3: -7}],
)
def test_maps_that_are_no_key(value: cbor.Value) -> None:
    with pytest.raises((PayloadInvalid, CoseKeyInvalid)):
        COSE_KEY.read(value, "key")


def test_an_unknown_key_type_is_refused() -> None:
    with pytest.raises(CoseKeyInvalid):
        COSE_KEY.read({1: 9, 3: -7}, "key")
