"""The three signature algorithms: how a token makes such a key, how it signs, and how software checks it."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, encode_dss_signature
from pkcs11 import KeyType, Mechanism

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One algorithm, as PKCS#11 and as DER know it.

    `parameters` are the values of CKA_EC_PARAMS that mean this curve; the first is used to generate.
    `spki_prefix` is the DER SubjectPublicKeyInfo up to the key, which has `point_bytes` bytes.
    `prepare` makes from the data what the mechanism takes: the digest for ECDSA, the data itself for Ed25519.
    """

    name: str
    key_type: KeyType
    generation: Mechanism
    mechanism: Mechanism
    parameters: tuple[bytes, ...]
    spki_prefix: bytes
    point_bytes: int
    signature_bytes: int
    prepare: Callable[[bytes], bytes]


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _sha384(data: bytes) -> bytes:
    return hashlib.sha384(data).digest()


def _whole(data: bytes) -> bytes:
    return data


# Object identifiers and encodings: RFC 5480 (P-256, P-384), RFC 8410 (Ed25519), PKCS#11 v3.0 section 2.3.5
# (a curve's name as PrintableString). Raw CKM_ECDSA takes the digest; the hashes follow FIPS 186-5.
ALGORITHMS: Final[dict[str, Algorithm]] = {
    algorithm.name: algorithm
    for algorithm in (
        Algorithm(
            name="p256",
            key_type=KeyType.EC,
            generation=Mechanism.EC_KEY_PAIR_GEN,
            mechanism=Mechanism.ECDSA,
            parameters=(bytes.fromhex("06082a8648ce3d030107"),),
            spki_prefix=bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200"),
            point_bytes=65,
            signature_bytes=64,
            prepare=_sha256,
        ),
        Algorithm(
            name="p384",
            key_type=KeyType.EC,
            generation=Mechanism.EC_KEY_PAIR_GEN,
            mechanism=Mechanism.ECDSA,
            parameters=(bytes.fromhex("06052b81040022"),),
            spki_prefix=bytes.fromhex("3076301006072a8648ce3d020106052b81040022036200"),
            point_bytes=97,
            signature_bytes=96,
            prepare=_sha384,
        ),
        Algorithm(
            name="ed25519",
            key_type=KeyType.EC_EDWARDS,
            generation=Mechanism.EC_EDWARDS_KEY_PAIR_GEN,
            mechanism=Mechanism.EDDSA,
            parameters=(b"\x13\x0cedwards25519", bytes.fromhex("06032b6570")),
            spki_prefix=bytes.fromhex("302a300506032b6570032100"),
            point_bytes=32,
            signature_bytes=64,
            prepare=_whole,
        ),
    )
}

# hashlib digests in a fifth of the time that OpenSSL takes to set up a digest inside a verification.
_ECDSA: Final = {"p256": ec.ECDSA(Prehashed(hashes.SHA256())), "p384": ec.ECDSA(Prehashed(hashes.SHA384()))}


def find_algorithm(parameters: bytes) -> Algorithm | None:
    """The algorithm whose curve has this CKA_EC_PARAMS; None when Kedge uses no such curve."""
    return next((found for found in ALGORITHMS.values() if parameters in found.parameters), None)


def encode_spki(algorithm: Algorithm, point: bytes) -> bytes:
    """The DER SubjectPublicKeyInfo from CKA_EC_POINT, a DER OCTET STRING or, on some tokens, the bare point.

    Raises ValueError when the length is another one. The point is not checked here: `load_public_key` does.
    """
    size = algorithm.point_bytes
    if len(point) == size + 2 and point[:2] == bytes((0x04, size)):
        point = point[2:]
    if len(point) != size:
        raise ValueError(f"CKA_EC_POINT has {len(point)} bytes, {algorithm.name} needs {size}")
    return algorithm.spki_prefix + point


def load_public_key(spki: bytes) -> PublicKey:
    """The public key in a DER SubjectPublicKeyInfo. Raises ValueError when its point is not on the curve."""
    key = serialization.load_der_public_key(spki)
    if isinstance(key, ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey):
        return key
    raise ValueError("the public key is neither ECDSA nor Ed25519")


def verify(algorithm: Algorithm, key: PublicKey, signature: bytes, data: bytes) -> None:
    """Check a raw signature (r || s, or the 64 bytes of Ed25519) over `data` with another library than the token's.

    Raises cryptography's InvalidSignature.
    """
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, data)
        return
    if len(signature) != algorithm.signature_bytes:
        raise InvalidSignature
    half = algorithm.signature_bytes // 2
    r, s = int.from_bytes(signature[:half], "big"), int.from_bytes(signature[half:], "big")
    key.verify(encode_dss_signature(r, s), algorithm.prepare(data), _ECDSA[algorithm.name])
