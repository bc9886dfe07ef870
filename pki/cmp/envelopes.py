"""A message opened: its protection verified by the certificate that it shows, and its body read.

Whose certificate that is, and what its owner may ask, is not said here: whoever made the message holds the key of it.
"""

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from pki.cmp.bodies import Body, read_body
from pki.cmp.errors import MessageForged, MessageUnprotected
from pki.cmp.messages import DIRECTORY_NAME, Header, Message, parse_message
from pki.errors import KeyUnsupported
from pki.signatures import load_spki
from pki.x509.der import OCTET_STRING, content, read_whole, write_element
from pki.x509.errors import DerMalformed
from pki.x509.requests import verify_ecdsa
from pki.x509.rules import SUBJECT_KEY_ID
from pki.x509.tbs import Tbs, read_extensions, read_tbs, split_signed


class Opened(msgspec.Struct, frozen=True, array_like=True):
    """A message whose signature verifies under the key of `certificate` (DER)."""

    kind: str
    header: Header
    certificate: bytes
    body: Body


def open_message(der: bytes) -> Opened:
    """Read a message, in this order (RFC 9483 sections 3.1 to 3.3, 3.5):

    1. size, DER, header: MessageMalformed, MessageUnsupported;
    2. there is protection, and a certificate of the key: MessageUnprotected;
    3. sender and senderKID are the certificate's; the signature verifies (ECDSA, SHA-2): MessageForged;
    4. the body: what `read_body` raises.
    """
    message = parse_message(der)
    if not message.protection or not message.header.algorithm:
        raise MessageUnprotected("the message is not signed", hint="sign it with the key of your certificate")
    if not message.certificates:
        raise MessageUnprotected("the message shows no certificate", hint="send yours as the first of extraCerts")
    certificate = message.certificates[0]
    try:
        _verify(message, read_tbs(split_signed(certificate)[0]))
    except (DerMalformed, KeyUnsupported, KeyError, InvalidSignature) as error:
        raise MessageForged("the message is not signed by the key of the certificate that it shows") from error
    return Opened(message.kind, message.header, certificate, read_body(message))


def _verify(message: Message, certificate: Tbs) -> None:
    if message.header.sender != write_element(DIRECTORY_NAME, certificate.subject):
        raise MessageForged("the sender is not the subject of the certificate that the message shows")
    if message.header.key != _read_key_identifier(certificate):
        raise MessageForged("senderKID is not that of the certificate that the message shows")
    key = load_spki(certificate.public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise MessageForged("the message is not signed with ECDSA")
    verify_ecdsa(key, (message.signed, message.header.algorithm, message.protection))


def _read_key_identifier(certificate: Tbs) -> bytes:
    for item in read_extensions(certificate.extensions):
        if item.oid == SUBJECT_KEY_ID:
            return content(item.value, read_whole(item.value, OCTET_STRING))
    raise DerMalformed("the certificate has no key identifier")
