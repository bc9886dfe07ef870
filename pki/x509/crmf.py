"""Certificate request messages (CRMF, RFC 4211) as CMP carries them: strict DER, one signature as proof of possession.

Of a template only what RFC 9483 section 4.1.1 has is read. Its key and its extensions are then held against the
profile as those of a PKCS #10 request are: they are put into the form of one, and read by the same code.
"""

import msgspec

from pki.x509.der import (
    BIT_STRING,
    INTEGER,
    OID,
    SEQUENCE,
    SET,
    Element,
    content,
    read_children,
    read_whole,
    tags,
    whole,
    write_element,
    write_oid,
)
from pki.x509.errors import DerMalformed, ProofOfPossessionFailed, RequestMalformed, RequestTooLarge
from pki.x509.requests import ParsedRequest, parse_request

LIMIT = 16384
_ISSUER, _VALIDITY, _SUBJECT, _PUBLIC_KEY, _EXTENSIONS = 0xA3, 0xA4, 0xA5, 0xA6, 0xA9
_FIELDS = (_ISSUER, _VALIDITY, _SUBJECT, _PUBLIC_KEY, _EXTENSIONS)
"""What a template may have. Issuer and validity suggest: the profile decides."""
_SIGNATURE = 0xA1
_OLD_CERTIFICATE = write_oid("1.3.6.1.5.5.7.5.1.5")  # id-regCtrl-oldCertID, RFC 4211 section 6.5
_EXTENSION_REQUEST = write_oid("1.2.840.113549.1.9.14")  # RFC 2985 section 5.4.2
_NO_SIGNATURE = bytes.fromhex("300a06082a8648ce3d040302" + "030100")
_VERSION_1 = bytes.fromhex("020100")


class CertificateName(msgspec.Struct, frozen=True):
    """A certificate by its issuer's name (DER) and its number, in lowercase hex."""

    issuer: bytes
    number: str


class CertificateMessage(msgspec.Struct, frozen=True):
    """A CertReqMsg. subject, public_key: DER; extensions: DER, empty when there are none.

    old: the certificate that the new one replaces. parts: what is signed, the algorithm and the signature.
    """

    subject: bytes
    public_key: bytes
    extensions: bytes
    old: CertificateName | None
    parts: tuple[bytes, bytes, bytes]


def parse_certificate_message(data: bytes, *, limit: int = LIMIT) -> ParsedRequest:
    """Read a CertReqMsg as `pki.x509.requests.parse_request` reads a request; `prove_possession` verifies it.

    Raises RequestTooLarge, RequestMalformed, KeyRefused, ProofOfPossessionFailed when it is not signed.
    """
    message = read_certificate_message(data, limit=limit)
    attributes = b""
    if message.extensions:
        attributes = write_element(SEQUENCE, _EXTENSION_REQUEST, write_element(SET, message.extensions))
    body = write_element(SEQUENCE, _VERSION_1, message.subject, message.public_key, write_element(0xA0, attributes))
    parsed = parse_request(write_element(SEQUENCE, body, _NO_SIGNATURE), limit=2 * limit)
    request = msgspec.structs.replace(parsed.request, der=data)
    return msgspec.structs.replace(parsed, request=request, parts=message.parts)


def read_certificate_message(data: bytes, *, limit: int = LIMIT) -> CertificateMessage:
    """Read a CertReqMsg (RFC 4211 section 3) of at most `limit` bytes with certReqId 0, a subject and a key.

    Raises RequestTooLarge, RequestMalformed, ProofOfPossessionFailed when it is not signed (section 4.1).
    """
    if len(data) > limit:
        raise RequestTooLarge(f"the request has {len(data)} bytes", hint=f"at most {limit} are read")
    try:
        return _read(data)
    except DerMalformed as error:
        raise RequestMalformed(f"not a certificate request message: {error.message}") from error


def _read(data: bytes) -> CertificateMessage:
    parts = read_children(data, read_whole(data, SEQUENCE), limit=3)
    if not parts or parts[0][0] != SEQUENCE:
        raise DerMalformed("it has no request")
    request = read_children(data, parts[0], limit=3)
    if tags(request[:2]) != [INTEGER, SEQUENCE] or content(data, request[0]) != b"\0":
        raise DerMalformed("it is not one request with the id 0 and a template")
    fields = read_children(data, request[1])
    template = {item[0]: item for item in fields}
    if not template.keys() <= set(_FIELDS) or tags(fields) != sorted(template):
        raise DerMalformed("the template has a field that is not understood, or fields out of order")
    if not template.keys() >= {_SUBJECT, _PUBLIC_KEY}:
        raise DerMalformed("the template lacks the subject or the key")
    extensions = template.get(_EXTENSIONS)
    subject = content(data, template[_SUBJECT])
    read_whole(subject, SEQUENCE)
    return CertificateMessage(
        subject,
        write_element(SEQUENCE, content(data, template[_PUBLIC_KEY])),
        write_element(SEQUENCE, content(data, extensions)) if extensions else b"",
        _read_controls(data, request[2]) if len(request) == 3 else None,
        _read_proof(data, whole(data, parts[0]), parts[1:]),
    )


def _read_proof(data: bytes, signed: bytes, rest: list[Element]) -> tuple[bytes, bytes, bytes]:
    """Proof by a signature over the CertRequest, which a template with subject and key has."""
    if tags(rest) != [_SIGNATURE]:
        raise ProofOfPossessionFailed(
            "the request is not signed by its key, or says more", hint="sign it on the device"
        )
    proof = read_children(data, rest[0], limit=3)
    if tags(proof) != [SEQUENCE, BIT_STRING] or content(data, proof[1])[:1] != b"\0":
        raise ProofOfPossessionFailed("the proof of possession is no signature over the request")
    return signed, whole(data, proof[0]), content(data, proof[1])[1:]


def _read_controls(data: bytes, controls: Element) -> CertificateName:
    """The certificate to be replaced, the one control that is understood."""
    items = read_children(data, controls, limit=1) if controls[0] == SEQUENCE else []
    pair = read_children(data, items[0], limit=2) if tags(items) == [SEQUENCE] else []
    if tags(pair) != [OID, SEQUENCE] or whole(data, pair[0]) != _OLD_CERTIFICATE:
        raise DerMalformed("the request has a control that is not understood")
    named = read_children(data, pair[1], limit=2)
    if tags(named) != [0xA4, INTEGER]:
        raise DerMalformed("the old certificate is not named by issuer and number")
    return CertificateName(content(data, named[0]), read_number(content(data, named[1])))


def read_number(octets: bytes) -> str:
    """A certificate's number from the content of its INTEGER, 1 to 20 octets, in lowercase hex. Raises DerMalformed."""
    if not 1 <= len(octets) <= 21 or octets[0] & 0x80 or (len(octets) > 1 and not octets[0] and octets[1] < 0x80):
        raise DerMalformed("a certificate's number is not positive, not in its shortest form, or over 20 octets")
    return f"{int.from_bytes(octets, 'big'):x}"
