import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pki import names
from pki.names import (
    AuthoritySubject,
    DeviceSubject,
    HardwareModule,
    ModuleSubject,
    NameMalformed,
    SerialNumber,
    ServiceSubject,
)


@pytest.mark.parametrize("text", ["A", "0", "SN-0001", "BMS.12-A", "9" * 64])
def test_serial_numbers(text: str) -> None:
    assert names.read_serial_number(text) == text


@pytest.mark.parametrize(
    "text", ["", "a", "sn-1", "-A", "A-", ".A", "A_B", "A B", "A/B", "A\n", "Ä", "9" * 65, "A\u200b", "..", "A\0"]
)
def test_serial_numbers_refused(text: str) -> None:
    with pytest.raises(NameMalformed):
        names.read_serial_number(text)


@given(st.text(max_size=70))
def test_a_serial_number_is_safe_in_files_urls_and_printable_strings(text: str) -> None:
    try:
        serial = names.read_serial_number(text)
    except NameMalformed:
        return
    assert serial.isascii()
    assert serial == serial.upper()
    assert not set(serial) & set("/\\_%?#&= \0")
    assert serial[0] not in ".-"


@pytest.mark.parametrize("text", ["bms-stm32h7", "a", "0-1"])
def test_site_names(text: str) -> None:
    assert names.read_site_name(text) == text


@pytest.mark.parametrize("text", ["", "-a", "a-", "a--b", "A", "a_b", "a" * 65, "a\n", "a/b"])
def test_site_names_refused(text: str) -> None:
    with pytest.raises(NameMalformed, match="site name"):
        names.read_site_name(text)


def test_ueid() -> None:
    assert names.ueid_of(b"spki") == b"\x01" + hashlib.sha256(b"spki").digest()


def test_device_subject() -> None:
    subject = DeviceSubject("Acme", "bms-stm32h7 SN-1", SerialNumber("SN-1"))
    name = subject.x501_name()
    assert name.rfc4514_string() == "2.5.4.5=SN-1,CN=bms-stm32h7 SN-1,O=Acme"
    # serialNumber is a PrintableString (0x13), the others are UTF8Strings (0x0c).
    assert b"\x06\x03\x55\x04\x05\x13\x04SN-1" in name.public_bytes()
    assert b"\x06\x03\x55\x04\x0a\x0c\x04Acme" in name.public_bytes()
    assert str(subject) == "O=Acme, CN=bms-stm32h7 SN-1, serialNumber=SN-1"


def test_authority_subject_has_its_generation_in_its_name() -> None:
    first, second = (AuthoritySubject("Acme", "Device CA", n).x501_name() for n in (1, 2))
    assert first.rfc4514_string() == "CN=Device CA G1,O=Acme"
    assert first != second


def test_authority_subject_of_a_site() -> None:
    subject = AuthoritySubject("Acme", "Site CA", 3, "site-a")
    assert subject.x501_name().rdns[:2] == subject.x501_base().rdns
    assert str(subject) == "O=Acme, OU=site-a, CN=Site CA G3"


@pytest.mark.parametrize(
    "text", ["", "a" * 65, " a", "a ", "a  b", "a\nb", "a\x00", "a\u00a0b", "\u212b", "e\u0301", "\ufb01", "a\u202eb"]
)
def test_text_that_folds_or_hides_is_refused(text: str) -> None:
    with pytest.raises(NameMalformed, match="organization"):
        DeviceSubject(text, "ok", SerialNumber("A"))
    with pytest.raises(NameMalformed, match="common name"):
        DeviceSubject("ok", text, SerialNumber("A"))


def test_malformed_parts_are_refused_when_a_subject_is_made() -> None:
    with pytest.raises(NameMalformed, match="serial number"):
        DeviceSubject("Acme", "x", SerialNumber("lower"))
    for generation in (0, -1, 10000):
        with pytest.raises(NameMalformed, match="generation"):
            AuthoritySubject("Acme", "Device CA", generation)
    with pytest.raises(NameMalformed, match="site name"):
        AuthoritySubject("Acme", "Site CA", 1, "Site A")
    # 61 characters and " G1" are 64, one more is too long.
    AuthoritySubject("Acme", "x" * 61, 1)
    with pytest.raises(NameMalformed, match="common name"):
        AuthoritySubject("Acme", "x" * 62, 1)


def test_hardware_modules() -> None:
    assert HardwareModule("1.3.6.1.4.1.99999.1", b"x").serial == b"x"
    for oid, serial in (("1.3.x", b"x"), ("", b"x"), ("1.3.6", b""), ("1.3.6", bytes(65))):
        with pytest.raises(NameMalformed):
            HardwareModule(oid, serial)


def test_a_device_at_a_site() -> None:
    subject = DeviceSubject("Acme", "bms", SerialNumber("SN-1"), None, "site-a")
    assert str(subject) == "O=Acme, OU=site-a, CN=bms, serialNumber=SN-1"
    assert subject.x501_name().rfc4514_string() == "2.5.4.5=SN-1,CN=bms,OU=site-a,O=Acme"
    with pytest.raises(NameMalformed, match="site"):
        DeviceSubject("Acme", "bms", SerialNumber("SN-1"), None, "Site A")


@pytest.mark.req("CA-5")
def test_a_module_has_no_name() -> None:
    subject = ModuleSubject("1.3.6.1.4.1.32473.1", SerialNumber("SN-1"))
    assert not list(subject.x501_name())
    assert subject.hardware == HardwareModule("1.3.6.1.4.1.32473.1", b"SN-1")
    assert str(subject) == "hardwareModuleName 1.3.6.1.4.1.32473.1 SN-1"
    for hw_type, serial in (("", "SN-1"), ("1.3.6.1", "sn")):
        with pytest.raises(NameMalformed):
            ModuleSubject(hw_type, SerialNumber(serial))


def test_services() -> None:
    station = ServiceSubject("Acme", "eol-tester-3", "graz")
    assert str(station) == "O=Acme, OU=graz, CN=eol-tester-3"
    assert station.x501_name().rfc4514_string() == "CN=eol-tester-3,OU=graz,O=Acme"
    assert str(ServiceSubject("Acme", "OCSP")) == "O=Acme, CN=OCSP"
    for parts in (("", "x"), ("Acme", " x"), ("Acme", "x", "a  b")):
        with pytest.raises(NameMalformed):
            ServiceSubject(*parts)


@pytest.mark.parametrize(
    "text", ["", "1", "1.3.", "1.3.6.01", "3.1.1", "1.40.1", "1.3.6 .1", "1.3." + "1." * 70 + "1", "a"]
)
def test_what_is_no_oid(text: str) -> None:
    assert names.read_oid("2.25.1234567890") == "2.25.1234567890"
    with pytest.raises(NameMalformed, match="no OID"):
        names.read_oid(text)
