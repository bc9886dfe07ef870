"""What the bodies of messages ask for (RFC 9810 section 5.3), one thing a message as the lightweight profile has it."""

from collections.abc import Callable

import msgspec

from pki.cmp.errors import MessageMalformed, MessageUnsupported
from pki.cmp.messages import Message
from pki.names import read_serial_number
from pki.x509.crmf import CertificateName, read_certificate_message, read_number
from pki.x509.der import (
    ENUMERATED,
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    Element,
    content,
    read_children,
    read_whole,
    tags,
    whole,
)
from pki.x509.errors import DerMalformed, ReasonUnknown
from pki.x509.reasons import REASONS, UNSPECIFIED
from pki.x509.rules import SERIAL_NUMBER
from pki.x509.tbs import read_extensions, read_name, split_signed

_REASON = bytes.fromhex("551d15")  # id-ce-cRLReasons, RFC 5280 section 5.3.1
_ACCEPTED = (0, 1)
"""accepted, grantedWithMods (RFC 9810 section 5.2.3)."""
_SHA256 = bytes.fromhex("300b0609608648016503040201")
_SHA256_NULL = bytes.fromhex("300d06096086480165030402010500")
_NUMBER, _ISSUER = 0x81, 0xA3
_LONGEST_OID = 64


class CertificateAsked(msgspec.Struct, frozen=True):
    """A certificate for a device. request: PKCS #10, or with form `crmf` a CertReqMsg, DER; subject: its own, DER.

    serial: the device that the subject names. old: the certificate to be replaced.
    """

    request: bytes
    form: str
    serial: str
    subject: bytes
    old: CertificateName | None = None


class RevocationAsked(msgspec.Struct, frozen=True):
    """A certificate to be revoked, for a reason of `pki.x509.reasons`."""

    name: CertificateName
    reason: str


class Acknowledged(msgspec.Struct, frozen=True):
    """What became of a certificate that was handed out: the SHA-256 of its DER, and whether it was accepted."""

    sha256: bytes
    accepted: bool


class Question(msgspec.Struct, frozen=True):
    """A general message: infoType (OID, DER) and its value (DER, or empty)."""

    kind: bytes
    value: bytes


Body = CertificateAsked | RevocationAsked | Acknowledged | Question


def read_body(message: Message) -> Body:
    """Read the body of a message. The signature in a certificate request is not verified here.

    Raises MessageMalformed, MessageUnsupported, and what `read_certificate_message` and `read_serial_number` raise.
    """
    readers: dict[str, Callable[[bytes], Body]] = {
        "ir": _read_request,
        "cr": _read_request,
        "kur": _read_update,
        "p10cr": _read_pkcs10,
        "rr": _read_revocation,
        "certConf": _read_acknowledgement,
        "genm": _read_question,
    }
    try:
        return readers[message.kind](message.body)
    except DerMalformed as error:
        raise MessageMalformed(f"the body is not one {message.kind}: {error.message}") from error


def name_device(subject: bytes) -> str:
    """The serialNumber (2.5.4.5) of a subject (DER), which says which device a request is for; the rest is not read.

    Raises NameMalformed, DerMalformed.
    """
    found = [item.value for item in read_name(subject) if item.oid == SERIAL_NUMBER]
    return read_serial_number(found[0].decode("ascii", "replace") if len(found) == 1 else "")


def _read_single(body: bytes) -> tuple[bytes, Element]:
    """The one element of a list."""
    items = read_children(body, read_whole(body, SEQUENCE), limit=1)
    if tags(items) != [SEQUENCE]:
        raise DerMalformed("not a list of one")
    return body, items[0]


def _read_request(body: bytes) -> CertificateAsked:
    der = whole(*_read_single(body))
    message = read_certificate_message(der)
    if message.old is not None:
        raise MessageUnsupported("only a key update names an old certificate")
    return CertificateAsked(der, "crmf", name_device(message.subject), message.subject)


def _read_update(body: bytes) -> CertificateAsked:
    der = whole(*_read_single(body))
    message = read_certificate_message(der)
    if message.old is None:
        raise MessageMalformed("a key update names no old certificate", hint="send the control oldCertID")
    return CertificateAsked(der, "crmf", name_device(message.subject), message.subject, message.old)


def _read_pkcs10(body: bytes) -> CertificateAsked:
    information = split_signed(body)[0]
    fields = read_children(information, read_whole(information, SEQUENCE), limit=4)
    if tags(fields[:2]) != [INTEGER, SEQUENCE]:
        raise DerMalformed("not a certification request")
    subject = whole(information, fields[1])
    return CertificateAsked(body, "", name_device(subject), subject)


def _read_revocation(body: bytes) -> RevocationAsked:
    _, details = _read_single(body)
    parts = read_children(body, details, limit=2)
    if tags(parts) not in ([SEQUENCE], [SEQUENCE, SEQUENCE]):
        raise DerMalformed("not the details of a certificate and of its entry")
    fields = read_children(body, parts[0])
    if tags(fields) != [_NUMBER, _ISSUER]:
        raise MessageUnsupported("a revocation names a certificate by its number and its issuer, and by nothing else")
    name = CertificateName(content(body, fields[1]), read_number(content(body, fields[0])))
    return RevocationAsked(name, _read_reason(whole(body, parts[1])) if len(parts) == 2 else UNSPECIFIED)


def _read_reason(extensions: bytes) -> str:
    found = read_extensions(extensions)
    if [item.oid for item in found] != [_REASON]:
        raise DerMalformed("the entry's extensions are not one reason")
    number = content(found[0].value, read_whole(found[0].value, ENUMERATED))
    for name, value in REASONS.items():
        if number == bytes((value,)):
            return name
    raise ReasonUnknown("the reason is none that a certificate is revoked for here", hint=", ".join(REASONS))


def _read_acknowledgement(body: bytes) -> Acknowledged:
    _, status = _read_single(body)
    parts = read_children(body, status, limit=4)
    if tags(parts[:2]) != [OCTET_STRING, INTEGER] or tags(parts[2:]) not in ([], [SEQUENCE], [0xA0], [SEQUENCE, 0xA0]):
        raise DerMalformed("not a hash, an id and a status")
    if len(content(body, parts[0])) != 32:
        raise DerMalformed("not a hash of 32 octets")
    rest = {item[0]: item for item in parts[2:]}
    if 0xA0 in rest and content(body, rest[0xA0]) not in (_SHA256, _SHA256_NULL):
        raise MessageUnsupported("the certificate is not hashed with SHA-256")
    accepted = SEQUENCE not in rest or _read_status(body, rest[SEQUENCE]) in _ACCEPTED
    return Acknowledged(content(body, parts[0]), accepted)


def _read_status(body: bytes, element: Element) -> int:
    fields = read_children(body, element, limit=3)
    if tags(fields[:1]) != [INTEGER] or len(content(body, fields[0])) != 1:
        raise DerMalformed("a status is not a number")
    return content(body, fields[0])[0]


def _read_question(body: bytes) -> Question:
    _, item = _read_single(body)
    parts = read_children(body, item, limit=2)
    if not parts or parts[0][0] != OID or len(content(body, parts[0])) > _LONGEST_OID:
        raise DerMalformed("not a type and a value")
    return Question(whole(body, parts[0]), whole(body, parts[1]) if len(parts) == 2 else b"")
