"""Online certificate status (OCSP, RFC 6960): strict requests for one certificate, and responses to be signed.

cryptography's builder reads the clock, so the response is written here, and read back with cryptography before it
leaves. The nonce is echoed (RFC 9654). Times are in whole seconds, UTC.
"""

import hashlib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec
from cryptography.x509 import ocsp

from pki.signatures import raw_to_der
from pki.x509.der import (
    BIT_STRING,
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
    write_element,
    write_oid,
)
from pki.x509.errors import AssemblyFailed, DerMalformed, StatusRequestMalformed
from pki.x509.lint import IssuerFacts
from pki.x509.pem import read_pem
from pki.x509.reasons import UNSPECIFIED, read_reason
from pki.x509.tbs import GENERALIZED_TIME, read_extensions

LIMIT = 1024
"""Bytes of a request: one certificate, a nonce, and room."""
NONCE_LIMIT = 128

MALFORMED, TRY_LATER, UNAUTHORIZED = 1, 3, 6
"""Answers without a signature (RFC 6960 section 4.2.1)."""

_BASIC = write_oid("1.3.6.1.5.5.7.48.1.1")
_NONCE = write_oid("1.3.6.1.5.5.7.48.1.2")
_NONCE_NAME = content(_NONCE, read_whole(_NONCE, OID))
_FIELDS = (0xA0, 0xA1, SEQUENCE, 0xA2)
"""Version, who asks, the list of requests, extensions (RFC 6960 section 4.1.1)."""
_HASHES: Mapping[bytes, Callable[[bytes], bytes]] = {
    write_oid("1.3.14.3.2.26"): lambda data: hashlib.sha1(data, usedforsecurity=False).digest(),
    write_oid("2.16.840.1.101.3.4.2.1"): lambda data: hashlib.sha256(data).digest(),
    write_oid("2.16.840.1.101.3.4.2.2"): lambda data: hashlib.sha384(data).digest(),
    write_oid("2.16.840.1.101.3.4.2.3"): lambda data: hashlib.sha512(data).digest(),
}
"""Hashes that name an issuer. They protect nothing: the number is looked up among what that issuer issued."""


class StatusRequest(msgspec.Struct, frozen=True):
    """A question about one certificate. `certificate_id` is the CertID in DER, which the answer repeats; `hash_oid` is
    DER, too. `nonce`: 0 to 128 bytes.
    """

    certificate_id: bytes
    hash_oid: bytes
    issuer_name: bytes
    issuer_key: bytes
    number: int
    nonce: bytes = b""

    def is_about(self, issuer: IssuerFacts) -> bool:
        """Whether a CA is the issuer that the request means."""
        point = issuer.public_key[26 if len(issuer.public_key) == 91 else 23 :]
        digest = _HASHES[self.hash_oid]
        return (digest(issuer.subject), digest(point)) == (self.issuer_name, self.issuer_key)


class Status(msgspec.Struct, frozen=True):
    """`good`, `revoked` (with seconds since 1970 and a reason of `pki.x509.reasons`), or `unknown`."""

    state: str
    revoked_at: int = 0
    reason: str = UNSPECIFIED


class Span(msgspec.Struct, frozen=True):
    """When an answer was made, which is its thisUpdate, too, and until when it may be used."""

    made: datetime
    until: datetime


def parse_status_request(der: bytes) -> StatusRequest:
    """Read a request (RFC 6960 section 4.1.1): version 1, one certificate, no extension but a nonce.

    A signature or a name of who asks is skipped: anybody may ask. Raises StatusRequestMalformed.
    """
    try:
        return _parse(der)
    except DerMalformed as error:
        raise StatusRequestMalformed(f"not an OCSP request: {error.message}") from error


def write_response(request: StatusRequest, status: Status, span: Span, responder: bytes) -> bytes:
    """The ResponseData to be signed (RFC 6960 section 4.2.1). responder: DER of its certificate's subject."""
    made, until = _write_time(span.made), _write_time(span.until)
    single = write_element(SEQUENCE, request.certificate_id, _write_status(status), made, write_element(0xA0, until))
    extensions = b""
    if request.nonce:
        value = write_element(OCTET_STRING, write_element(OCTET_STRING, request.nonce))
        extensions = write_element(0xA1, write_element(SEQUENCE, write_element(SEQUENCE, _NONCE, value)))
    return write_element(SEQUENCE, write_element(0xA1, responder), made, write_element(SEQUENCE, single), extensions)


def assemble_response(tbs: bytes, algorithm: bytes, raw: bytes, certificate: bytes) -> bytes:
    """Join ResponseData, the DER of its algorithm, a raw signature and the responder's certificate (PEM); DER.

    Raises AssemblyFailed unless cryptography reads the same back.
    """
    signature = raw_to_der(raw)
    responder = write_element(0xA0, write_element(SEQUENCE, read_pem(certificate, "CERTIFICATE")))
    basic = write_element(SEQUENCE, tbs, algorithm, write_element(BIT_STRING, b"\0", signature), responder)
    body = write_element(SEQUENCE, _BASIC, write_element(OCTET_STRING, basic))
    der = write_element(SEQUENCE, write_element(ENUMERATED, b"\0"), write_element(0xA0, body))
    try:
        read = ocsp.load_der_ocsp_response(der)
        same = (read.tbs_response_bytes, read.signature) == (tbs, signature) and len(list(read.responses)) == 1
    except ValueError as error:
        raise AssemblyFailed(f"the finished OCSP response does not parse: {error}") from error
    if not same:
        raise AssemblyFailed("the finished OCSP response is not the one that was signed")
    return der


def write_error(code: int) -> bytes:
    """An answer that says why there is none; it has no signature."""
    return write_element(SEQUENCE, write_element(ENUMERATED, bytes((code,))))


def _parse(der: bytes) -> StatusRequest:
    if len(der) > LIMIT:
        raise DerMalformed(f"{len(der)} bytes, {LIMIT} are read")
    outer = read_children(der, read_whole(der, SEQUENCE), limit=2)
    if tags(outer) not in ([SEQUENCE], [SEQUENCE, 0xA0]):
        raise DerMalformed("not a request and perhaps a signature")
    parts = read_children(der, outer[0], limit=4)
    fields = {element[0]: element for element in parts}
    if tags(parts) != [tag for tag in _FIELDS if tag in fields] or SEQUENCE not in fields:
        raise DerMalformed("the fields are not those of a request, in order and once each")
    if 0xA0 in fields and content(der, fields[0xA0]) != b"\x02\x01\x00":
        raise DerMalformed("the version is not 1")
    requests = read_children(der, fields[SEQUENCE], limit=1)
    if tags(requests) != [SEQUENCE]:
        raise DerMalformed("not one certificate is asked for")
    single = read_children(der, requests[0], limit=2)
    if tags(single) not in ([SEQUENCE], [SEQUENCE, 0xA0]):
        raise DerMalformed("a request is not a CertID and perhaps extensions")
    if len(single) == 2:
        _refuse_critical(content(der, single[1]))
    nonce = _read_nonce(content(der, fields[0xA2])) if 0xA2 in fields else b""
    return _read_id(der, single[0], nonce)


def _read_id(der: bytes, element: Element, nonce: bytes) -> StatusRequest:
    parts = read_children(der, element, limit=4)
    if tags(parts) != [SEQUENCE, OCTET_STRING, OCTET_STRING, INTEGER]:
        raise DerMalformed("a CertID is not an algorithm, two hashes and a number")
    algorithm = read_children(der, parts[0], limit=2)
    hash_oid = whole(der, algorithm[0]) if tags(algorithm) in ([OID], [OID, 0x05]) else b""
    if hash_oid not in _HASHES:
        raise DerMalformed("the hash is none of SHA-1, SHA-256, SHA-384, SHA-512")
    octets = content(der, parts[3])
    if not 1 <= len(octets) <= 21:
        raise DerMalformed("the number has no octet, or over 20")
    number = int.from_bytes(octets, "big", signed=True)
    name, key = content(der, parts[1]), content(der, parts[2])
    return StatusRequest(whole(der, element), hash_oid, name, key, number, nonce)


def _read_nonce(extensions: bytes) -> bytes:
    """1 to 128 bytes in an OCTET STRING (RFC 9654 section 2.1); none when there is no nonce."""
    _refuse_critical(extensions, but=_NONCE_NAME)
    for item in read_extensions(extensions):
        if item.oid == _NONCE_NAME:
            nonce = content(item.value, read_whole(item.value, OCTET_STRING))
            if not 1 <= len(nonce) <= NONCE_LIMIT:
                raise DerMalformed(f"a nonce of {len(nonce)} bytes")
            return nonce
    return b""


def _refuse_critical(extensions: bytes, but: bytes = b"") -> None:
    if any(item.critical and item.oid != but for item in read_extensions(extensions)):
        raise DerMalformed("a critical extension is not understood")


def _write_status(status: Status) -> bytes:
    if status.state == "good":
        return b"\x80\x00"
    if status.state == "unknown":
        return b"\x82\x00"
    reason = b""
    if status.reason != UNSPECIFIED:
        reason = write_element(0xA0, write_element(ENUMERATED, bytes((read_reason(status.reason),))))
    return write_element(0xA1, _write_time(datetime.fromtimestamp(status.revoked_at, UTC)), reason)


def _write_time(time: datetime) -> bytes:
    text = f"{time.year:04}{time.month:02}{time.day:02}{time.hour:02}{time.minute:02}{time.second:02}Z"
    return write_element(GENERALIZED_TIME, text.encode("ascii"))
