"""Messages of CMP (PKIMessage, RFC 9810 section 5.1): header, body and protection, read strictly from DER.

Nothing nests deeper than the reader descends, lengths are definite and shortest, and what is signed are the very bytes
that came: nothing is decoded and encoded again.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType

import msgspec

from pki.cmp.errors import MessageMalformed, MessageUnsupported
from pki.x509.der import (
    BIT_STRING,
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
    write_element,
    write_oid,
)
from pki.x509.errors import DerMalformed
from pki.x509.tbs import GENERALIZED_TIME

LIMIT = 1 << 15
"""Bytes of a message: a request of 16 KiB, certificates, and room."""
CERTIFICATES = 8
SHORTEST, LONGEST = 16, 64
"""Octets of transaction identifiers and nonces; the profile has 16 (RFC 9483 section 3.1)."""
DIRECTORY_NAME = 0xA4
IMPLICIT_CONFIRM = write_oid("1.3.6.1.5.5.7.4.13")  # RFC 9810 section 5.1.1.1

KINDS: Mapping[int, str] = MappingProxyType(
    {0: "ir", 2: "cr", 4: "p10cr", 7: "kur", 11: "rr", 21: "genm", 24: "certConf"}
)
"""Bodies that are read (RFC 9810 section 5.1.2)."""
_VERSIONS: Mapping[bytes, int] = MappingProxyType({b"\x02": 2, b"\x03": 3})
_TIME, _ALGORITHM, _KEY, _TRANSACTION, _NONCE, _ANSWERED, _INFO = 0xA0, 0xA1, 0xA2, 0xA4, 0xA5, 0xA6, 0xA8
_FIELDS = MappingProxyType(
    {
        _TIME: GENERALIZED_TIME,
        _ALGORITHM: SEQUENCE,
        _KEY: OCTET_STRING,
        0xA3: OCTET_STRING,
        _TRANSACTION: OCTET_STRING,
        _NONCE: OCTET_STRING,
        _ANSWERED: OCTET_STRING,
        0xA7: SEQUENCE,
        _INFO: SEQUENCE,
    }
)


class Header(msgspec.Struct, frozen=True):
    """A PKIHeader. sender: a GeneralName in DER. algorithm: DER, empty without protection. key: senderKID.

    time: seconds since 1970, -1 when it is not told. answered: recipNonce. implicit: no confirmation is wanted.
    """

    version: int
    sender: bytes
    time: int
    algorithm: bytes
    key: bytes
    transaction: bytes
    nonce: bytes
    answered: bytes
    implicit: bool


class Message(msgspec.Struct, frozen=True):
    """A PKIMessage. kind: `ir`, ...; body: the value inside its tag, DER. signed: ProtectedPart, DER (section 5.1.3).

    protection: the signature; empty when there is none. certificates: extraCerts, DER.
    """

    header: Header
    kind: str
    body: bytes
    signed: bytes
    protection: bytes
    certificates: tuple[bytes, ...]


def parse_message(der: bytes) -> Message:
    """Read a message of at most 32 KiB. Raises MessageMalformed; MessageUnsupported for another version or body."""
    if len(der) > LIMIT:
        raise MessageMalformed(f"the message has {len(der)} bytes", hint=f"at most {LIMIT} are read")
    try:
        return _parse(der)
    except DerMalformed as error:
        raise MessageMalformed(f"not a PKIMessage: {error.message}", hint="send DER (RFC 9810)") from error


def parse_header(der: bytes) -> Header:
    """The header of a message, whose rest may be anything. Raises what `parse_message` raises of it."""
    if len(der) > LIMIT:
        raise MessageMalformed(f"the message has {len(der)} bytes", hint=f"at most {LIMIT} are read")
    try:
        parts = read_children(der, read_whole(der, SEQUENCE), limit=4)
        if tags(parts[:1]) != [SEQUENCE]:
            raise DerMalformed("it does not begin with a header")
        return _read_header(der, parts[0])
    except DerMalformed as error:
        raise MessageMalformed(f"not a PKIMessage: {error.message}", hint="send DER (RFC 9810)") from error


def _parse(der: bytes) -> Message:
    parts = read_children(der, read_whole(der, SEQUENCE), limit=4)
    rest = tags(parts[2:])
    if len(parts) < 2 or parts[0][0] != SEQUENCE or rest not in ([], [0xA0], [0xA1], [0xA0, 0xA1]):
        raise DerMalformed("not a header, a body, protection and certificates")
    found = {item[0]: item for item in parts[2:]}
    header = _read_header(der, parts[0])
    kind = KINDS.get(parts[1][0] - 0xA0)
    if kind is None:
        raise MessageUnsupported(f"a body with the tag 0x{parts[1][0]:02x} is not answered")
    return Message(
        header,
        kind,
        _read_only(der, parts[1]),
        write_element(SEQUENCE, whole(der, parts[0]), whole(der, parts[1])),
        _read_protection(der, found[0xA0]) if 0xA0 in found else b"",
        _read_certificates(der, found[0xA1]) if 0xA1 in found else (),
    )


def _read_only(der: bytes, element: Element) -> bytes:
    """The one value inside an explicit tag, with its header."""
    inner = read_children(der, element, limit=1)
    if not inner:
        raise DerMalformed("an explicit tag is empty")
    return whole(der, inner[0])


def _read_header(der: bytes, element: Element) -> Header:
    fields = read_children(der, element)
    optional = tags(fields[3:])
    if len(fields) < 3 or fields[0][0] != INTEGER or not set(optional) <= set(_FIELDS):
        raise DerMalformed("a header is a version, two names, and known fields")
    if optional != sorted(set(optional)):
        raise DerMalformed("the header's fields are not in order")
    version = _VERSIONS.get(content(der, fields[0]))
    if version is None:
        raise MessageUnsupported("neither version 2 nor 3 of CMP", hint="send version 2 (cmp2000)")
    values = {item[0]: _read_field(der, item) for item in fields[3:]}
    for name in (_TRANSACTION, _NONCE):
        if not SHORTEST <= len(values.get(name, b"")) <= LONGEST:
            raise DerMalformed("the header lacks a transaction identifier or a nonce of 16 to 64 octets")
    if len(values.get(_ANSWERED, b"")) > LONGEST:
        raise DerMalformed("a nonce is over 64 octets")
    return Header(
        version,
        whole(der, fields[1]),
        _read_time(values[_TIME]) if _TIME in values else -1,
        values.get(_ALGORITHM, b""),
        values.get(_KEY, b""),
        values[_TRANSACTION],
        values[_NONCE],
        values.get(_ANSWERED, b""),
        _wants_no_confirmation(values[_INFO]) if _INFO in values else False,
    )


def _read_field(der: bytes, field: Element) -> bytes:
    """An optional field: the content of octets and times, a SEQUENCE in DER."""
    value, expected = _read_only(der, field), _FIELDS[field[0]]
    element = read_whole(value, expected)
    return value if expected == SEQUENCE else content(value, element)


def _read_time(digits: bytes) -> int:
    text = digits[:-1].decode("ascii", "replace")
    if len(text) != 14 or not text.isdecimal() or digits[-1:] != b"Z":
        raise DerMalformed("the time is not in the form YYYYMMDDHHMMSSZ")
    try:
        month, day, hour, minute, second = (int(text[at : at + 2]) for at in (4, 6, 8, 10, 12))
        return int(datetime(int(text[:4]), month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError as error:
        raise DerMalformed(f"the time is no time: {error}") from error


def _wants_no_confirmation(info: bytes) -> bool:
    """Whether implicitConfirm is among generalInfo; what else is there only suggests."""
    found = False
    for item in read_children(info, read_whole(info, SEQUENCE), limit=8):
        pair = read_children(info, item, limit=2)
        if item[0] != SEQUENCE or not pair or pair[0][0] != OID:
            raise DerMalformed("generalInfo is not a list of types and values")
        found |= whole(info, pair[0]) == IMPLICIT_CONFIRM
    return found


def _read_protection(der: bytes, element: Element) -> bytes:
    value = _read_only(der, element)
    bits = content(value, read_whole(value, BIT_STRING))
    if bits[:1] != b"\0" or len(bits) < 2:
        raise DerMalformed("the protection is not whole octets")
    return bits[1:]


def _read_certificates(der: bytes, element: Element) -> tuple[bytes, ...]:
    value = _read_only(der, element)
    items = read_children(value, read_whole(value, SEQUENCE), limit=CERTIFICATES)
    return tuple(whole(value, item) for item in items)
