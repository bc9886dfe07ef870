"""What a unit signs to show that it has its certificate and its key: the confirmation of a work order.

A domain prefix of its own, so that no other thing that a device signs can be taken for a confirmation.
"""

import hashlib
from typing import Final

from pki.errors import SignatureInvalid
from pki.signatures import der_to_raw, verify_raw

PREFIX: Final = b"kedge-confirm-v1\0"
RAW_SIZE: Final = 64
_SEQUENCE: Final = 0x30


def hash_chain(certificate: bytes, chain: bytes) -> str:
    """What is compared after reading back: lowercase hex SHA-256 of certificate and chain, PEM, as handed out."""
    return hashlib.sha256(certificate + chain).hexdigest()


def confirmed_bytes(nonce: bytes, chain_sha256: str) -> bytes:
    """The bytes that the unit signs. nonce: the 32 bytes that came with its certificate."""
    return PREFIX + nonce + bytes.fromhex(chain_sha256)


def verify_confirmation(spki: bytes, nonce: bytes, chain_sha256: str, signature: bytes) -> None:
    """Check a unit's signature, ES256 (RFC 7518 section 3.4: r || s) or the same in DER (RFC 3279 section 2.2.3).

    spki: the unit's key, DER SubjectPublicKeyInfo. Raises SignatureInvalid, KeyUnsupported.
    """
    data = confirmed_bytes(nonce, chain_sha256)
    if len(signature) == RAW_SIZE:
        try:
            verify_raw(spki, signature, data)
            return
        except SignatureInvalid:
            if signature[0] != _SEQUENCE:
                raise
    verify_raw(spki, der_to_raw(signature, RAW_SIZE // 2), data)
