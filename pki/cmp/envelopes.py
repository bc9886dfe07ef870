"""Who made a message: the certificate that it shows, and whether the message is signed by that certificate's key.

Whose certificate that is, and what its owner may ask, is not said here. Look it up before the signature is verified: no
key of a stranger's choice is loaded then.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from pki.cmp.errors import MessageForged, MessageUnprotected
from pki.cmp.messages import DIRECTORY_NAME, Message
from pki.errors import KeyUnsupported
from pki.signatures import load_spki
from pki.x509.der import OCTET_STRING, content, read_whole, write_element
from pki.x509.errors import DerMalformed
from pki.x509.requests import verify_ecdsa
from pki.x509.rules import SUBJECT_KEY_ID
from pki.x509.tbs import Tbs, read_extensions, read_tbs, split_signed


def find_signer(message: Message) -> bytes:
    """The certificate (DER) whose key shall have signed the message: the first of extraCerts (RFC 9483 section 3.3).

    Raises MessageUnprotected.
    """
    if not message.protection or not message.header.algorithm:
        raise MessageUnprotected("the message is not signed", hint="sign it with the key of your certificate")
    if not message.certificates:
        raise MessageUnprotected("the message shows no certificate", hint="send yours as the first of extraCerts")
    return message.certificates[0]


def verify_message(message: Message) -> None:
    """Sender and senderKID are those of the signer's certificate, and the signature is by its key: ECDSA with SHA-2
    (RFC 9483 sections 3.1, 3.2, 3.5). Raises MessageUnprotected, MessageForged.
    """
    try:
        _verify(message, read_tbs(split_signed(find_signer(message))[0]))
    except (DerMalformed, KeyUnsupported, KeyError, InvalidSignature) as error:
        raise MessageForged("the message is not signed by the key of the certificate that it shows") from error


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
