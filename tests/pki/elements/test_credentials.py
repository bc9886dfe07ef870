"""Credentials, opened here as Part 1 of the TPM library says a TPM does; tests/interop has a TPM do it."""

import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from pki.elements.credentials import Credential, derive, make_credential
from tests.makers import make_key
from tests.pki.elements.opening import derive_elsewhere, open_credential

NAME = b"\0\x0b" + bytes(range(32))
SECRET = bytes(range(100, 132))
ENTROPY = bytes(range(64))
RSA, ECC = rsa.generate_private_key(65537, 2048), make_key()


@pytest.mark.req("CA-2")
@pytest.mark.parametrize("key", [RSA, ECC])
def test_only_the_key_and_the_name_open_a_credential(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    credential = make_credential(key.public_key(), NAME, SECRET, ENTROPY)
    assert open_credential(key, credential, NAME) == SECRET
    with pytest.raises(AssertionError, match="INTEGRITY"):
        open_credential(key, credential, NAME[:-1] + b"x")
    changed = Credential(credential.blob[:-1] + bytes([credential.blob[-1] ^ 1]), credential.seed)
    with pytest.raises(AssertionError, match="INTEGRITY"):
        open_credential(key, changed, NAME)


@pytest.mark.parametrize("key", [RSA, ECC])
def test_the_same_random_bytes_give_the_same_credential(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> None:
    first = make_credential(key.public_key(), NAME, SECRET, ENTROPY)
    assert make_credential(key.public_key(), NAME, SECRET, ENTROPY) == first
    other = make_credential(key.public_key(), NAME, SECRET, hashlib.shake_256(b"x").digest(64))
    assert (other.blob, other.seed) != (first.blob, first.seed)
    for secret, entropy in ((SECRET[:-1], ENTROPY), (SECRET, ENTROPY[:-1])):
        with pytest.raises(ValueError, match="a credential takes"):
            make_credential(key.public_key(), NAME, secret, entropy)


def test_derivation_is_that_of_sp_800_108() -> None:
    assert derive(b"k" * 32, b"STORAGE", NAME, b"", 16) == derive_elsewhere(b"k" * 32, b"STORAGE", NAME, 16)
