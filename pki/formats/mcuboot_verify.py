"""Verify a signed MCUboot image the way the bootloader does.

Source: `bootutil_img_validate` in MCUboot `boot/bootutil/src/image_validate.c` with MCUBOOT_SIGN_EC256,
MCUBOOT_USE_TLV_ALLOW_LIST, MCUBOOT_HW_ROLLBACK_PROT, MCUBOOT_UUID_VID and MCUBOOT_UUID_CID. imgtool is no substitute:
it ignores KEYHASH, accepts an unprotected counter, and is content with any one signature.
"""

from collections.abc import Iterable, Mapping

import msgspec

from pki.errors import SignatureInvalid
from pki.formats.errors import (
    ImageDigestMismatch,
    ImageFactMissing,
    ImageKeyRefused,
    ImageSignatureInvalid,
    ImageSignatureUnknown,
)
from pki.formats.mcuboot import check_image_key, read_image
from pki.formats.mcuboot_tlv import Tlv, TlvType
from pki.signatures import der_to_raw, spki_sha256, verify_raw

_MAX_SIGNATURE = 128  # SIG_BUF_SIZE for ECDSA


class VerifiedImage(msgspec.Struct, frozen=True):
    """An image that a bootloader with these keys boots, and what it states about itself.

    digest: of header, image and protected area. version: major, minor, revision, build. class_id, vendor_id: 16 bytes.
    keys: every given key under which a signature verifies, by SPKI SHA-256, in the order of the signatures.
    """

    digest: bytes
    version: tuple[int, int, int, int]
    security_counter: int
    class_id: bytes
    vendor_id: bytes
    keys: tuple[str, ...]


def verify_image(data: bytes, keys: Mapping[str, bytes] | Iterable[bytes], *, match_keys: bool = True) -> VerifiedImage:
    """Verify as a bootloader that holds `keys` (DER SubjectPublicKeyInfo, P-256).

    With `match_keys` false it behaves as one built with MCUBOOT_BYPASS_KEY_MATCH, which holds exactly one key.

    1. Header, lengths, flags, the size of the protected area, the allow-list of each area (`read_image`).
    2. The SHA256 TLV is there and is the digest of header, image and protected area.
    3. KEYHASH selects the key of the next signature; signatures by unknown keys are skipped.
    4. The last signature by a known key decides.
    5. Security counter, class and vendor are stated; comparing them is the device's part.

    Raises what `read_image` raises, ImageKeyRefused, ImageDigestMismatch, ImageSignatureUnknown, ImageSignatureInvalid,
    ImageFactMissing.
    """
    known = _index_keys(keys)
    if not match_keys and len(known) != 1:
        raise ImageKeyRefused("a bootloader without key matching holds exactly one key")
    image = read_image(data)  # 1
    digest = image.digest
    if image.stated_digest != digest:  # 2
        raise ImageDigestMismatch("the image's digest is missing or wrong", hint="the file is damaged or was changed")
    valid: list[str] = []
    last = False
    for spki, signature in _pair_signatures(image.signatures, known, match_keys):  # 3
        last = _is_valid(known[spki], signature, image.signed)
        if last and spki not in valid:
            valid.append(spki)
    if not last:  # 4
        raise ImageSignatureInvalid("the last signature by a known key does not verify", hint="do not install it")
    if image.security_counter is None or image.class_id is None or image.vendor_id is None:  # 5
        raise ImageFactMissing("the image does not state security counter, class and vendor", hint="prepare it first")
    return VerifiedImage(digest, image.version, image.security_counter, image.class_id, image.vendor_id, tuple(valid))


def _index_keys(keys: Mapping[str, bytes] | Iterable[bytes]) -> dict[str, bytes]:
    known = {spki_sha256(key): key for key in (keys.values() if isinstance(keys, Mapping) else keys)}
    if isinstance(keys, Mapping) and set(known) != set(keys):
        raise ImageKeyRefused("a key is not the one that its digest names")
    if not known:
        raise ImageKeyRefused("no key to verify with")
    for key in known.values():
        check_image_key(key)
    return known


def _pair_signatures(tlvs: Iterable[Tlv], known: Mapping[str, bytes], match_keys: bool) -> list[tuple[str, bytes]]:
    """Known key and signature, in order. A KEYHASH holds for one signature, as `key_id` does in the bootloader."""
    only = None if match_keys else next(iter(known))
    pairs: list[tuple[str, bytes]] = []
    selected: str | None = None
    for tlv in tlvs:
        if tlv.type == TlvType.KEYHASH:
            selected = only or tlv.value.hex()
        elif selected is not None and selected in known:
            pairs.append((selected, tlv.value))
            selected = None
        else:
            selected = None
    if not pairs:
        raise ImageSignatureUnknown("no signature is by a known key", hint="compare KEYHASH with the expected keys")
    return pairs


def _is_valid(spki: bytes, signature: bytes, data: bytes) -> bool:
    if len(signature) > _MAX_SIGNATURE:  # here the bootloader gives the whole image up
        raise ImageSignatureInvalid(f"a signature has {len(signature)} bytes, {_MAX_SIGNATURE} is the limit")
    try:
        verify_raw(spki, der_to_raw(signature, 32), data)
    except SignatureInvalid:
        return False
    return True
