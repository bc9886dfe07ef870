"""What a unit signs: known answers, both encodings, nothing else."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.errors import SignatureInvalid
from pki.signatures import spki_der
from pki.x509.confirmations import confirmed_bytes, hash_chain, verify_confirmation

KEY = ec.derive_private_key(7, ec.SECP256R1())
SPKI = spki_der(KEY.public_key())
NONCE, CHAIN = bytes(range(32)), hashlib.sha256(b"certificate chain").hexdigest()


def sign(data: bytes) -> bytes:
    return KEY.sign(data, ec.ECDSA(SHA256()))


def raw(signature: bytes) -> bytes:
    return b"".join(number.to_bytes(32, "big") for number in decode_dss_signature(signature))


def test_the_bytes_are_those_of_the_documentation() -> None:
    assert confirmed_bytes(NONCE, CHAIN) == b"kedge-confirm-v1\x00" + NONCE + bytes.fromhex(CHAIN)
    assert hash_chain(b"certificate ", b"chain") == CHAIN


@pytest.mark.req("T15", "T18")
def test_both_encodings_verify() -> None:
    signature = sign(confirmed_bytes(NONCE, CHAIN))
    verify_confirmation(SPKI, NONCE, CHAIN, signature)
    verify_confirmation(SPKI, NONCE, CHAIN, raw(signature))


def test_a_raw_signature_may_begin_as_der_does() -> None:
    data = confirmed_bytes(NONCE, CHAIN)
    found = next(signature for signature in (raw(sign(data)) for _ in range(100_000)) if signature[0] == 0x30)
    verify_confirmation(SPKI, NONCE, CHAIN, found)
    with pytest.raises(SignatureInvalid):
        verify_confirmation(SPKI, bytes(32), CHAIN, found)


@pytest.mark.req("T15", "T17")
@pytest.mark.parametrize(
    ("nonce", "chain", "data"),
    [
        (bytes(32), CHAIN, confirmed_bytes(NONCE, CHAIN)),
        (NONCE, "00" * 32, confirmed_bytes(NONCE, CHAIN)),
        (NONCE, CHAIN, NONCE + bytes.fromhex(CHAIN)),
        (NONCE, CHAIN, b"kedge-confirm-v2\0" + NONCE + bytes.fromhex(CHAIN)),
    ],
)
def test_a_signature_over_something_else(nonce: bytes, chain: str, data: bytes) -> None:
    for signature in (sign(data), raw(sign(data))):
        with pytest.raises(SignatureInvalid):
            verify_confirmation(SPKI, nonce, chain, signature)


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=0, max_size=80))
def test_what_is_no_signature_is_refused(data: bytes) -> None:
    with pytest.raises(SignatureInvalid):
        verify_confirmation(SPKI, NONCE, CHAIN, data)
