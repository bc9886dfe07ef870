import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from hypothesis import given
from hypothesis import strategies as st

from hsm.algorithms import ALGORITHMS, encode_spki, find_algorithm, load_public_key, verify

KEYS: dict[str, ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey] = {
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
}


def spki_of(name: str) -> bytes:
    return (
        KEYS[name]
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def sign(name: str, data: bytes) -> bytes:
    key = KEYS[name]
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    size = ALGORITHMS[name].signature_bytes // 2
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256() if size == 32 else hashes.SHA384())))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


@pytest.mark.parametrize("name", ALGORITHMS)
def test_the_spki_is_the_one_that_cryptography_writes(name: str) -> None:
    algorithm, spki = ALGORITHMS[name], spki_of(name)
    point = spki[-algorithm.point_bytes :]
    assert encode_spki(algorithm, point) == spki
    assert encode_spki(algorithm, bytes((4, len(point))) + point) == spki
    assert load_public_key(spki) == KEYS[name].public_key()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_point_of_another_length_is_refused(name: str) -> None:
    for size in (0, 31, 64, 98):
        with pytest.raises(ValueError, match="CKA_EC_POINT"):
            encode_spki(ALGORITHMS[name], bytes(size))


def test_a_point_off_the_curve_and_other_keys_are_refused() -> None:
    with pytest.raises(ValueError):
        load_public_key(encode_spki(ALGORITHMS["p256"], b"\x04" + b"\x01" * 64))
    other = rsa.generate_private_key(65537, 2048).public_key()
    with pytest.raises(ValueError, match="neither"):
        load_public_key(other.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo))


@pytest.mark.parametrize("name", ALGORITHMS)
def test_parameters_name_their_algorithm(name: str) -> None:
    for parameters in ALGORITHMS[name].parameters:
        assert find_algorithm(parameters) is ALGORITHMS[name]
    assert find_algorithm(bytes.fromhex("06052b8104000a")) is None  # secp256k1
    assert find_algorithm(b"") is None


@pytest.mark.req("HS-3")
@given(name=st.sampled_from(sorted(ALGORITHMS)), data=st.binary(max_size=200), flip=st.integers(min_value=0))
def test_a_signature_verifies_and_any_flipped_bit_does_not(name: str, data: bytes, flip: int) -> None:
    algorithm, key, signature = ALGORITHMS[name], load_public_key(spki_of(name)), sign(name, data)
    verify(algorithm, key, signature, data)
    position = flip % (8 * len(signature))
    broken = bytearray(signature)
    broken[position // 8] ^= 1 << position % 8
    for wrong, text in ((bytes(broken), data), (signature, data + b"x"), (signature[:-1], data), (b"", data)):
        with pytest.raises(InvalidSignature):
            verify(algorithm, key, wrong, text)
