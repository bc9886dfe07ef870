"""Credentials, opened here as Part 1 of the TPM library says a TPM does; tests/interop has a TPM do it."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from pki.elements.credentials import Credential, derive, make_credential
from tests.makers import make_key

NAME = b"\0\x0b" + bytes(range(32))
SECRET = bytes(range(100, 132))
ENTROPY = bytes(range(64))
RSA, ECC = rsa.generate_private_key(65537, 2048), make_key()


def derive_elsewhere(key: bytes, label: bytes, context: bytes, size: int) -> bytes:
    """KDFa by the library's SP 800-108."""
    counter = CounterLocation.BeforeFixed
    return KBKDFHMAC(hashes.SHA256(), Mode.CounterMode, size, 4, 4, counter, label, context, None).derive(key)


def read_seed(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, sent: bytes) -> bytes:
    assert int.from_bytes(sent[:2], "big") == len(sent) - 2
    if isinstance(key, rsa.RSAPrivateKey):
        mask = padding.MGF1(hashes.SHA256())
        return key.decrypt(sent[2:], padding.OAEP(mask, hashes.SHA256(), b"IDENTITY\0"))
    x, y = sent[4:36], sent[38:70]
    point = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), key.curve).public_key()
    own = key.public_key().public_numbers().x.to_bytes(32, "big")
    kdf = ConcatKDFHash(hashes.SHA256(), 32, b"IDENTITY\0" + x + own)
    return kdf.derive(key.exchange(ec.ECDH(), point))


def open_credential(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, credential: Credential, name: bytes) -> bytes:
    """What TPM2_ActivateCredential does. Raises AssertionError where a TPM refuses."""
    seed = read_seed(key, credential.seed)
    blob = credential.blob
    assert int.from_bytes(blob[:2], "big") == len(blob) - 2
    assert blob[2:4] == b"\0\x20"
    outer, hidden = blob[4:36], blob[36:]
    mac = derive_elsewhere(seed, b"INTEGRITY", b"", 32)
    assert hmac.compare_digest(hmac.digest(mac, hidden + name, "sha256"), outer), "TPM_RC_INTEGRITY"
    cipher = Cipher(AES(derive_elsewhere(seed, b"STORAGE", name, 16)), CFB(bytes(16))).decryptor()
    plain = cipher.update(hidden) + cipher.finalize()
    assert plain[:2] == b"\0\x20"
    return plain[2:]


@pytest.mark.req("T16")
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
