"""Soft keys and hand-built MCUboot images for the tests of this folder."""

import struct
from collections.abc import Sequence
from functools import cache

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from pki.drafts import Draft
from pki.formats.mcuboot import PreparedImage, draft_image, prepare_image, read_image
from pki.formats.mcuboot_tlv import PROTECTED_MAGIC, UNPROTECTED_MAGIC, Tlv, write_area
from pki.signatures import der_to_raw, spki_der, spki_sha256

CLASS = bytes(range(16))
VENDOR = bytes(range(16, 32))


@cache
def soft_key(number: int) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(1000 + number, ec.SECP256R1())


def spki(number: int) -> bytes:
    return spki_der(soft_key(number).public_key())


def name(number: int) -> str:
    return spki_sha256(spki(number))


def public_pem(number: int) -> bytes:
    return (
        soft_key(number)
        .public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


def sign_raw(number: int, data: bytes) -> bytes:
    return der_to_raw(soft_key(number).sign(data, ec.ECDSA(hashes.SHA256())), 32)


def finish(draft: Draft, numbers: Sequence[int]) -> bytes:
    by_name = {name(number): number for number in numbers}
    return draft.finish({item.spki: sign_raw(by_name[item.spki], item.data) for item in draft.to_sign})


def build_image(
    protected: Sequence[Tlv] = (),
    unprotected: Sequence[Tlv] | None = None,
    *,
    body: bytes = b"firmware" * 8,
    version: tuple[int, int, int, int] = (2, 3, 0, 0),
    flags: int = 0,
    header_size: int = 32,
) -> bytes:
    """An image straight from the format's description; no area for an empty sequence, or for None."""
    area = write_area(protected, PROTECTED_MAGIC) if protected else b""
    header = struct.pack(
        "<IIHHIIBBHII", 0x96F3B83D, 0, header_size, len(area), len(body), flags, *version, 0
    ).ljust(header_size, b"\0")  # fmt: skip
    tail = b"" if unprotected is None else write_area(unprotected, UNPROTECTED_MAGIC)
    return header + body + area + tail


def prepare(data: bytes | None = None, counter: int = 5) -> PreparedImage:
    image = read_image(build_image() if data is None else data)
    return prepare_image(image, security_counter=counter, class_id=CLASS, vendor_id=VENDOR)


def signed_image(*numbers: int) -> bytes:
    draft = draft_image(prepare(), [spki(number) for number in numbers], summary="image", what={})
    return finish(draft, numbers)
