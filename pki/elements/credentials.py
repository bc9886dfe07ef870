"""Credentials for TPMs: a secret that only the TPM of an endorsement key gives back, and only while it holds the object
whose Name is bound in (TPM 2.0 Library, Part 1, section 24, "Credential Protection"; TPM2_MakeCredential in software).

nameAlg of the endorsement key is SHA-256, its symmetric cipher AES-128 in CFB mode.
"""

import hashlib
import hmac
from typing import Final

import msgspec
from cryptography.hazmat.decrepit.ciphers.modes import CFB
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128

from pki.elements.endorsements import EndorsementKey

ENTROPY: Final = 64
"""Random bytes that a credential takes."""
SECRET: Final = 32
"""Bytes of a secret: as long as the name algorithm's digest at most."""
_DIGEST: Final = hashlib.sha256().digest_size
_P256_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


class Credential(msgspec.Struct, frozen=True):
    """What TPM2_ActivateCredential takes. blob: TPM2B_ID_OBJECT; seed: TPM2B_ENCRYPTED_SECRET; each with its length."""

    blob: bytes
    seed: bytes


def make_credential(key: EndorsementKey, name: bytes, secret: bytes, entropy: bytes) -> Credential:
    """Wrap `secret` for the TPM of this endorsement key and the object of this Name. entropy: 64 random bytes."""
    if len(entropy) != ENTROPY or len(secret) != SECRET:
        raise ValueError(f"a credential takes {ENTROPY} random bytes and a secret of {SECRET}")
    if isinstance(key, rsa.RSAPublicKey):
        seed, sent = entropy[:_DIGEST], _encrypt_oaep(key, entropy[:_DIGEST], entropy[_DIGEST:])
    else:
        seed, sent = _agree(key, entropy)
    cipher = Cipher(AES128(derive(seed, b"STORAGE", name, b"", 16)), CFB(bytes(16))).encryptor()
    hidden = cipher.update(_sized(secret)) + cipher.finalize()
    outer = hmac.digest(derive(seed, b"INTEGRITY", b"", b"", _DIGEST), hidden + name, "sha256")
    return Credential(_sized(_sized(outer) + hidden), _sized(sent))


def derive(key: bytes, label: bytes, u: bytes, v: bytes, size: int) -> bytes:
    """KDFa (Part 1, section 11.4.10.2; SP 800-108 in counter mode with HMAC) for at most one digest of SHA-256."""
    fields = [(1).to_bytes(4, "big"), label, b"\0", u, v, (8 * size).to_bytes(4, "big")]
    return hmac.digest(key, b"".join(fields), "sha256")[:size]


def _agree(key: ec.EllipticCurvePublicKey, entropy: bytes) -> tuple[bytes, bytes]:
    """The seed by one-pass ECDH with a new key, and that key's point (Part 1, annex C.6.1; KDFe, section 11.4.10.3)."""
    own = ec.derive_private_key(int.from_bytes(entropy, "big") % (_P256_ORDER - 1) + 1, ec.SECP256R1())
    shared = own.exchange(ec.ECDH(), key)
    mine, theirs = own.public_key().public_numbers(), key.public_numbers()
    x = mine.x.to_bytes(32, "big")
    fields = [(1).to_bytes(4, "big"), shared, b"IDENTITY\0", x, theirs.x.to_bytes(32, "big")]
    return hashlib.sha256(b"".join(fields)).digest(), _sized(x) + _sized(mine.y.to_bytes(32, "big"))


def _encrypt_oaep(key: rsa.RSAPublicKey, seed: bytes, salt: bytes) -> bytes:
    """RSAES-OAEP (RFC 8017 section 7.1.1) with SHA-256 and the label `IDENTITY` and a zero byte (Part 1, annex B.10.3).

    By hand because the library draws the salt itself, which this room must not. Nothing here is secret to the TPM's
    owner but the seed, and the public operation is no place to leak it through.
    """
    size = key.key_size // 8
    block = hashlib.sha256(b"IDENTITY\0").digest() + bytes(size - len(seed) - 2 * _DIGEST - 2) + b"\1" + seed
    masked = _mask(block, salt)
    encoded = int.from_bytes(b"\0" + _mask(salt, masked) + masked, "big")
    numbers = key.public_numbers()
    return pow(encoded, numbers.e, numbers.n).to_bytes(size, "big")


def _mask(data: bytes, seed: bytes) -> bytes:
    """`data` XOR MGF1 of `seed` (RFC 8017 annex B.2.1)."""
    count = -(-len(data) // _DIGEST)
    stream = b"".join(hashlib.sha256(seed + number.to_bytes(4, "big")).digest() for number in range(count))
    return bytes(a ^ b for a, b in zip(data, stream, strict=False))


def _sized(data: bytes) -> bytes:
    """A TPM2B."""
    return len(data).to_bytes(2, "big") + data
