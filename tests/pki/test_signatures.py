"""Raw signatures and the three kinds of key."""

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given
from hypothesis import strategies as st

from pki.errors import KeyUnsupported, SignatureInvalid
from pki.signatures import der_to_raw, load_spki, raw_to_der, spki_der, spki_sha256, verify_raw

P256 = ec.derive_private_key(5, ec.SECP256R1())
P384 = ec.derive_private_key(5, ec.SECP384R1())
ED25519 = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32))


@given(st.integers(1, 2**256 - 1), st.integers(1, 2**256 - 1))
def test_der_and_raw_are_the_same_numbers(r: int, s: int) -> None:
    raw = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    assert der_to_raw(raw_to_der(raw), 32) == raw


@pytest.mark.parametrize("der", [b"", b"\x30\x00", raw_to_der((1 << 300).to_bytes(64, "big") * 2)])
def test_what_is_no_signature_of_that_size_is_refused(der: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        der_to_raw(der, 32)


@pytest.mark.parametrize(
    ("spki", "raw"),
    [
        (spki_der(P256.public_key()), der_to_raw(P256.sign(b"data", ec.ECDSA(hashes.SHA256())), 32)),
        (spki_der(P384.public_key()), der_to_raw(P384.sign(b"data", ec.ECDSA(hashes.SHA384())), 48)),
        (spki_der(ED25519.public_key()), ED25519.sign(b"data")),
    ],
    ids=["p256", "p384", "ed25519"],
)
def test_each_kind_of_key_verifies_its_own_and_nothing_else(spki: bytes, raw: bytes) -> None:
    verify_raw(spki, raw, b"data")
    with pytest.raises(SignatureInvalid):
        verify_raw(spki, raw, b"other data")
    with pytest.raises(SignatureInvalid):
        verify_raw(spki, raw[:-1], b"data")
    assert len(spki_sha256(spki)) == 64


def test_other_curves_and_rubbish_are_not_keys() -> None:
    other = ec.derive_private_key(5, ec.SECP521R1()).public_key()
    unknown = spki_der(P256.public_key()).replace(bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("008648ce3d030107"))
    for der in (spki_der(other), b"rubbish", unknown):
        with pytest.raises(KeyUnsupported):
            load_spki(der)
