"""To-be-signed certificates, read field by field (RFC 5280 section 4.1), without the library that builds them."""

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

import msgspec

from pki.x509.der import (
    BIT_STRING,
    BOOLEAN,
    INTEGER,
    OCTET_STRING,
    OID,
    SEQUENCE,
    SET,
    content,
    read_children,
    read_whole,
    tags,
    whole,
)
from pki.x509.errors import DerMalformed

UTC_TIME = 0x17
GENERALIZED_TIME = 0x18
_FIELDS = [0xA0, INTEGER, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, SEQUENCE, 0xA3]
_VERSION_3 = bytes.fromhex("a003020102")
_TRUE = bytes.fromhex("0101ff")


class Attribute(NamedTuple):
    """One attribute of a name: the content of its OID, the tag of its string, the string's octets."""

    oid: bytes
    tag: int
    value: bytes


class Extension(NamedTuple):
    """One extension: the content of its OID, whether it is critical, the DER inside its OCTET STRING."""

    oid: bytes
    critical: bool
    value: bytes


class Tbs(msgspec.Struct, frozen=True):
    """The fields of a TBSCertificate; all but the number in DER. `extensions` is the content of [3]."""

    serial_number: int
    algorithm: bytes
    issuer: bytes
    not_before: bytes
    not_after: bytes
    subject: bytes
    public_key: bytes
    extensions: bytes


def split_signed(der: bytes) -> tuple[bytes, bytes, bytes]:
    """What a certificate or a request consists of: the signed part and the algorithm, each with its DER header, and
    the signature. Raises DerMalformed, also when the signature claims unused bits, which nobody signs.
    """
    parts = read_children(der, read_whole(der, SEQUENCE), limit=3)
    if tags(parts) != [SEQUENCE, SEQUENCE, BIT_STRING]:
        raise DerMalformed("not a signed part, an algorithm and a signature")
    tbs, algorithm, signature = parts
    bits = content(der, signature)
    if bits[:1] != b"\0":
        raise DerMalformed("the signature is not whole octets")
    return whole(der, tbs), whole(der, algorithm), bits[1:]


def read_tbs(der: bytes) -> Tbs:
    """Read a version 3 TBSCertificate without unique identifiers. Raises DerMalformed."""
    fields = read_children(der, read_whole(der, SEQUENCE))
    if tags(fields) != _FIELDS:
        raise DerMalformed("the fields are not those of a version 3 certificate without unique identifiers")
    version, number, algorithm, issuer, validity, subject, key, extensions = fields
    if whole(der, version) != _VERSION_3:
        raise DerMalformed("the version is not 3")
    times = read_children(der, validity, limit=2)
    if len(times) != 2:
        raise DerMalformed("the validity is not two times")
    return Tbs(
        _read_integer(content(der, number)),
        whole(der, algorithm),
        whole(der, issuer),
        whole(der, times[0]),
        whole(der, times[1]),
        whole(der, subject),
        whole(der, key),
        content(der, extensions),
    )


@lru_cache(maxsize=256)
def read_time(der: bytes) -> datetime:
    """A time of a validity (RFC 5280 section 4.1.2.5): UTCTime through 2049, GeneralizedTime from 2050, in UTC.

    Raises DerMalformed, also for the other encoding than the year demands.
    """
    tag, digits = der[0], der[2:-1].decode("ascii", "replace")
    size = {UTC_TIME: 12, GENERALIZED_TIME: 14}.get(tag)
    if len(digits) != size or not digits.isdecimal() or der[-1:] != b"Z":
        raise DerMalformed("a time is not in the form YYMMDDHHMMSSZ or YYYYMMDDHHMMSSZ")
    if tag == UTC_TIME:
        digits = ("19" if digits >= "5" else "20") + digits
    elif digits < "2050":
        raise DerMalformed("a time before 2050 is not a UTCTime")
    try:
        month, day, hour, minute, second = (int(digits[i : i + 2]) for i in (4, 6, 8, 10, 12))
        return datetime(int(digits[:4]), month, day, hour, minute, second, tzinfo=UTC)
    except ValueError as error:
        raise DerMalformed(f"a time is no time: {error}") from error


def read_name(der: bytes) -> list[Attribute]:
    """The attributes of a Name whose RDNs are single-valued. Raises DerMalformed."""
    return [_read_rdn(whole(der, rdn)) for rdn in read_children(der, read_whole(der, SEQUENCE))]


def read_extensions(der: bytes) -> list[Extension]:
    """The extensions of a Tbs. Raises DerMalformed."""
    return [_read_extension(whole(der, item)) for item in read_children(der, read_whole(der, SEQUENCE))]


def _read_integer(octets: bytes) -> int:
    # X.690 section 8.3.2: the first nine bits are neither all zero nor all one.
    if not octets or (len(octets) > 1 and octets[0] in (0x00, 0xFF) and (octets[0] ^ octets[1]) < 0x80):
        raise DerMalformed("an INTEGER is not in its shortest form")
    return int.from_bytes(octets, "big", signed=True)


# Cached, because most RDNs and extensions are the same in all certificates of an issuer.
@lru_cache(maxsize=256)
def _read_rdn(der: bytes) -> Attribute:
    pairs = read_children(der, read_whole(der, SET))
    parts = read_children(der, pairs[0], limit=2) if tags(pairs) == [SEQUENCE] else []
    if len(parts) != 2 or parts[0][0] != OID:
        raise DerMalformed("a name has an RDN that is not one attribute")
    return Attribute(content(der, parts[0]), parts[1][0], content(der, parts[1]))


@lru_cache(maxsize=256)
def _read_extension(der: bytes) -> Extension:
    parts = read_children(der, read_whole(der, SEQUENCE), limit=3)
    # critical is DEFAULT FALSE: DER writes it only when it is true.
    critical = tags(parts) == [OID, BOOLEAN, OCTET_STRING]
    if not critical and tags(parts) != [OID, OCTET_STRING]:
        raise DerMalformed("an extension is not an OID, critical and octets")
    if critical and whole(der, parts[1]) != _TRUE:
        raise DerMalformed("an extension's critical is neither absent nor TRUE")
    return Extension(content(der, parts[0]), critical, content(der, parts[-1]))
