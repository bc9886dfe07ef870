"""A series: the certificates that one CA gives to devices of one organization and model. They differ in five places:
number, validity, key, key identifier, serial number; and in a sixth, the partition of the CRL, where there are CRLs.

The first certificate of a series is rehearsed with cryptography's builder; the others are spliced from its bytes. The
lints read every one of them, and a test compares them with what the builder makes.
"""

from datetime import datetime
from functools import lru_cache

import msgspec

from pki.x509.der import (
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    content,
    read_children,
    read_whole,
    whole,
    write_element,
    write_oid,
)
from pki.x509.errors import AssemblyFailed
from pki.x509.tbs import GENERALIZED_TIME, UTC_TIME, read_tbs
from pki.x509.terms import partition_of

FIRST_SERIAL = "0"
FIRST_NUMBER = 1 << 64
"""Serial number and certificate number of the rehearsal that `read_series` takes apart."""

_VERSION_3 = bytes.fromhex("a003020102")
_SERIAL_NUMBER = write_element(OID, bytes.fromhex("550405"))
_CRITICAL_NAMES = write_element(OID, bytes.fromhex("551d11")) + bytes.fromhex("0101ff")  # subjectAltName, critical
_HARDWARE_MODULE_NAME = write_oid("1.3.6.1.5.5.7.8.4")
_PRINTABLE = 0x13
_EXTENSIONS = 0xA3
_CRL = b".crl"


class Series(msgspec.Struct, frozen=True):
    """What the certificates share, in DER: algorithm, issuer, the names before the serial number, and the extensions
    on both sides of the subject key identifier's 20 bytes.

    hw_type: the OID of a hardwareModuleName, which follows the key identifier and has the serial number; empty when
    the subject has it. crl: what follows the partition, at the very end; empty when there is no CRL.
    """

    algorithm: bytes
    issuer: bytes
    names: bytes
    extensions: tuple[bytes, bytes]
    hw_type: bytes
    crl: bytes


def read_series(tbs: bytes, ski: bytes, hw_type: str = "", crl: bool = False) -> Series:
    """Take a rehearsed TBS with subject key identifier `ski` apart; see Series for the rest.

    Raises AssemblyFailed, DerMalformed.
    """
    parts = read_tbs(tbs)
    names = read_children(parts.subject, read_whole(parts.subject, SEQUENCE))
    before, found, after = parts.extensions.partition(ski)
    module = write_oid(hw_type) if hw_type else b""
    first = _write_module(module, FIRST_SERIAL) if module else b""
    end = partition_of(FIRST_NUMBER).encode() + _CRL if crl else b""
    if not found or ski in after or not after.startswith(first) or not after.endswith(b"/" * crl + end):
        raise AssemblyFailed("a rehearsal has no place of its own for key identifier, module name or partition")
    if bool(names) == bool(module) or (names and _SERIAL_NUMBER not in whole(parts.subject, names[-1])):
        raise AssemblyFailed("a rehearsal has no place of its own for the serial number")
    shared = b"".join(whole(parts.subject, name) for name in names[:-1])
    sequence = read_whole(parts.extensions, SEQUENCE)
    head = content(parts.extensions, sequence)
    offset = len(parts.extensions) - len(head)
    around = (before[offset:], after[len(first) : len(after) - len(end)])
    return Series(parts.algorithm, parts.issuer, shared, around, module, _CRL if crl else b"")


def splice_tbs(
    series: Series, serial: str, public_key: bytes, ski: bytes, terms: tuple[int, datetime, datetime]
) -> bytes:
    """The TBS of one certificate for a serial, SubjectPublicKeyInfo and key identifier.

    terms: certificate number, not before, not after.
    """
    number, start, end = terms
    names, module, partition = series.names, b"", b""
    if series.hw_type:
        module = _write_module(series.hw_type, serial)
    else:
        name = write_element(SEQUENCE, _SERIAL_NUMBER, write_element(_PRINTABLE, serial.encode("ascii")))
        names += write_element(SET, name)
    if series.crl:
        partition = partition_of(number).encode() + series.crl
    octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
    before, after = series.extensions
    return write_element(
        SEQUENCE,
        _VERSION_3,
        write_element(INTEGER, octets),
        series.algorithm,
        series.issuer,
        write_element(SEQUENCE, write_time(start), write_time(end)),
        write_element(SEQUENCE, names),
        public_key,
        write_element(_EXTENSIONS, write_element(SEQUENCE, before, ski, module, after, partition)),
    )


def _write_module(hw_type: bytes, serial: str) -> bytes:
    """The extension: a critical subjectAltName of one otherName, a hardwareModuleName (RFC 4108 section 5)."""
    module = write_element(SEQUENCE, hw_type, write_element(OCTET_STRING, serial.encode("ascii")))
    name = write_element(0xA0, _HARDWARE_MODULE_NAME, write_element(0xA0, module))
    return write_element(SEQUENCE, _CRITICAL_NAMES, write_element(OCTET_STRING, write_element(SEQUENCE, name)))


@lru_cache(maxsize=256)
def write_time(time: datetime) -> bytes:
    """RFC 5280 section 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050; UTC, whole seconds."""
    text = f"{time.year:04}{time.month:02}{time.day:02}{time.hour:02}{time.minute:02}{time.second:02}Z"
    if time.year < 2050:
        return write_element(UTC_TIME, text[2:].encode())
    return write_element(GENERALIZED_TIME, text.encode())
