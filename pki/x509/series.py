"""A series: the certificates that one CA gives to devices of one organization and model. They differ in five places.

The first certificate of a series is rehearsed with cryptography's builder; the others are spliced from its bytes. The
lints read every one of them, and a test compares them with what the builder makes.
"""

from datetime import datetime
from functools import lru_cache

import msgspec

from pki.x509.der import INTEGER, OID, SEQUENCE, SET, content, read_children, read_whole, whole, write_element
from pki.x509.errors import AssemblyFailed
from pki.x509.tbs import GENERALIZED_TIME, UTC_TIME, read_tbs

_VERSION_3 = bytes.fromhex("a003020102")
_SERIAL_NUMBER = write_element(OID, bytes.fromhex("550405"))
_PRINTABLE = 0x13
_EXTENSIONS = 0xA3


class Series(msgspec.Struct, frozen=True):
    """What the certificates share, in DER: algorithm, issuer, the names before the serial number, and the extensions
    on both sides of the subject key identifier's 20 bytes.
    """

    algorithm: bytes
    issuer: bytes
    names: bytes
    extensions: tuple[bytes, bytes]


def read_series(tbs: bytes, ski: bytes) -> Series:
    """Take a rehearsed TBS with subject key identifier `ski` apart. Raises AssemblyFailed, DerMalformed."""
    parts = read_tbs(tbs)
    names = read_children(parts.subject, read_whole(parts.subject, SEQUENCE))
    before, found, after = parts.extensions.partition(ski)
    if not found or ski in after or _SERIAL_NUMBER not in whole(parts.subject, names[-1]):
        raise AssemblyFailed("a rehearsal has no place of its own for serial number and key identifier")
    shared = b"".join(whole(parts.subject, name) for name in names[:-1])
    sequence = read_whole(parts.extensions, SEQUENCE)
    head = content(parts.extensions, sequence)
    offset = len(parts.extensions) - len(head)
    return Series(parts.algorithm, parts.issuer, shared, (before[offset:], after))


def splice_tbs(
    series: Series, serial: str, public_key: bytes, ski: bytes, terms: tuple[int, datetime, datetime]
) -> bytes:
    """The TBS of one certificate for a serial, SubjectPublicKeyInfo and key identifier.

    terms: certificate number, not before, not after.
    """
    number, start, end = terms
    name = write_element(SEQUENCE, _SERIAL_NUMBER, write_element(_PRINTABLE, serial.encode("ascii")))
    octets = number.to_bytes(number.bit_length() // 8 + 1, "big")
    before, after = series.extensions
    return write_element(
        SEQUENCE,
        _VERSION_3,
        write_element(INTEGER, octets),
        series.algorithm,
        series.issuer,
        write_element(SEQUENCE, write_time(start), write_time(end)),
        write_element(SEQUENCE, series.names, write_element(SET, name)),
        public_key,
        write_element(_EXTENSIONS, write_element(SEQUENCE, before, ski, after)),
    )


@lru_cache(maxsize=256)
def write_time(time: datetime) -> bytes:
    """RFC 5280 section 4.1.2.5: UTCTime through 2049, GeneralizedTime from 2050; UTC, whole seconds."""
    text = f"{time.year:04}{time.month:02}{time.day:02}{time.hour:02}{time.minute:02}{time.second:02}Z"
    if time.year < 2050:
        return write_element(UTC_TIME, text[2:].encode())
    return write_element(GENERALIZED_TIME, text.encode())
