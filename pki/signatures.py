"""Signatures as the strongbox returns them, and how to check them in software.

A *raw* signature is r || s, each left-padded to the size of the curve's order (IEEE P1363), or the 64 bytes of
Ed25519 (RFC 8032). The hash follows from the key: P-256 with SHA-256, P-384 with SHA-384 (FIPS 186-5), Ed25519 pure.
"""

import hashlib
from functools import lru_cache

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from pki.errors import KeyUnsupported, SignatureInvalid

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey

_P256 = ec.ECDSA(hashes.SHA256())
_P384 = ec.ECDSA(hashes.SHA384())


def spki_der(key: PublicKey) -> bytes:
    """The DER SubjectPublicKeyInfo (RFC 5280 section 4.1.2.7) of a key."""
    return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)


def spki_sha256(der: bytes) -> str:
    """The name of a key everywhere in Kedge: lowercase hex SHA-256 of its DER SubjectPublicKeyInfo."""
    return hashlib.sha256(der).hexdigest()


@lru_cache(maxsize=1024)
def load_spki(der: bytes) -> PublicKey:
    """Parse a DER SubjectPublicKeyInfo.

    Raises KeyUnsupported unless it is P-256, P-384 or Ed25519, with the point on its curve.
    """
    try:
        key = serialization.load_der_public_key(der)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyUnsupported(f"public key does not parse: {error}", hint="send a DER SubjectPublicKeyInfo") from error
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name in ("secp256r1", "secp384r1"):
        return key
    raise KeyUnsupported("public key is not P-256, P-384 or Ed25519", hint="use one of these three")


def raw_to_der(raw: bytes) -> bytes:
    """Turn r || s into the DER ECDSA-Sig-Value (RFC 3279 section 2.2.3)."""
    half = len(raw) // 2
    return encode_dss_signature(int.from_bytes(raw[:half], "big"), int.from_bytes(raw[half:], "big"))


def der_to_raw(der: bytes, size: int) -> bytes:
    """Turn a DER ECDSA-Sig-Value into r || s of `size` bytes each. Raises SignatureInvalid when it does not parse."""
    try:
        r, s = decode_dss_signature(der)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    except (ValueError, OverflowError) as error:
        raise SignatureInvalid("not a DER ECDSA signature") from error


def verify_raw(spki: bytes, raw: bytes, data: bytes) -> None:
    """Check a raw signature over `data`. Raises SignatureInvalid."""
    key = load_spki(spki)
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(raw, data)
            return
        size = (key.curve.key_size + 7) // 8
        if len(raw) != 2 * size:
            raise SignatureInvalid(f"signature has {len(raw)} bytes, {2 * size} are expected")
        key.verify(raw_to_der(raw), data, _P256 if size == 32 else _P384)
    except InvalidSignature as error:
        raise SignatureInvalid(f"signature does not verify under key {spki_sha256(spki)[:16]}") from error
