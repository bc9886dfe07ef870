"""MCUboot images: read, prepare for signing, sign.

Layout (MCUboot docs/design.md, image.h; all little endian): header, image, protected TLV area, TLV area. The digest
and every signature cover header, image and protected area, so the signed bytes are one prefix of the file. A key is
named inside the image by SHA-256 of its DER SubjectPublicKeyInfo, as everywhere in Kedge. `mcuboot_verify` judges.
"""

import hashlib
import struct
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from pki.drafts import Draft, ToSign
from pki.formats.errors import (
    ImageAlreadySigned,
    ImageDigestMismatch,
    ImageFactConflict,
    ImageFlagRefused,
    ImageKeyRefused,
    ImageMalformed,
    ImageTooLarge,
)
from pki.formats.mcuboot_tlv import PROTECTED_MAGIC, UNPROTECTED_MAGIC, Tlv, TlvType, read_area, write_area
from pki.signatures import load_spki, raw_to_der, spki_sha256

MAGIC = 0x96F3B83D
MAX_SIZE = 16 * 1024 * 1024

_HEADER = struct.Struct("<IIHHIIBBHII")
_PROTECTED_SIZE_AT = 10
_FLAG_ROM_FIXED = 0x100

Retain = Literal["refuse", "first", "last"]


class McubootImage(msgspec.Struct, frozen=True):
    """An image as it was read; `signed` is header, image and protected area, byte for byte.

    version: major, minor, revision, build. image_size: bytes without header and TLVs.
    """

    version: tuple[int, int, int, int]
    header_size: int
    image_size: int
    protected: tuple[Tlv, ...]
    unprotected: tuple[Tlv, ...]
    signed: bytes

    @property
    def digest(self) -> bytes:
        """SHA-256 over `signed`: what the SHA256 TLV must hold and what ECDSA signs."""
        return hashlib.sha256(self.signed).digest()

    @property
    def version_text(self) -> str:
        """`2.3.0`, or `2.3.0+7` when a build number is set, as imgtool writes it."""
        major, minor, revision, build = self.version
        return f"{major}.{minor}.{revision}" + (f"+{build}" if build else "")

    @property
    def security_counter(self) -> int | None:
        """The value compared with the anti-rollback counter; None when the image does not say."""
        value = self._protected_value(TlvType.SEC_CNT)
        return None if value is None else int.from_bytes(value, "little")

    @property
    def class_id(self) -> bytes | None:
        """16 bytes (UUID) of the device class; None when the image does not say."""
        return self._protected_value(TlvType.UUID_CID)

    @property
    def vendor_id(self) -> bytes | None:
        """16 bytes (UUID) of the vendor; None when the image does not say."""
        return self._protected_value(TlvType.UUID_VID)

    @property
    def stated_digest(self) -> bytes | None:
        """The digest that the image carries, whether right or wrong."""
        return next((tlv.value for tlv in self.unprotected if tlv.type == TlvType.SHA256), None)

    @property
    def signatures(self) -> tuple[Tlv, ...]:
        """KEYHASH and ECDSA_SIG entries in their order; empty in an unsigned image."""
        return tuple(tlv for tlv in self.unprotected if tlv.type in (TlvType.KEYHASH, TlvType.ECDSA_SIG))

    def _protected_value(self, kind: TlvType) -> bytes | None:
        return next((tlv.value for tlv in self.protected if tlv.type == kind), None)


class PreparedImage(msgspec.Struct, frozen=True):
    """Bytes ready for signature, the facts they state, and the signatures of an earlier round that stay."""

    signed: bytes
    version: tuple[int, int, int, int]
    security_counter: int
    class_id: bytes
    vendor_id: bytes
    retained: tuple[Tlv, ...] = ()
    retained_last: bool = False

    @property
    def digest(self) -> bytes:
        """SHA-256 over `signed`."""
        return hashlib.sha256(self.signed).digest()


def read_image(data: bytes) -> McubootImage:
    """Read an image, signed or not; nothing is verified but its form.

    The file ends with the TLV area, or with the signed bytes (what CI uploads). Raises ImageTooLarge above 16 MiB,
    ImageMalformed, ImageFlagRefused, ImageTlvRefused.
    """
    if len(data) > MAX_SIZE:
        raise ImageTooLarge(f"image has {len(data)} bytes, {MAX_SIZE} is the limit")
    if len(data) < _HEADER.size:
        raise ImageMalformed(f"image has {len(data)} bytes, its header alone needs {_HEADER.size}")
    magic, load_address, header_size, protected_size, image_size, flags, *version, pad = _HEADER.unpack_from(data)
    if magic != MAGIC or pad:
        raise ImageMalformed("not an MCUboot image header, version 1", hint="sign the output of `imgtool sign`")
    if flags & ~_FLAG_ROM_FIXED or (load_address and not flags):
        raise ImageFlagRefused(f"header flags 0x{flags:x} are not supported", hint="no encryption, compression, RAM")
    end = header_size + image_size
    if header_size < _HEADER.size or not image_size or end > len(data):
        raise ImageMalformed(f"header claims {header_size} + {image_size} bytes, {len(data)} are there")
    protected: tuple[Tlv, ...] = ()
    if protected_size:
        start = end
        protected, end = read_area(data, start, PROTECTED_MAGIC)
        if end - start != protected_size:
            raise ImageMalformed(f"header says {protected_size} protected bytes, the area says {end - start}")
    signed = data[:end]
    unprotected: tuple[Tlv, ...] = ()
    if end < len(data):
        unprotected, end = read_area(data, end, UNPROTECTED_MAGIC)
    if end != len(data):
        raise ImageMalformed(f"{len(data) - end} bytes follow the image", hint="sign without --pad and --confirm")
    return McubootImage((version[0], version[1], version[2], version[3]), header_size, image_size, protected,
                        unprotected, signed)  # fmt: skip


def prepare_image(
    image: McubootImage, *, security_counter: int, class_id: bytes, vendor_id: bytes, retain: Retain = "refuse"
) -> PreparedImage:
    """State counter, class and vendor in the protected area; what the image already states must be the same.

    The digest of an unsigned image is checked and later written anew; nothing else is dropped. `retain` is for a
    second round over the same digest: its signatures stay, `first` or `last` (see `draft_image`).
    Raises ImageFactConflict, ImageAlreadySigned, ImageDigestMismatch.
    """
    if image.signatures and retain == "refuse":
        raise ImageAlreadySigned("image is signed already", hint="send the unsigned image, or ask for a dual signature")
    if image.stated_digest not in (None, image.digest):
        raise ImageDigestMismatch("the image's own digest is wrong", hint="the upload is damaged; build it again")
    protected = list(image.protected)
    for kind, value in (
        (TlvType.SEC_CNT, _counter_bytes(security_counter)),
        (TlvType.UUID_VID, _uuid_bytes(vendor_id)),
        (TlvType.UUID_CID, _uuid_bytes(class_id)),
    ):
        found = next((tlv.value for tlv in image.protected if tlv.type == kind), None)
        if found is None:
            protected.append(Tlv(kind, value))
        elif found != value:
            raise ImageFactConflict(f"image states {kind.name} {found.hex()}, the request {value.hex()}")
    signed = _write_signed(image, protected)
    if image.signatures and signed != image.signed:
        raise ImageAlreadySigned("a protected TLV would have to be added to a signed image", hint="send it unsigned")
    return PreparedImage(
        signed, image.version, security_counter, class_id, vendor_id, image.signatures, retain == "last"
    )


def draft_image(
    prepared: PreparedImage,
    keys: Sequence[bytes],
    *,
    kind: str = "image.mcuboot",
    summary: str,
    what: Mapping[str, Any],
) -> Draft:
    """A draft in which every key (DER SubjectPublicKeyInfo) signs the same bytes.

    The signatures stand in the order of `keys`. Bootloaders let the last signature by a key they know decide; one built
    with MCUBOOT_BYPASS_KEY_MATCH tries the last signature only, so there the key that devices hold now comes last.
    Raises ImageKeyRefused when `keys` is empty, names a key twice or holds a key that is not P-256.
    """
    public_keys = {spki_sha256(key): key for key in keys}
    retained = {tlv.value.hex() for tlv in prepared.retained if tlv.type == TlvType.KEYHASH}
    if not keys or len(public_keys) != len(keys) or retained & set(public_keys):
        raise ImageKeyRefused("image keys must be at least one, each of them once")
    for key in keys:
        check_image_key(key)

    def assemble(signatures: Mapping[str, bytes]) -> bytes:
        new = [
            tlv
            for spki in public_keys
            for tlv in (
                Tlv(TlvType.KEYHASH, bytes.fromhex(spki)),
                Tlv(TlvType.ECDSA_SIG, raw_to_der(signatures[spki])),
            )
        ]
        pairs = [*new, *prepared.retained] if prepared.retained_last else [*prepared.retained, *new]
        return prepared.signed + write_area([Tlv(TlvType.SHA256, prepared.digest), *pairs], UNPROTECTED_MAGIC)

    to_sign = tuple(sorted(ToSign(spki, prepared.signed) for spki in public_keys))
    return Draft(kind, summary, prepared.signed, to_sign, public_keys, what, assemble)


def check_image_key(spki: bytes) -> None:
    """Raise ImageKeyRefused unless the key is P-256, the one signature type of the bootloaders served here."""
    key = load_spki(spki)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise ImageKeyRefused("image keys are P-256", hint="another signature type is a bootloader change")


def _write_signed(image: McubootImage, protected: Sequence[Tlv]) -> bytes:
    body = bytearray(image.signed[: image.header_size + image.image_size])
    area = write_area(protected, PROTECTED_MAGIC)
    body[_PROTECTED_SIZE_AT : _PROTECTED_SIZE_AT + 2] = len(area).to_bytes(2, "little")
    return bytes(body) + area


def _counter_bytes(value: int) -> bytes:
    if not 0 <= value < 2**31:
        raise ImageFactConflict(f"security counter {value} is not between 0 and 2147483647")
    return value.to_bytes(4, "little")


def _uuid_bytes(value: bytes) -> bytes:
    if len(value) != 16:
        raise ImageFactConflict(f"class and vendor ids are 16 bytes, not {len(value)}")
    return value
