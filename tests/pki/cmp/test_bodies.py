"""What bodies ask for; one thing each, and nothing that the lightweight profile does not have."""

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pki.cmp.bodies import Acknowledged, CertificateAsked, Question, RevocationAsked, name_device, read_body
from pki.cmp.errors import MessageMalformed, MessageUnsupported
from pki.cmp.messages import parse_message
from pki.names import NameMalformed
from pki.x509.der import INTEGER, SEQUENCE, write_element, write_oid
from pki.x509.errors import DerMalformed, ReasonUnknown, RequestMalformed
from tests.api.est_requests import make_est_request
from tests.pki.cmp.vectors import MESSAGES
from tests.pki.cmp.writing import (
    ZERO,
    acknowledge,
    ask_certificate,
    ask_information,
    ask_revocation,
    make_sender,
    name_old,
    name_serial,
    octets,
    tag,
    write_certificate_message,
    write_integer,
    write_message,
    write_template,
)

KEY = ec.generate_private_key(ec.SECP256R1())
SENDER = make_sender()
OLD = make_sender(name="old").certificate
SHA256 = bytes.fromhex("300b0609608648016503040201")


def read(body: bytes) -> object:
    return read_body(parse_message(write_message(SENDER, body)))


@pytest.mark.req("CA-11")
@pytest.mark.parametrize("name", ["ir", "ir implicit", "ir extensions", "cr", "kur", "p10cr"])
def test_openssl_asks_for_a_certificate(name: str) -> None:
    body = read_body(parse_message(MESSAGES[name]))
    assert isinstance(body, CertificateAsked)
    assert (body.serial, body.form) == ("BMS-000001", "" if name == "p10cr" else "crmf")
    assert (body.old is not None) == (name == "kur")
    assert body.request in MESSAGES[name]


def test_openssl_asks_for_a_revocation() -> None:
    with_reason, without = (read_body(parse_message(MESSAGES[name])) for name in ("rr", "rr without reason"))
    assert isinstance(with_reason, RevocationAsked)
    assert isinstance(without, RevocationAsked)
    assert (with_reason.name.number, with_reason.reason) == ("7", "keyCompromise")
    assert (without.name, without.reason) == (with_reason.name, "unspecified")


def test_a_general_message() -> None:
    assert read_body(parse_message(MESSAGES["genm"])) == Question(write_oid("1.3.6.1.5.5.7.4.17"), b"")
    with_value = read(ask_information("1.3.6.1.5.5.7.4.20", OLD))
    assert with_value == Question(write_oid("1.3.6.1.5.5.7.4.20"), OLD)


def test_a_confirmation() -> None:
    digest = hashlib.sha256(OLD).digest()
    for status, accepted in ((None, True), (0, True), (1, True), (2, False), (3, False)):
        assert read(acknowledge(OLD, status)) == Acknowledged(digest, accepted)
    hashed = write_element(SEQUENCE, octets(digest), ZERO, tag(0, SHA256))
    assert read(tag(24, write_element(SEQUENCE, hashed))) == Acknowledged(digest, True)
    other = write_element(SEQUENCE, octets(digest), ZERO, tag(0, SHA256.replace(b"\x02\x01", b"\x02\x02")))
    with pytest.raises(MessageUnsupported):
        read(tag(24, write_element(SEQUENCE, other)))


def test_an_update_names_what_it_replaces_and_nothing_else_does() -> None:
    body = read(ask_certificate("BMS-000001", KEY, 7, name_old(OLD)))
    assert isinstance(body, CertificateAsked)
    assert body.old is not None
    issuer = x509.load_der_x509_certificate(OLD).issuer.public_bytes()
    assert (body.old.issuer, body.old.number) == (issuer, "7")
    with pytest.raises(MessageMalformed):
        read(ask_certificate("BMS-000001", KEY, 7))
    for number in (0, 2):
        with pytest.raises(MessageUnsupported):
            read(ask_certificate("BMS-000001", KEY, number, name_old(OLD)))


@pytest.mark.req("T19")
@pytest.mark.parametrize(
    ("body", "error"),
    [
        (tag(0, write_element(SEQUENCE)), MessageMalformed),
        (tag(0, write_element(SEQUENCE, *[write_certificate_message(
            write_template(name_serial("BMS-000001"), KEY), KEY)] * 2)), MessageMalformed),
        (tag(0, ZERO), MessageMalformed),
        (ask_certificate("bms-1", KEY), NameMalformed),
        (tag(0, write_element(SEQUENCE, write_certificate_message(
            write_template(name_serial("A", "B"), KEY), KEY))), NameMalformed),
        (tag(0, write_element(SEQUENCE, write_certificate_message(
            write_template(None, KEY), KEY))), RequestMalformed),
        (tag(4, make_est_request()), NameMalformed),
        (tag(4, ZERO), MessageMalformed),
        (tag(4, write_element(SEQUENCE, write_element(SEQUENCE, ZERO), SHA256, b"\x03\x01\0")), MessageMalformed),
        (ask_revocation(OLD, 6), ReasonUnknown),
        (ask_revocation(OLD, 8), ReasonUnknown),
        (ask_revocation(OLD, 255), ReasonUnknown),
        (tag(11, write_element(SEQUENCE, write_element(SEQUENCE, write_element(SEQUENCE)))), MessageUnsupported),
        (tag(11, write_element(SEQUENCE, write_element(SEQUENCE))), MessageMalformed),
        (tag(11, write_element(SEQUENCE, write_element(SEQUENCE, write_element(SEQUENCE,
            write_integer(7, 0x81), tag(5, b"\x30\0"))))), MessageUnsupported),
        (tag(24, write_element(SEQUENCE)), MessageMalformed),
        (tag(24, write_element(SEQUENCE, write_element(SEQUENCE, octets(b"x")))), MessageMalformed),
        (tag(24, write_element(SEQUENCE, write_element(SEQUENCE, octets(bytes(32)), ZERO,
            write_element(SEQUENCE, write_element(INTEGER, b"\0\0"))))), MessageMalformed),
        (tag(24, write_element(SEQUENCE, write_element(SEQUENCE, octets(bytes(31)), ZERO))), MessageMalformed),
        (tag(24, write_element(SEQUENCE, write_element(SEQUENCE, octets(bytes(9000)), ZERO))), MessageMalformed),
        (tag(21, write_element(SEQUENCE, write_element(SEQUENCE, write_element(6, b"\x2b" * 65)))), MessageMalformed),
        (tag(21, write_element(SEQUENCE)), MessageMalformed),
        (tag(21, write_element(SEQUENCE, write_element(SEQUENCE, ZERO))), MessageMalformed),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(body: bytes, error: type[Exception]) -> None:
    with pytest.raises(error):
        read(body)


def test_an_entry_has_one_reason() -> None:
    details = ask_revocation(OLD, 1)
    assert isinstance(read(details), RevocationAsked)
    other = details.replace(bytes.fromhex("0603551d15"), bytes.fromhex("0603551d18"))
    with pytest.raises(MessageMalformed):
        read(other)


def test_a_subject_names_one_device() -> None:
    assert name_device(name_serial("BMS-1").public_bytes()) == "BMS-1"
    with pytest.raises(NameMalformed):
        name_device(x509.Name([]).public_bytes())
    with pytest.raises(DerMalformed):
        name_device(b"\x31\0")
