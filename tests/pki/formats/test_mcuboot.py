import hashlib

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pki.errors import SignatureInvalid, SignatureMissing
from pki.formats.errors import (
    ImageAlreadySigned,
    ImageDigestMismatch,
    ImageFactConflict,
    ImageFlagRefused,
    ImageKeyRefused,
    ImageMalformed,
    ImageTooLarge,
)
from pki.formats.mcuboot import MAX_SIZE, Retain, draft_image, prepare_image, read_image
from pki.formats.mcuboot_tlv import Tlv, TlvType
from pki.formats.mcuboot_verify import verify_image
from pki.signatures import spki_der
from tests.pki.formats.mcuboot_images import (
    CLASS,
    VENDOR,
    build_image,
    finish,
    name,
    prepare,
    sign_raw,
    signed_image,
    spki,
)

COUNTER_5 = Tlv(TlvType.SEC_CNT, b"\5\0\0\0")


def test_facts_are_read() -> None:
    protected = [COUNTER_5, Tlv(TlvType.UUID_VID, VENDOR), Tlv(TlvType.UUID_CID, CLASS)]
    data = build_image(protected, version=(2, 3, 400, 70000), header_size=64)
    image = read_image(data)
    assert image.version == (2, 3, 400, 70000)
    assert image.version_text == "2.3.400+70000"
    assert (image.header_size, image.image_size) == (64, 64)
    assert (image.security_counter, image.class_id, image.vendor_id) == (5, CLASS, VENDOR)
    assert image.signed == data
    assert image.digest == hashlib.sha256(data).digest()
    assert image.stated_digest is None
    assert image.signatures == ()


def test_a_bare_image_states_nothing() -> None:
    image = read_image(build_image())
    assert (image.security_counter, image.class_id, image.vendor_id) == (None, None, None)
    assert image.version_text == "2.3.0"


def changed(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        build_image()[:31],
        changed(build_image(), 0, b"\x3c"),
        changed(build_image(), 8, b"\x1f\0"),
        changed(build_image(), 12, b"\xff\xff\xff\xff"),
        changed(build_image(), 12, b"\0\0\0\0"),
        changed(build_image(), 28, b"\1"),
        changed(build_image([COUNTER_5]), 10, b"\x0d\0"),
        changed(build_image([COUNTER_5]), 10, b"\0\0"),
        changed(build_image(), 10, b"\x0c\0"),
        build_image() + b"\xff",
        build_image(unprotected=[]) + b"\xff" * 16,
    ],
    ids=["empty", "cut header", "magic", "header size", "image size", "no image", "padding word", "protected size",
         "protected size hidden", "protected size without area", "one byte behind", "slot padding"],
)  # fmt: skip
def test_wrong_form_is_malformed(data: bytes) -> None:
    with pytest.raises(ImageMalformed):
        read_image(data)


@pytest.mark.parametrize("flags", [0x1, 0x4, 0x8, 0x10, 0x20, 0x200, 0x400, 0x800, 0x80000000, 0x104])
def test_unknown_flags_are_refused(flags: int) -> None:
    with pytest.raises(ImageFlagRefused):
        read_image(build_image(flags=flags))


def test_a_load_address_needs_its_flag() -> None:
    with pytest.raises(ImageFlagRefused):
        read_image(changed(build_image(), 4, b"\1"))
    assert read_image(changed(build_image(flags=0x100), 4, b"\1")).version == (2, 3, 0, 0)


def test_size_limit() -> None:
    with pytest.raises(ImageTooLarge):
        read_image(bytes(MAX_SIZE + 1))


def test_prepare_adds_what_is_missing() -> None:
    other = Tlv(0xA0, b"vendor's own")
    prepared = prepare(build_image([other]))
    image = read_image(prepared.signed)
    assert image.protected[0] == other
    assert (image.security_counter, image.class_id, image.vendor_id) == (5, CLASS, VENDOR)
    assert image.digest == prepared.digest
    assert prepared.version == (2, 3, 0, 0)


def test_prepare_keeps_what_is_there() -> None:
    protected = [COUNTER_5, Tlv(TlvType.UUID_VID, VENDOR), Tlv(TlvType.UUID_CID, CLASS)]
    data = build_image(protected)
    assert prepare(data).signed == data


@pytest.mark.req("RO-6")
@pytest.mark.parametrize(
    "tlv", [Tlv(TlvType.SEC_CNT, b"\6\0\0\0"), Tlv(TlvType.UUID_CID, bytes(16)), Tlv(TlvType.UUID_VID, bytes(16))]
)
def test_another_value_in_the_image_is_refused(tlv: Tlv) -> None:
    with pytest.raises(ImageFactConflict, match=TlvType(tlv.type).name):
        prepare(build_image([tlv]))


@pytest.mark.parametrize("counter", [-1, 2**31])
def test_counter_range(counter: int) -> None:
    with pytest.raises(ImageFactConflict):
        prepare(counter=counter)


def test_ids_are_uuids() -> None:
    with pytest.raises(ImageFactConflict):
        prepare_image(read_image(build_image()), security_counter=1, class_id=b"bms", vendor_id=VENDOR)


def test_a_damaged_upload_is_noticed() -> None:
    with pytest.raises(ImageDigestMismatch):
        prepare(build_image(unprotected=[Tlv(TlvType.SHA256, bytes(32))]))


def test_a_signed_image_is_no_unsigned_input() -> None:
    with pytest.raises(ImageAlreadySigned):
        prepare(signed_image(1))


@pytest.mark.parametrize(("retain", "order"), [("first", [1, 2]), ("last", [2, 1])])
def test_second_round_keeps_digest_and_signatures(retain: Retain, order: list[int]) -> None:
    first = read_image(signed_image(1))
    prepared = prepare_image(first, security_counter=5, class_id=CLASS, vendor_id=VENDOR, retain=retain)
    data = finish(draft_image(prepared, [spki(2)], summary="dual", what={}), [2])
    assert read_image(data).digest == first.digest
    assert verify_image(data, [spki(1), spki(2)]).keys == tuple(name(number) for number in order)
    with pytest.raises(ImageKeyRefused):
        draft_image(prepared, [spki(1)], summary="again", what={})


def test_second_round_refuses_another_digest() -> None:
    image = read_image(signed_image(1))
    bare = read_image(build_image(unprotected=[tlv for tlv in image.unprotected if tlv.type != TlvType.SHA256]))
    with pytest.raises(ImageAlreadySigned):
        prepare_image(bare, security_counter=5, class_id=CLASS, vendor_id=VENDOR, retain="first")


def test_draft_names_bytes_and_keys() -> None:
    prepared = prepare()
    draft = draft_image(prepared, [spki(2), spki(1)], summary="2.3.0 for bms", what={"version": "2.3.0"})
    assert draft.kind == "image.mcuboot"
    assert draft.payload == prepared.signed
    assert {item.spki: item.data for item in draft.to_sign} == {name(1): prepared.signed, name(2): prepared.signed}
    signed = read_image(finish(draft, [1, 2]))
    assert [tlv.type for tlv in signed.unprotected] == [0x10, 0x01, 0x22, 0x01, 0x22]
    assert [tlv.value.hex() for tlv in signed.unprotected[1::2]] == [name(2), name(1)]


def test_finish_refuses_a_missing_or_foreign_signature() -> None:
    draft = draft_image(prepare(), [spki(1)], summary="", what={})
    with pytest.raises(SignatureMissing):
        draft.finish({})
    with pytest.raises(SignatureInvalid):
        draft.finish({name(1): sign_raw(2, draft.to_sign[0].data)})


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [spki(1), spki(1)],
        [spki_der(ec.derive_private_key(7, ec.SECP384R1()).public_key())],
        [spki_der(ed25519.Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key())],
    ],
    ids=["none", "twice", "P-384", "Ed25519"],
)
def test_image_keys_are_distinct_p256(keys: list[bytes]) -> None:
    with pytest.raises(ImageKeyRefused):
        draft_image(prepare(), keys, summary="", what={})
