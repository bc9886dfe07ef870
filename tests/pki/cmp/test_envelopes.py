"""Who made a message: signed by the key of the certificate that it shows, or refused. And whatever strangers send."""

from collections.abc import Callable

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.cmp.bodies import Body, read_body
from pki.cmp.envelopes import find_signer, verify_message
from pki.cmp.errors import CmpError, MessageForged, MessageUnprotected
from pki.cmp.messages import parse_message
from pki.errors import PkiError
from pki.x509.crmf import parse_certificate_message
from pki.x509.der import BIT_STRING, SEQUENCE, read_children, read_whole, whole, write_element
from pki.x509.errors import X509Error
from tests.pki.cmp.vectors import MESSAGES
from tests.pki.cmp.writing import (
    NOBODY,
    acknowledge,
    ask_certificate,
    ask_information,
    ask_revocation,
    make_sender,
    octets,
    tag,
    write_header,
    write_message,
)

SENDER, OTHER = make_sender(), make_sender(name="other")
BODY = ask_information("1.3.6.1.5.5.7.4.17")
SIGNED = {name: data for name, data in MESSAGES.items() if name not in ("ir unprotected", "genm of nothing")}


def open_message(der: bytes) -> Body:
    """All of it, as the keyroom does when it knows the signer."""
    message = parse_message(der)
    verify_message(message)
    return read_body(message)


@pytest.mark.req("CA-11")
@pytest.mark.parametrize("name", [name for name in SIGNED if not name.startswith(("ir without", "ir raV"))])
def test_what_openssl_signs_verifies(name: str) -> None:
    open_message(MESSAGES[name])
    assert find_signer(parse_message(MESSAGES[name])) in MESSAGES[name]


def test_of_several_certificates_the_first_is_the_signers() -> None:
    message = write_message(SENDER, BODY)
    longer = write_element(SEQUENCE, *_split(message)[:3], _show(SENDER.certificate, OTHER.certificate))
    open_message(longer)
    assert find_signer(parse_message(longer)) == SENDER.certificate
    with pytest.raises(MessageForged):
        open_message(write_element(SEQUENCE, *_split(message)[:3], _show(OTHER.certificate, SENDER.certificate)))


def _split(message: bytes) -> list[bytes]:
    return [whole(message, item) for item in read_children(message, read_whole(message, SEQUENCE))]


def _show(*certificates: bytes) -> bytes:
    return tag(1, write_element(SEQUENCE, *certificates))


@pytest.mark.req("AZ-5", "T25")
@pytest.mark.parametrize(
    "change",
    [
        lambda parts: [parts[0], parts[1]],
        lambda parts: [parts[0], parts[1], parts[3]],
        lambda parts: parts[:3],
        lambda parts: [*parts[:3], _show()],
        lambda parts: [write_header(SENDER, None, {1: None}), *parts[1:]],
    ],
)
def test_a_message_that_is_not_signed(change: Callable[[list[bytes]], list[bytes]]) -> None:
    message = parse_message(write_element(SEQUENCE, *change(_split(write_message(SENDER, BODY)))))
    for read in (find_signer, verify_message):
        with pytest.raises(MessageUnprotected):
            read(message)


@pytest.mark.req("AZ-5", "T25")
@pytest.mark.parametrize(
    "fields",
    [
        {2: None},
        {2: octets(b"x" * 20)},
        {1: bytes.fromhex("300a06082a8648ce3d040303")},
        {1: bytes.fromhex("300c06082a8648ce3d0403020500")},
        {1: bytes.fromhex("300d06092a864886f70d01010b0500")},
        {-2: NOBODY},
        {-2: b"\x82\x01a"},
    ],
)
def test_a_message_that_says_another_name_or_key(fields: dict[int, bytes | None]) -> None:
    with pytest.raises(MessageForged):
        open_message(write_message(SENDER, BODY, fields))


@pytest.mark.req("AZ-5", "T25")
def test_altered_by_one_bit_anywhere_it_is_refused() -> None:
    """But in the certificate: whose that is, is known by all of its bytes, and not said here."""
    message = write_message(SENDER, ask_revocation(OTHER.certificate))
    for at in range(len(message) - len(SENDER.certificate)):
        with pytest.raises(PkiError):
            open_message(message[:at] + bytes((message[at] ^ 1,)) + message[at + 1 :])


def test_the_key_is_one_on_a_curve() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    parsed = SENDER.parsed
    builder = x509.CertificateBuilder().subject_name(parsed.subject).issuer_name(parsed.subject)
    builder = builder.public_key(key.public_key()).serial_number(7).not_valid_before(parsed.not_valid_before_utc)
    builder = builder.not_valid_after(parsed.not_valid_after_utc)
    ski = x509.SubjectKeyIdentifier.from_public_key(SENDER.key.public_key())
    parts = _split(write_message(SENDER, BODY))
    for extended in (builder.add_extension(ski, critical=False), builder.add_extension(x509.OCSPNoCheck(), False)):
        certificate = extended.sign(SENDER.key, hashes.SHA256()).public_bytes(Encoding.DER)
        with pytest.raises(MessageForged):
            open_message(write_element(SEQUENCE, *parts[:3], _show(certificate)))
    with pytest.raises(MessageForged):
        open_message(write_element(SEQUENCE, *parts[:3], _show(b"\x30\0")))


def test_p384_is_a_key_too() -> None:
    sender = make_sender(ec.generate_private_key(ec.SECP384R1()))
    open_message(write_message(sender, BODY))


BODIES = [
    ask_certificate("BMS-1", SENDER.key),
    ask_revocation(OTHER.certificate),
    acknowledge(OTHER.certificate, 2),
    BODY,
]
SEEDS = [*MESSAGES.values(), *(write_message(SENDER, body) for body in BODIES)]


@given(st.binary(max_size=600))
@settings(max_examples=150, deadline=None)
def test_strangers_bytes_raise_nothing_but_our_errors(data: bytes) -> None:
    for read in (open_message, parse_certificate_message):
        with pytest.raises((CmpError, X509Error)):
            read(data)


@given(st.sampled_from(SEEDS), st.data())
@settings(max_examples=150, deadline=None)
def test_mutations_raise_nothing_but_our_errors(seed: bytes, data: st.DataObject) -> None:
    """Cut, doubled, filled, or changed anywhere, what is signed is signed again: the body's reader is reached."""
    at = data.draw(st.integers(0, len(seed) - 1))
    end = data.draw(st.integers(at, min(len(seed), at + 40)))
    middle = data.draw(st.sampled_from((b"", seed[at:end] * 2, bytes(end - at), b"\xff" * (end - at))))
    changed = seed[:at] + (middle or data.draw(st.binary(max_size=4))) + seed[end:]
    try:
        open_message(changed)
    except PkiError as error:
        assert error.code


@given(st.sampled_from(BODIES), st.data())
@settings(max_examples=150, deadline=None)
def test_bodies_that_are_signed_raise_nothing_but_our_errors(body: bytes, data: st.DataObject) -> None:
    at = data.draw(st.integers(2, len(body) - 1))
    changed = body[:at] + bytes((data.draw(st.integers(0, 255)),)) + body[at + 1 :]
    header = write_header(SENDER, None)
    signature = SENDER.key.sign(write_element(SEQUENCE, header, changed), ec.ECDSA(hashes.SHA256()))
    protection = tag(0, write_element(BIT_STRING, b"\0", signature))
    try:
        open_message(write_element(SEQUENCE, header, changed, protection, _show(SENDER.certificate)))
    except PkiError as error:
        assert error.code
