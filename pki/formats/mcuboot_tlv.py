"""MCUboot TLV areas: little endian, an info header (magic, total size), then type, length, value.

Source: MCUboot `boot/bootutil/include/bootutil/image.h` (types, magic numbers) and `boot/bootutil/src/tlv.c` (bounds).
"""

import struct
from collections import Counter
from collections.abc import Iterable
from enum import IntEnum

import msgspec

from pki.formats.errors import ImageMalformed, ImageTlvRefused, ImageTooLarge

PROTECTED_MAGIC = 0x6908
UNPROTECTED_MAGIC = 0x6907
AREA_HEADER_SIZE = 4
MAX_TLVS = 64

_PAIR = struct.Struct("<HH")
_VENDOR_LOW_BYTE = 0xA0
_TYPE_ANY = 0xFFFF


class TlvType(IntEnum):
    """The types that Kedge knows, with the names of image.h."""

    KEYHASH = 0x01
    SHA256 = 0x10
    ECDSA_SIG = 0x22
    DEPENDENCY = 0x40
    SEC_CNT = 0x50
    BOOT_RECORD = 0x60
    UUID_VID = 0x74
    UUID_CID = 0x75


class Tlv(msgspec.Struct, frozen=True):
    """One entry: a 16-bit type and its value."""

    type: int
    value: bytes


# Types allowed in each area, with the length that the value must have (None: any). Stricter than image_validate.c:
# the bootloader reads a hash, a key or a signature in the protected area as well, and nothing there needs one.
_PROTECTED: dict[int, int | None] = {
    TlvType.DEPENDENCY: 12,
    TlvType.SEC_CNT: 4,
    TlvType.BOOT_RECORD: None,
    TlvType.UUID_VID: 16,
    TlvType.UUID_CID: 16,
}
_UNPROTECTED: dict[int, int | None] = {TlvType.SHA256: 32, TlvType.KEYHASH: 32, TlvType.ECDSA_SIG: None}
_ONCE = frozenset({TlvType.SEC_CNT, TlvType.UUID_VID, TlvType.UUID_CID, TlvType.BOOT_RECORD, TlvType.SHA256})


def read_area(data: bytes, offset: int, magic: int) -> tuple[tuple[Tlv, ...], int]:
    """Read the area at `offset`; returns its entries and the offset behind it.

    Raises ImageMalformed for a wrong magic number or length, ImageTlvRefused for an entry that may not stand there.
    """
    if len(data) - offset < AREA_HEADER_SIZE:
        raise ImageMalformed(f"TLV area at {offset} is cut off")
    found, total = _PAIR.unpack_from(data, offset)
    if found != magic:
        raise ImageMalformed(f"TLV area at {offset} has magic 0x{found:04x}, 0x{magic:04x} is expected")
    end = offset + total
    if total < AREA_HEADER_SIZE or end > len(data):
        raise ImageMalformed(f"TLV area at {offset} claims {total} bytes, {len(data) - offset} are there")
    tlvs = []
    at = offset + AREA_HEADER_SIZE
    while at < end:
        tlv, at = _read_tlv(data, at, end)
        tlvs.append(tlv)
    check_tlvs(tlvs, protected=magic == PROTECTED_MAGIC)
    return tuple(tlvs), end


def write_area(tlvs: Iterable[Tlv], magic: int) -> bytes:
    """The bytes of an area. Raises ImageTooLarge when a 16-bit length cannot hold it."""
    body = b"".join(_write_tlv(tlv) for tlv in tlvs)
    total = AREA_HEADER_SIZE + len(body)
    if total > 0xFFFF:
        raise ImageTooLarge(f"TLV area of {total} bytes, 65535 is the limit of the format")
    return _PAIR.pack(magic, total) + body


def check_tlvs(tlvs: Iterable[Tlv], *, protected: bool) -> None:
    """Refuse entries that may not stand in this area. Raises ImageTlvRefused."""
    counts: Counter[int] = Counter()
    for tlv in tlvs:
        _check_tlv(tlv, protected)
        counts[tlv.type] += 1
    for kind in _ONCE:
        if counts[kind] > 1:
            raise ImageTlvRefused(f"TLV {kind.name} stands {counts[kind]} times", hint="build the image again")
    if counts.total() > MAX_TLVS:
        raise ImageTlvRefused(f"{counts.total()} TLVs in one area, {MAX_TLVS} is the limit")


def _check_tlv(tlv: Tlv, protected: bool) -> None:
    area = "protected" if protected else "unprotected"
    allowed = _PROTECTED if protected else _UNPROTECTED
    if protected and _is_vendor(tlv.type):
        return
    if tlv.type not in allowed:
        raise ImageTlvRefused(
            f"TLV 0x{tlv.type:04x} is not allowed in the {area} area",
            hint="security counter, class and vendor belong into the protected area, signatures behind it",
        )
    size = allowed[tlv.type]
    if size is not None and len(tlv.value) != size:
        raise ImageTlvRefused(f"TLV 0x{tlv.type:04x} has {len(tlv.value)} bytes, {size} are expected")


def _is_vendor(kind: int) -> bool:
    """image.h reserves xxA0 to xxFF for vendors; 0xffff means any type."""
    return kind & 0xFF >= _VENDOR_LOW_BYTE and kind != _TYPE_ANY


def _read_tlv(data: bytes, at: int, end: int) -> tuple[Tlv, int]:
    start = at + _PAIR.size
    if start > end:
        raise ImageMalformed(f"TLV header at {at} is cut off")
    kind, size = _PAIR.unpack_from(data, at)
    if start + size > end:
        raise ImageMalformed(f"TLV 0x{kind:04x} at {at} claims {size} bytes, {end - start} are left in its area")
    return Tlv(kind, data[start : start + size]), start + size


def _write_tlv(tlv: Tlv) -> bytes:
    if len(tlv.value) > 0xFFFF:
        raise ImageTooLarge(f"TLV 0x{tlv.type:04x} has {len(tlv.value)} bytes, 65535 is the limit of the format")
    return _PAIR.pack(tlv.type, len(tlv.value)) + tlv.value
