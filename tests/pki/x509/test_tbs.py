from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from pki.x509 import tbs
from pki.x509.der import SEQUENCE, write_element
from pki.x509.errors import DerMalformed
from tests.pki.x509.soft_keys import NUMBER, make_hierarchy, make_key


def _device() -> x509.Certificate:
    return x509.load_pem_x509_certificate(make_hierarchy().issue_device(make_key()))


def test_fields_as_cryptography_reads_them() -> None:
    certificate = _device()
    body, algorithm, signature = tbs.split_signed(certificate.public_bytes(Encoding.DER))
    assert body == certificate.tbs_certificate_bytes
    assert signature == certificate.signature
    read = tbs.read_tbs(body)
    assert read.algorithm == algorithm
    assert read.serial_number == certificate.serial_number == NUMBER
    assert read.issuer == certificate.issuer.public_bytes()
    assert read.subject == certificate.subject.public_bytes()
    assert tbs.read_time(read.not_before) == certificate.not_valid_before_utc
    assert tbs.read_time(read.not_after) == certificate.not_valid_after_utc
    found = [(one.critical, one.value) for one in tbs.read_extensions(read.extensions)]
    assert found == [(one.critical, one.value.public_bytes()) for one in certificate.extensions]
    attributes = [attribute.value.decode() for attribute in tbs.read_name(read.subject)]
    assert attributes == [attribute.value for attribute in certificate.subject]


@given(st.data())
def test_a_changed_octet_is_read_or_refused(data: st.DataObject) -> None:
    der = bytearray(_device_der())
    der[data.draw(st.integers(0, len(der) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = tbs.read_tbs(tbs.split_signed(bytes(der))[0])
        tbs.read_name(read.subject)
        tbs.read_extensions(read.extensions)
        tbs.read_time(read.not_before)
    except DerMalformed:
        pass


def _device_der() -> bytes:
    return x509.load_pem_x509_certificate(make_hierarchy().root.certificate).public_bytes(Encoding.DER)


@pytest.mark.parametrize(
    ("encoded", "time"),
    [
        (b"\x17\x0d260102030405Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (b"\x17\x0d491231235959Z", datetime(2049, 12, 31, 23, 59, 59, tzinfo=UTC)),
        (b"\x17\x0d500101000000Z", datetime(1950, 1, 1, tzinfo=UTC)),
        (b"\x18\x0f20500101000000Z", datetime(2050, 1, 1, tzinfo=UTC)),
        (b"\x18\x0f99991231235959Z", datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_times(encoded: bytes, time: datetime) -> None:
    assert tbs.read_time(encoded) == time


@pytest.mark.parametrize(
    "encoded",
    [
        b"\x18\x0f20491231235959Z",
        b"\x17\x0b2601020304Z",
        b"\x17\x0d260102030405+",
        b"\x17\x0d26010203040xZ",
        b"\x17\x0d261302030405Z",
        b"\x18\x1120500101000000.5Z",
        b"\x18\x13205001010000+0100Z",
        b"\x0c\x0d260102030405Z",
    ],
)
def test_times_refused(encoded: bytes) -> None:
    with pytest.raises(DerMalformed, match="time"):
        tbs.read_time(encoded)


def test_only_version_3_without_unique_identifiers() -> None:
    body = _device().tbs_certificate_bytes
    inner = body[4:]
    assert inner[:5] == bytes.fromhex("a003020102")
    for changed in (inner[5:], b"\xa0\x03\x02\x01\x01" + inner[5:], inner + b"\x81\x02\x00\x00"):
        with pytest.raises(DerMalformed, match="version"):
            tbs.read_tbs(write_element(SEQUENCE, changed))


def test_a_validity_is_two_times() -> None:
    inner = _device().tbs_certificate_bytes[4:]
    validity = bytes.fromhex("3020") + b"\x17\x0d260102030405Z\x18\x0f99991231235959Z"
    assert validity in inner
    for times in (b"", validity[2:17], validity[2:] + validity[2:17]):
        with pytest.raises(DerMalformed):
            tbs.read_tbs(write_element(SEQUENCE, inner.replace(validity, write_element(SEQUENCE, times))))


@pytest.mark.parametrize("number", [b"\x02\x00", b"\x02\x02\x00\x01", b"\x02\x02\xff\x80"])
def test_integers_in_their_shortest_form_only(number: bytes) -> None:
    inner = _device().tbs_certificate_bytes[4:]
    with pytest.raises(DerMalformed, match="shortest"):
        tbs.read_tbs(write_element(SEQUENCE, inner[:5], number, inner[5 + 22 :]))


def test_extensions_that_are_not_der() -> None:
    basic = bytes.fromhex("0603551d13")
    for inner, why in (
        (basic + bytes.fromhex("010100" + "04023000"), "TRUE"),  # DEFAULT FALSE written out
        (basic + bytes.fromhex("010101" + "04023000"), "TRUE"),  # BER's other trues
        (basic, "OID"),
        (b"", "OID"),
        (basic + bytes.fromhex("03023000"), "OID"),
    ):
        with pytest.raises(DerMalformed, match=why):
            tbs.read_extensions(write_element(SEQUENCE, write_element(SEQUENCE, inner)))


def test_multi_valued_names_are_refused() -> None:
    pair = bytes.fromhex("3008060355040a0c0141")
    assert tbs.read_name(write_element(SEQUENCE, write_element(0x31, pair))) == [(b"\x55\x04\x0a", 0x0C, b"A")]
    with pytest.raises(DerMalformed, match="RDN"):
        tbs.read_name(write_element(SEQUENCE, write_element(0x31, pair, pair)))


def test_signature_bits_are_whole_octets() -> None:
    with pytest.raises(DerMalformed, match="octets"):
        tbs.split_signed(bytes.fromhex("3008" + "3000" + "3000" + "03020101"))
    with pytest.raises(DerMalformed, match="signed part"):
        tbs.split_signed(bytes.fromhex("3004" + "3000" + "3000"))
