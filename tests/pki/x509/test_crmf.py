"""CRMF: what openssl makes is read and its proof verifies; every other form is refused."""

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.cmp.bodies import CertificateAsked, read_body
from pki.cmp.messages import parse_message
from pki.signatures import spki_der, spki_sha256
from pki.x509.crmf import CertificateName, parse_certificate_message, read_certificate_message, read_number
from pki.x509.der import BIT_STRING, INTEGER, SEQUENCE, write_element, write_oid
from pki.x509.errors import (
    DerMalformed,
    KeyRefused,
    ProfileForbids,
    ProofOfPossessionFailed,
    RequestMalformed,
    RequestTooLarge,
)
from pki.x509.profiles import IDEVID, IEEE2030_5_DEVICE
from pki.x509.requests import check_request, prove_possession
from tests.pki.cmp.vectors import MESSAGES
from tests.pki.cmp.writing import (
    ECDSA_SHA256,
    ZERO,
    make_sender,
    name_old,
    name_serial,
    tag,
    write_certificate_message,
    write_template,
)

KEY, OTHER = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
NAME = name_serial("BMS-1")
OLD = make_sender(name="old").certificate


def from_openssl(name: str) -> bytes:
    body = read_body(parse_message(MESSAGES[name]))
    assert isinstance(body, CertificateAsked)
    return body.request


def write_extensions(*extensions: tuple[x509.ExtensionType, bool]) -> bytes:
    """A template's [9]."""
    parts = []
    for value, critical in extensions:
        flag = b"\x01\x01\xff" if critical else b""
        parts.append(
            write_element(SEQUENCE, write_oid(value.oid.dotted_string), flag, write_element(4, value.public_bytes()))
        )
    return write_element(0xA9, *parts)


@pytest.mark.req("CA-11")
@pytest.mark.parametrize("name", ["ir", "ir extensions", "cr", "kur"])
def test_a_request_of_openssl_proves_possession(name: str) -> None:
    der = from_openssl(name)
    request = prove_possession(parse_certificate_message(der))
    assert (request.der, request.curve) == (der, "secp256r1")
    assert request.spki == spki_sha256(request.public_key)
    policies = [item.value for item in request.requested]
    assert len(policies) == (name == "ir extensions")


def test_template_and_signature_are_read() -> None:
    template = write_template(NAME, KEY, {3: tag(3, NAME.public_bytes()), 4: tag(4)})
    message = read_certificate_message(write_certificate_message(template, KEY, name_old(OLD)))
    assert message.subject == NAME.public_bytes()
    assert message.public_key == spki_der(KEY.public_key())
    assert message.old == CertificateName(x509.load_der_x509_certificate(OLD).issuer.public_bytes(), "7")
    assert message.parts[0] == write_element(SEQUENCE, ZERO, template, name_old(OLD))
    assert message.parts[1] == ECDSA_SHA256


@pytest.mark.req("CA-6")
def test_a_wish_for_more_is_refused_as_in_pkcs10() -> None:
    wish = write_extensions((x509.BasicConstraints(True, None), True))
    request = prove_possession(
        parse_certificate_message(write_certificate_message(write_template(NAME, KEY, {9: wish}), KEY))
    )
    with pytest.raises(ProfileForbids, match="CA:TRUE"):
        check_request(request, IDEVID)
    with pytest.raises(ProfileForbids, match="certificatePolicies"):
        check_request(prove_possession(parse_certificate_message(from_openssl("ir extensions"))), IDEVID)
    check_request(prove_possession(parse_certificate_message(from_openssl("ir extensions"))), IEEE2030_5_DEVICE)


@pytest.mark.req("T16")
def test_proof_by_another_key_or_over_something_else() -> None:
    template = write_template(NAME, KEY)
    with pytest.raises(ProofOfPossessionFailed):
        prove_possession(parse_certificate_message(write_certificate_message(template, OTHER)))
    good = write_certificate_message(template, KEY)
    for wrong in (good.replace(b"BMS-1", b"BMS-2"), good.replace(ECDSA_SHA256, ECDSA_SHA256[:-1] + b"\x03")):
        with pytest.raises(ProofOfPossessionFailed):
            prove_possession(parse_certificate_message(wrong))


@pytest.mark.req("T16")
@pytest.mark.parametrize("name", ["ir without proof", "ir raVerified"])
def test_nobody_vouches_for_a_key_but_its_signature(name: str) -> None:
    with pytest.raises(ProofOfPossessionFailed):
        read_body(parse_message(MESSAGES[name]))


def test_a_proof_over_other_input_is_none() -> None:
    request = write_element(SEQUENCE, ZERO, write_template(NAME, KEY))
    signature = write_element(BIT_STRING, b"\0", KEY.sign(request, ec.ECDSA(hashes.SHA256())))
    good = write_element(SEQUENCE, request, tag(1, ECDSA_SHA256, signature))
    prove_possession(parse_certificate_message(good))
    for proof in (
        tag(1, tag(0), ECDSA_SHA256, signature),
        tag(1, ECDSA_SHA256),
        tag(1, ECDSA_SHA256, signature.replace(b"\x03" + signature[1:2] + b"\0", b"\x03" + signature[1:2] + b"\x01")),
        tag(2, ECDSA_SHA256, signature),
        tag(1, ECDSA_SHA256, signature) + write_element(SEQUENCE),
    ):
        with pytest.raises(ProofOfPossessionFailed):
            parse_certificate_message(write_element(SEQUENCE, request, proof))


@pytest.mark.req("T19")
@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\x30\0",
        write_element(SEQUENCE, ZERO),
        write_certificate_message(write_template(NAME, KEY), KEY, number=write_element(INTEGER, b"\x01")),
        write_certificate_message(write_template(NAME, KEY, {0: write_element(0x80, b"\x02")}), KEY),
        write_certificate_message(write_template(NAME, KEY, {1: write_element(0x81, b"\x02")}), KEY),
        write_certificate_message(write_template(NAME, KEY, {2: tag(2)}), KEY),
        write_certificate_message(write_template(NAME, KEY, {8: write_element(0x88, b"\0")}), KEY),
        write_certificate_message(write_template(None, KEY), KEY),
        write_certificate_message(write_template(NAME, KEY, {6: b""}), KEY),
        write_certificate_message(write_template(NAME, KEY, {3: tag(4), 4: tag(3)}), KEY),
        write_certificate_message(write_template(NAME, KEY, {3: tag(3), 4: tag(3)}), KEY),
        write_certificate_message(write_template(NAME, KEY), KEY, write_element(SEQUENCE)),
        write_certificate_message(write_template(NAME, KEY), KEY, ZERO),
        write_certificate_message(
            write_template(NAME, KEY), KEY, name_old(OLD).replace(b"\x05\x01\x05", b"\x05\x01\x01")
        ),
        write_certificate_message(write_template(NAME, KEY), KEY, name_old(OLD).replace(b"\xa4", b"\xa6", 1)),
        write_certificate_message(write_template(NAME, KEY), KEY) + b"\0",
        write_certificate_message(write_template(NAME, KEY, {9: write_element(0xA9, b"\x05\0")}), KEY),
        write_certificate_message(write_template(NAME, KEY, {6: b"\xa6\x02\x05\0"}), KEY),
    ],
)
def test_messages_that_are_refused(message: bytes) -> None:
    with pytest.raises((RequestMalformed, KeyRefused)):
        parse_certificate_message(message)


def test_keys_that_are_refused_later_are_not_taken_for_proven() -> None:
    key = rsa.generate_private_key(65537, 2048).public_key()
    info = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    template = write_template(NAME, KEY, {6: b"\xa6" + info[1:]})
    with pytest.raises(ProofOfPossessionFailed):
        prove_possession(parse_certificate_message(write_certificate_message(template, KEY)))


def test_size() -> None:
    with pytest.raises(RequestTooLarge):
        read_certificate_message(bytes(16385))
    with pytest.raises(RequestTooLarge):
        parse_certificate_message(from_openssl("ir"), limit=100)


def test_numbers() -> None:
    assert read_number(b"\0\xff") == "ff"
    assert read_number(b"\x7f" * 20) == "7f" * 20
    for wrong in (b"", b"\x80", b"\0\x7f", bytes(22)):
        with pytest.raises(DerMalformed):
            read_number(wrong)
