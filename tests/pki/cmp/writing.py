"""Messages of CMP as a client writes them, right and wrong, with soft keys."""

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pki.signatures import spki_der
from pki.x509.der import BIT_STRING, INTEGER, OCTET_STRING, SEQUENCE, write_element, write_oid

TRANSACTION, NONCE = b"t" * 16, b"n" * 16
ECDSA_SHA256 = bytes.fromhex("300a06082a8648ce3d040302")
IMPLICIT = write_element(SEQUENCE, write_oid("1.3.6.1.5.5.7.4.13"), b"\x05\x00")
ZERO = write_element(INTEGER, b"\0")
NOBODY = write_element(0xA4, write_element(SEQUENCE))


class Sender(msgspec.Struct, frozen=True):
    """Who signs: a private key and its certificate (DER)."""

    key: ec.EllipticCurvePrivateKey
    certificate: bytes

    @property
    def parsed(self) -> x509.Certificate:
        """The certificate."""
        return x509.load_der_x509_certificate(self.certificate)


def tag(number: int, *parts: bytes) -> bytes:
    """An explicit context tag."""
    return write_element(0xA0 | number, *parts)


def octets(value: bytes) -> bytes:
    """An OCTET STRING."""
    return write_element(OCTET_STRING, value)


def write_header(sender: Sender | None, time: datetime | None, fields: Mapping[int, bytes | None] = {}) -> bytes:
    """A header; fields: those that differ, by their number, None to leave one out. -1 is the version, -2 the sender."""
    name, known = NOBODY, {4: octets(TRANSACTION), 5: octets(NONCE)}
    if time is not None:
        known[0] = write_element(0x18, f"{time:%Y%m%d%H%M%S}Z".encode())
    if sender is not None:
        parsed = sender.parsed
        name = write_element(0xA4, parsed.subject.public_bytes())
        ski = parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        known |= {1: ECDSA_SHA256, 2: octets(ski)}
    given: dict[int, Any] = {**known, **fields}
    version, name = given.pop(-1, b"\x02"), given.pop(-2, name)
    parts = [tag(number, given[number]) for number in sorted(given) if given[number] is not None]
    return write_element(SEQUENCE, write_element(INTEGER, version), name, NOBODY, *parts)


def write_message(
    sender: Sender | None, body: bytes, fields: Mapping[int, bytes | None] = {}, time: datetime | None = None
) -> bytes:
    """A message with this body, signed by its sender."""
    header = write_header(sender, time or datetime.now(UTC), fields)
    if sender is None:
        return write_element(SEQUENCE, header, body)
    signature = sender.key.sign(write_element(SEQUENCE, header, body), ec.ECDSA(hashes.SHA256()))
    protection = tag(0, write_element(BIT_STRING, b"\0", signature))
    return write_element(SEQUENCE, header, body, protection, tag(1, write_element(SEQUENCE, sender.certificate)))


def write_template(subject: x509.Name | None, key: ec.EllipticCurvePrivateKey, more: Mapping[int, bytes] = {}) -> bytes:
    """A CertTemplate; more: other fields, by number, with their tags."""
    fields = {6: b"\xa6" + spki_der(key.public_key())[1:], **more}
    if subject is not None:
        fields[5] = tag(5, subject.public_bytes())
    return write_element(SEQUENCE, *(fields[number] for number in sorted(fields)))


def write_certificate_message(
    template: bytes, key: ec.EllipticCurvePrivateKey, controls: bytes = b"", number: bytes = ZERO
) -> bytes:
    """A CertReqMsg, signed by its key."""
    request = write_element(SEQUENCE, number, template, controls)
    signature = key.sign(request, ec.ECDSA(hashes.SHA256()))
    return write_element(SEQUENCE, request, tag(1, ECDSA_SHA256, write_element(BIT_STRING, b"\0", signature)))


def name_serial(*serials: str) -> x509.Name:
    """A subject with these serial numbers."""
    return x509.Name([x509.NameAttribute(x509.NameOID.SERIAL_NUMBER, serial) for serial in serials])


def ask_certificate(
    serial: str, key: ec.EllipticCurvePrivateKey, number: int = 0, controls: bytes = b"", more: Mapping[int, bytes] = {}
) -> bytes:
    """The body of an ir (0), cr (2) or kur (7)."""
    message = write_certificate_message(write_template(name_serial(serial), key, more), key, controls)
    return tag(number, write_element(SEQUENCE, message))


def name_old(certificate: bytes) -> bytes:
    """The controls that name an old certificate (DER)."""
    parsed = x509.load_der_x509_certificate(certificate)
    issuer = write_element(0xA4, parsed.issuer.public_bytes())
    named = write_element(SEQUENCE, issuer, write_integer(parsed.serial_number))
    control = write_element(SEQUENCE, write_oid("1.3.6.1.5.5.7.5.1.5"), named)
    return write_element(SEQUENCE, control)


def write_integer(value: int, tag_octet: int = INTEGER) -> bytes:
    """A positive INTEGER."""
    return write_element(tag_octet, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def ask_revocation(certificate: bytes, reason: int | None = 1) -> bytes:
    """The body of an rr for a certificate (DER)."""
    parsed = x509.load_der_x509_certificate(certificate)
    template = write_element(SEQUENCE, write_integer(parsed.serial_number, 0x81), tag(3, parsed.issuer.public_bytes()))
    entry = b""
    if reason is not None:
        value = octets(write_element(0x0A, bytes((reason,))))
        entry = write_element(SEQUENCE, write_element(SEQUENCE, write_oid("2.5.29.21"), value))
    return tag(11, write_element(SEQUENCE, write_element(SEQUENCE, template, entry)))


def acknowledge(certificate: bytes, status: int | None = None) -> bytes:
    """The body of a certConf for a certificate (DER)."""
    said = b"" if status is None else write_element(SEQUENCE, write_element(INTEGER, bytes((status,))))
    digest = octets(hashlib.sha256(certificate).digest())
    return tag(24, write_element(SEQUENCE, write_element(SEQUENCE, digest, ZERO, said)))


def ask_information(oid: str, value: bytes = b"") -> bytes:
    """The body of a genm."""
    return tag(21, write_element(SEQUENCE, write_element(SEQUENCE, write_oid(oid), value)))


def make_sender(key: ec.EllipticCurvePrivateKey | None = None, name: str = "station") -> Sender:
    """A sender with a certificate by a CA that is nobody's."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "nobody")])
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    builder = builder.serial_number(7).not_valid_before(datetime(2026, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2046, 1, 1, tzinfo=UTC))
    ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    authority = ec.generate_private_key(ec.SECP256R1())
    certificate = builder.add_extension(ski, critical=False).sign(authority, hashes.SHA256())
    return Sender(key, certificate.public_bytes(Encoding.DER))


def make_cmp_message() -> bytes:
    """A well-formed message of nobody whom the keyroom knows."""
    return write_message(make_sender(), ask_information("1.3.6.1.5.5.7.4.17"))
