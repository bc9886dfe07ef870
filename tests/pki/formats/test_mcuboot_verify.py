from collections.abc import Callable

import pytest

from pki.errors import PkiError
from pki.formats.errors import (
    ImageDigestMismatch,
    ImageFactMissing,
    ImageKeyRefused,
    ImageSignatureInvalid,
    ImageSignatureUnknown,
    ImageTlvRefused,
)
from pki.formats.mcuboot import read_image
from pki.formats.mcuboot_tlv import UNPROTECTED_MAGIC, Tlv, TlvType, write_area
from pki.formats.mcuboot_verify import verify_image
from pki.signatures import raw_to_der
from tests.pki.formats.mcuboot_images import CLASS, VENDOR, build_image, name, prepare, sign_raw, signed_image, spki

DUAL = signed_image(1, 2)
BAD = Tlv(TlvType.ECDSA_SIG, bytes.fromhex("3006020101020101"))
Tlvs = list[Tlv]


def rebuilt(change: Callable[[Tlvs], Tlvs], data: bytes = DUAL) -> bytes:
    image = read_image(data)
    return image.signed + write_area(change(list(image.unprotected)), UNPROTECTED_MAGIC)


def keyhash(number: int) -> Tlv:
    return Tlv(TlvType.KEYHASH, bytes.fromhex(name(number)))


@pytest.mark.parametrize("known", [[1], [2], [1, 2], [2, 1, 3]])
def test_dual_signed_verifies_under_each_key(known: list[int]) -> None:
    verified = verify_image(DUAL, [spki(number) for number in known])
    assert verified.keys == tuple(name(number) for number in (1, 2) if number in known)
    assert verified.digest == read_image(DUAL).digest
    assert (verified.version, verified.security_counter) == ((2, 3, 0, 0), 5)
    assert (verified.class_id, verified.vendor_id) == (CLASS, VENDOR)


def test_keys_may_come_by_name() -> None:
    assert verify_image(DUAL, {name(1): spki(1)}).keys == (name(1),)
    with pytest.raises(ImageKeyRefused):
        verify_image(DUAL, {name(2): spki(1)})


def test_no_key_verifies_nothing() -> None:
    with pytest.raises(ImageKeyRefused):
        verify_image(DUAL, [])


def test_unknown_key_decides_nothing() -> None:
    with pytest.raises(ImageSignatureUnknown):
        verify_image(DUAL, [spki(3)])
    garbage = rebuilt(lambda tlvs: [*tlvs, keyhash(3), BAD, keyhash(3), Tlv(TlvType.ECDSA_SIG, bytes(4000))])
    assert verify_image(garbage, [spki(1), spki(2)]).keys == (name(1), name(2))


def test_unsigned_image_is_refused() -> None:
    with pytest.raises(ImageDigestMismatch):
        verify_image(prepare().signed, [spki(1)])
    with pytest.raises(ImageSignatureUnknown):
        verify_image(rebuilt(lambda tlvs: tlvs[:1]), [spki(1)])


def test_the_last_signature_by_a_known_key_decides() -> None:
    late = rebuilt(lambda tlvs: [*tlvs, keyhash(1), BAD])
    with pytest.raises(ImageSignatureInvalid):
        verify_image(late, [spki(1), spki(2)])
    assert verify_image(late, [spki(2)]).keys == (name(2),)
    early = rebuilt(lambda tlvs: [tlvs[0], keyhash(1), BAD, *tlvs[1:]])
    assert verify_image(early, [spki(1), spki(2)]).keys == (name(1), name(2))


def test_keyhash_selects_the_key() -> None:
    swapped = rebuilt(lambda t: [t[0], t[3], t[2], t[1], t[4]])
    for known in ([1], [2], [1, 2]):
        with pytest.raises(ImageSignatureInvalid):
            verify_image(swapped, [spki(number) for number in known])


def test_a_keyhash_holds_for_one_signature() -> None:
    no_second_hash = rebuilt(lambda t: [t[0], t[3], BAD, t[4]])
    with pytest.raises(ImageSignatureInvalid):
        verify_image(no_second_hash, [spki(2)])


def test_without_key_matching_the_last_signature_must_be_by_the_one_key() -> None:
    assert verify_image(DUAL, [spki(2)], match_keys=False).keys == (name(2),)
    with pytest.raises(ImageSignatureInvalid):
        verify_image(DUAL, [spki(1)], match_keys=False)
    with pytest.raises(ImageKeyRefused):
        verify_image(DUAL, [spki(1), spki(2)], match_keys=False)


def test_an_oversized_signature_ends_the_boot() -> None:
    data = rebuilt(lambda t: [t[0], keyhash(1), Tlv(TlvType.ECDSA_SIG, bytes(129)), *t[1:]])
    with pytest.raises(ImageSignatureInvalid, match="129"):
        verify_image(data, [spki(1)])


@pytest.mark.parametrize(
    "tlv", [Tlv(TlvType.SEC_CNT, bytes(4)), Tlv(0xA0, b""), Tlv(0x24, bytes(64)), Tlv(0x25, b"\1")]
)
def test_unprotected_area_has_an_allow_list(tlv: Tlv) -> None:
    with pytest.raises(ImageTlvRefused):
        verify_image(rebuilt(lambda tlvs: [*tlvs, tlv]), [spki(1)])


def test_digest_is_recomputed() -> None:
    with pytest.raises(ImageDigestMismatch):
        verify_image(rebuilt(lambda tlvs: [Tlv(TlvType.SHA256, bytes(32)), *tlvs[1:]]), [spki(1)])
    with pytest.raises(ImageDigestMismatch):
        verify_image(rebuilt(lambda tlvs: tlvs[1:]), [spki(1)])


def test_facts_must_be_stated() -> None:
    bare = read_image(build_image([Tlv(TlvType.SEC_CNT, bytes(4))]))
    pair = [keyhash(1), Tlv(TlvType.ECDSA_SIG, raw_to_der(sign_raw(1, bare.signed)))]
    with pytest.raises(ImageFactMissing):
        verify_image(bare.signed + write_area([Tlv(TlvType.SHA256, bare.digest), *pair], UNPROTECTED_MAGIC), [spki(1)])


@pytest.mark.parametrize("change", [0x01, 0x80, 0xFF])
def test_no_byte_can_be_changed(change: int) -> None:
    """Header, image, and the type, length and value of every TLV."""
    single = signed_image(1)
    for at in range(len(single)):
        data = bytearray(single)
        data[at] ^= change
        with pytest.raises(PkiError):
            verify_image(bytes(data), [spki(1), spki(2)])


@pytest.mark.parametrize("data", [DUAL, signed_image(1)], ids=["dual", "single"])
def test_no_cut_or_longer_file_is_accepted(data: bytes) -> None:
    for size in range(len(data)):
        with pytest.raises(PkiError):
            verify_image(data[:size], [spki(1), spki(2)])
    with pytest.raises(PkiError):
        verify_image(data + b"\0", [spki(1), spki(2)])
