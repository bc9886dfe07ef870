"""What is answered (RFC 9810 sections 5.1 and 5.3): bodies, and messages to be signed by the responder's key.

Times are in whole seconds, UTC. Texts are for people, UTF-8, cut to 200 characters.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from pki.cmp.messages import DIRECTORY_NAME, IMPLICIT_CONFIRM, Header
from pki.signatures import raw_to_der
from pki.x509.der import (
    BIT_STRING,
    INTEGER,
    OCTET_STRING,
    SEQUENCE,
    content,
    read_children,
    read_whole,
    whole,
    write_element,
    write_oid,
)
from pki.x509.errors import AssemblyFailed, DerMalformed
from pki.x509.tbs import GENERALIZED_TIME

UTF8_STRING = 0x0C
ACCEPTED, GRANTED_WITH_MODS, REJECTION = 0, 1, 2
"""PKIStatus (RFC 9810 section 5.2.3)."""
CA_CERTS = write_oid("1.3.6.1.5.5.7.4.17")
CERT_REQ_TEMPLATE = write_oid("1.3.6.1.5.5.7.4.19")
ROOT_CA_CERT = write_oid("1.3.6.1.5.5.7.4.20")
_ROOT_CA_KEY_UPDATE = write_oid("1.3.6.1.5.5.7.4.18")
_ANSWERS = {"ir": 1, "cr": 3, "p10cr": 3, "kur": 8, "rr": 12, "certConf": 19, "genm": 22}
_ERROR = 23
_ZERO, _NONE = write_element(INTEGER, b"\0"), write_element(INTEGER, b"\xff")
_NULL = b"\x05\x00"
_NOBODY = write_element(DIRECTORY_NAME, write_element(SEQUENCE))
"""The NULL-DN (RFC 9810 section 5.1.1)."""
# RFC 9810 section 5.3.19.16: no field, and a key on P-256 (id-regCtrl-algId, id-ecPublicKey, prime256v1).
_TEMPLATE = write_element(
    SEQUENCE,
    write_element(SEQUENCE),
    write_element(
        SEQUENCE,
        write_element(
            SEQUENCE,
            write_oid("1.3.6.1.5.5.7.5.1.11"),
            write_element(SEQUENCE, write_oid("1.2.840.10045.2.1"), write_oid("1.2.840.10045.3.1.7")),
        ),
    ),
)


class Reply(msgspec.Struct, frozen=True):
    """A body with its tag, DER; certificates that go with it, DER; whether no confirmation is waited for."""

    body: bytes
    certificates: tuple[bytes, ...] = ()
    implicit: bool = False


class Signer(msgspec.Struct, frozen=True):
    """Who signs an answer: subject, signature algorithm and certificate in DER, and the key's identifier."""

    subject: bytes
    key: bytes
    algorithm: bytes
    certificate: bytes


class Stamp(msgspec.Struct, frozen=True):
    """When an answer is made, and its senderNonce."""

    time: datetime
    nonce: bytes


def grant_certificate(kind: str, certificate: bytes, *, modified: bool) -> bytes:
    """ip, cp or kup with a certificate (DER). modified: it is not quite what was asked for."""
    status = write_element(SEQUENCE, write_element(INTEGER, bytes((GRANTED_WITH_MODS if modified else ACCEPTED,))))
    pair = write_element(SEQUENCE, write_element(0xA0, certificate))
    return _answer_request(kind, status, pair)


def refuse(kind: str, failure: int, text: str) -> bytes:
    """A rejection: in the body that answers a request for a certificate or a revocation, else an error."""
    status = write_status(failure, text)
    if kind in ("ir", "cr", "p10cr", "kur"):
        return _answer_request(kind, status)
    if kind == "rr":
        return _tag(_ANSWERS[kind], write_element(SEQUENCE, write_element(SEQUENCE, status)))
    return write_error(failure, text)


def write_error(failure: int, text: str) -> bytes:
    """An error message's body (section 5.3.21)."""
    return _tag(_ERROR, write_element(SEQUENCE, write_status(failure, text)))


def confirm_revocation() -> bytes:
    """rp: the certificate is revoked (section 5.3.10)."""
    status = write_element(SEQUENCE, _ZERO)
    return _tag(_ANSWERS["rr"], write_element(SEQUENCE, write_element(SEQUENCE, status)))


def confirm() -> bytes:
    """PkiConf (section 5.3.17)."""
    return _tag(_ANSWERS["certConf"], _NULL)


def list_authorities(certificates: Sequence[bytes]) -> bytes:
    """Genp with CA certificates, DER (section 5.3.19.14)."""
    return _inform(CA_CERTS, write_element(SEQUENCE, *certificates))


def update_root(new: bytes, new_with_old: bytes, old_with_new: bytes) -> bytes:
    """Genp with the root that follows the one that was shown, and link certificates where there are any, DER; without
    a new one there is nothing to follow (section 5.3.19.15).
    """
    links = ((0xA0, new_with_old), (0xA1, old_with_new))
    parts = (write_element(tag, certificate) for tag, certificate in links if certificate)
    return _inform(_ROOT_CA_KEY_UPDATE, write_element(SEQUENCE, new, *parts) if new else b"")


def describe_request() -> bytes:
    """Genp with what a request should say: a key on P-256 (section 5.3.19.16)."""
    return _inform(CERT_REQ_TEMPLATE, _TEMPLATE)


def write_status(failure: int, text: str) -> bytes:
    """A PKIStatusInfo that rejects (section 5.2.3)."""
    octets = bytearray(failure // 8 + 1)
    octets[-1] = 0x80 >> failure % 8
    bits = write_element(BIT_STRING, bytes((7 - failure % 8,)), bytes(octets))
    words = write_element(SEQUENCE, write_element(UTF8_STRING, text[:200].encode()))
    return write_element(SEQUENCE, write_element(INTEGER, bytes((REJECTION,))), words, bits)


def write_answer(asked: Header, reply: Reply, signer: Signer, stamp: Stamp) -> bytes:
    """The ProtectedPart of an answer, DER, to be signed: header and body (section 5.1.3)."""
    text = f"{stamp.time:%Y%m%d%H%M%S}Z"
    fields = [
        _tag(0, write_element(GENERALIZED_TIME, text.encode())),
        _tag(1, signer.algorithm),
        _tag(2, write_element(OCTET_STRING, signer.key)),
    ]
    sender = write_element(DIRECTORY_NAME, signer.subject)
    return write_element(SEQUENCE, _write_header(asked, sender, fields, (stamp.nonce, reply.implicit)), reply.body)


def assemble_answer(part: bytes, raw: bytes, certificates: Sequence[bytes]) -> bytes:
    """The message of a signed ProtectedPart, a raw signature and certificates, the signer's first.

    Raises AssemblyFailed when it does not read back.
    """
    protection = _tag(0, write_element(BIT_STRING, b"\0", raw_to_der(raw)))
    extra = _tag(1, write_element(SEQUENCE, *certificates))
    try:
        der = write_element(SEQUENCE, content(part, read_whole(part, SEQUENCE)), protection, extra)
        header, body = read_children(der, read_whole(der, SEQUENCE), limit=4)[:2]
    except DerMalformed as error:
        raise AssemblyFailed(f"the finished answer does not parse: {error}") from error
    if write_element(SEQUENCE, whole(der, header), whole(der, body)) != part:
        raise AssemblyFailed("the finished answer is not the one that was signed")
    return der


def write_unsigned_error(asked: Header, failure: int, text: str) -> bytes:
    """An error for whom nobody knows here: unsigned, because a key is not used for strangers."""
    return write_element(SEQUENCE, _write_header(asked, _NOBODY, [], (b"", False)), write_error(failure, text))


def _write_header(asked: Header, sender: bytes, fields: Sequence[bytes], more: tuple[bytes, bool]) -> bytes:
    """A header in the transaction of what was asked; more: senderNonce, and whether no confirmation is waited for."""
    nonce, implicit = more
    parts = [*fields, _tag(4, write_element(OCTET_STRING, asked.transaction))]
    if nonce:
        parts.append(_tag(5, write_element(OCTET_STRING, nonce)))
    parts.append(_tag(6, write_element(OCTET_STRING, asked.nonce)))
    if implicit:
        item = write_element(SEQUENCE, IMPLICIT_CONFIRM, _NULL)
        parts.append(_tag(8, write_element(SEQUENCE, item)))
    return write_element(SEQUENCE, write_element(INTEGER, bytes((asked.version,))), sender, asked.sender, *parts)


def _answer_request(kind: str, status: bytes, pair: bytes = b"") -> bytes:
    """CertRepMessage of one response; a PKCS #10 request has no id, so that its answer says -1 (RFC 9483, 4.1.4)."""
    response = write_element(SEQUENCE, _NONE if kind == "p10cr" else _ZERO, status, pair)
    return _tag(_ANSWERS[kind], write_element(SEQUENCE, write_element(SEQUENCE, response)))


def _inform(kind: bytes, value: bytes) -> bytes:
    return _tag(_ANSWERS["genm"], write_element(SEQUENCE, write_element(SEQUENCE, kind, value)))


def _tag(number: int, *parts: bytes) -> bytes:
    return write_element(0xA0 | number, *parts)
