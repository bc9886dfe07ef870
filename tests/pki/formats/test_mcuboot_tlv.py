import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki.formats.errors import ImageMalformed, ImageTlvRefused, ImageTooLarge
from pki.formats.mcuboot_tlv import PROTECTED_MAGIC, UNPROTECTED_MAGIC, Tlv, TlvType, read_area, write_area

VENDOR_TLVS = st.lists(
    st.builds(Tlv, st.sampled_from([0xA0, 0xFF, 0x01A0, 0xFFFE]), st.binary(max_size=40)), max_size=8
)


@given(VENDOR_TLVS, st.binary(max_size=9))
def test_area_reads_back(tlvs: list[Tlv], before: bytes) -> None:
    data = before + write_area(tlvs, PROTECTED_MAGIC)
    assert read_area(data + b"behind", len(before), PROTECTED_MAGIC) == (tuple(tlvs), len(data))


@given(st.binary(max_size=64))
def test_any_bytes_read_or_are_refused(data: bytes) -> None:
    area = PROTECTED_MAGIC.to_bytes(2, "little") + (len(data) + 4).to_bytes(2, "little") + data
    try:
        tlvs, end = read_area(area, 0, PROTECTED_MAGIC)
    except (ImageMalformed, ImageTlvRefused):
        return
    assert write_area(tlvs, PROTECTED_MAGIC) == area[:end]


@pytest.mark.parametrize(
    "data",
    [b"", b"\x07\x69\x04", b"\x08\x69\x04\x00", b"\x07\x69\x03\x00", b"\x07\x69\x05\x00", b"\x07\x69\x06\x00\x10\x00",
     b"\x07\x69\x08\x00\x10\x00\x01\x00"],
    ids=["empty", "short", "other magic", "total below header", "total above data", "cut header", "cut value"],
)  # fmt: skip
def test_wrong_lengths_are_malformed(data: bytes) -> None:
    with pytest.raises(ImageMalformed):
        read_area(data, 0, UNPROTECTED_MAGIC)


@pytest.mark.parametrize("kind", [TlvType.SHA256, TlvType.KEYHASH, TlvType.ECDSA_SIG, 0x70, 0x30, 0xFFFF, 0x0122])
def test_protected_area_refuses(kind: int) -> None:
    with pytest.raises(ImageTlvRefused, match="protected"):
        read_area(write_area([Tlv(kind, bytes(32))], PROTECTED_MAGIC), 0, PROTECTED_MAGIC)


@pytest.mark.parametrize("kind", [TlvType.SEC_CNT, TlvType.UUID_CID, TlvType.DEPENDENCY, 0xA0, 0x02, 0x25, 0x0110])
def test_unprotected_area_refuses(kind: int) -> None:
    with pytest.raises(ImageTlvRefused, match="unprotected"):
        read_area(write_area([Tlv(kind, bytes(4))], UNPROTECTED_MAGIC), 0, UNPROTECTED_MAGIC)


@pytest.mark.parametrize(("kind", "size"), [(TlvType.SEC_CNT, 5), (TlvType.UUID_CID, 15), (TlvType.DEPENDENCY, 11)])
def test_wrong_value_length_is_refused(kind: int, size: int) -> None:
    with pytest.raises(ImageTlvRefused, match="bytes"):
        read_area(write_area([Tlv(kind, bytes(size))], PROTECTED_MAGIC), 0, PROTECTED_MAGIC)


@pytest.mark.parametrize("kind", [TlvType.SEC_CNT, TlvType.UUID_VID])
def test_a_single_entry_may_not_stand_twice(kind: int) -> None:
    value = bytes(4 if kind == TlvType.SEC_CNT else 16)
    with pytest.raises(ImageTlvRefused, match="2 times"):
        read_area(write_area([Tlv(kind, value)] * 2, PROTECTED_MAGIC), 0, PROTECTED_MAGIC)


def test_too_many_entries_are_refused() -> None:
    with pytest.raises(ImageTlvRefused, match="limit"):
        read_area(write_area([Tlv(0xA0, b"")] * 65, PROTECTED_MAGIC), 0, PROTECTED_MAGIC)


@pytest.mark.parametrize("sizes", [[0x10000], [0x8000, 0x8000]])
def test_what_16_bits_cannot_hold_is_refused(sizes: list[int]) -> None:
    with pytest.raises(ImageTooLarge):
        write_area([Tlv(0xA0, bytes(size)) for size in sizes], PROTECTED_MAGIC)
