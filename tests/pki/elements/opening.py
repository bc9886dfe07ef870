"""What a TPM does with a credential, by Part 1 of the TPM library and with the library's own key derivations."""

import hmac

from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.kdf.concatkdf import ConcatKDFHash
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from pki.elements.credentials import Credential


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
