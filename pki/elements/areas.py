"""Public areas of TPM keys (TPM 2.0 Library, Part 2, section 12.2.4), read strictly: one kind is taken, a P-256 key
that signs, was made inside its TPM, and never leaves it.

A TPM that is asked to activate a credential for an object's Name (Part 3, TPM2_ActivateCredential) does so only when it
holds the object's private half, and holds none under a public area with `fixedTPM` that it did not make itself. So the
Name stands for all that is checked here; of an area by itself nothing is believed.
"""

import hashlib
from typing import Final

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from pki.elements.errors import AreaRefused
from pki.signatures import spki_der, spki_sha256

LIMIT: Final = 1024
ECC, SHA256, NULL, ECDSA, P256 = 0x0023, 0x000B, 0x0010, 0x0018, 0x0003
"""TPM_ALG_ID and TPM_ECC_CURVE (Part 2, tables 9 and 10)."""

DEMANDED: Final = {1: "fixedTPM", 4: "fixedParent", 5: "sensitiveDataOrigin", 6: "userWithAuth", 18: "sign"}
"""Bits of TPMA_OBJECT (Part 2, section 8.3) that are set. userWithAuth, and no policy: who activates has the private
half, for only there is a password to be tried."""
ALLOWED: Final = {10: "noDA", 16: "restricted"}


class Area(msgspec.Struct, frozen=True):
    """A key's public area. name: its Name (nameAlg, digest); public_key: DER SubjectPublicKeyInfo; spki: its digest."""

    name: bytes
    public_key: bytes
    spki: str


class _Reader:
    """Takes big-endian fields off the front (Part 1, annex on marshalling)."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, size: int) -> bytes:
        """The next bytes. Raises AreaRefused."""
        part = self._data[self._at : self._at + size]
        if len(part) != size:
            raise AreaRefused(f"the public area ends inside a field, at byte {self._at}")
        self._at += size
        return part

    def number(self, size: int = 2) -> int:
        """The next number."""
        return int.from_bytes(self.take(size), "big")

    def sized(self) -> bytes:
        """The next TPM2B: two bytes of length, and as many bytes."""
        return self.take(self.number())

    def end(self) -> None:
        """Raises AreaRefused unless everything was taken."""
        if self._at != len(self._data):
            raise AreaRefused(f"{len(self._data) - self._at} bytes follow the public area")


def read_area(data: bytes) -> Area:
    """Read a TPM2B_PUBLIC, as `tpm2_create -u` writes it. Raises AreaRefused."""
    if len(data) > LIMIT:
        raise AreaRefused(f"the public area has {len(data)} bytes, at most {LIMIT} are read")
    outer = _Reader(data)
    area = outer.sized()
    outer.end()
    reader = _Reader(area)
    _demand(reader.number(), ECC, "type")
    _demand(reader.number(), SHA256, "nameAlg")
    _check_attributes(reader.number(4))
    if reader.sized():
        raise AreaRefused("the key has a policy", hint="make it with a password or none (userWithAuth) and no policy")
    _demand(reader.number(), NULL, "symmetric")
    if (scheme := reader.number()) != NULL:
        _demand(scheme, ECDSA, "scheme")
        _demand(reader.number(), SHA256, "hash of the scheme")
    _demand(reader.number(), P256, "curve")
    _demand(reader.number(), NULL, "kdf")
    x, y = reader.sized(), reader.sized()
    reader.end()
    public_key = _read_point(x, y)
    name = SHA256.to_bytes(2, "big") + hashlib.sha256(area).digest()
    return Area(name, public_key, spki_sha256(public_key))


def _demand(found: int, wanted: int, what: str) -> None:
    if found != wanted:
        hint = "make a signing key: ECC, P-256, SHA-256, and no other scheme than ECDSA with SHA-256"
        raise AreaRefused(f"the {what} of the key is 0x{found:04x}, not 0x{wanted:04x}", hint=hint)


def _check_attributes(attributes: int) -> None:
    missing = [name for bit, name in DEMANDED.items() if not attributes >> bit & 1]
    if missing:
        raise AreaRefused(
            f"the key lacks {', '.join(missing)}", hint="make the key inside the TPM, below a primary key"
        )
    surplus = attributes & ~sum(1 << bit for bit in (*DEMANDED, *ALLOWED))
    if surplus:
        raise AreaRefused(
            f"the key has attributes that are not taken: 0x{surplus:08x}", hint="make a key that only signs"
        )


def _read_point(x: bytes, y: bytes) -> bytes:
    if len(x) > 32 or len(y) > 32:
        raise AreaRefused("a coordinate of the key has more than 32 bytes")
    numbers = ec.EllipticCurvePublicNumbers(int.from_bytes(x, "big"), int.from_bytes(y, "big"), ec.SECP256R1())
    try:
        return spki_der(numbers.public_key())
    except ValueError as error:
        raise AreaRefused("the key is no point of P-256") from error
