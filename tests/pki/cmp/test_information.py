"""General messages: the chain of a label, the root that follows, what a request should say."""

from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pki.cmp.bodies import Question
from pki.cmp.errors import MessageMalformed, MessageUnsupported
from pki.cmp.information import answer_question
from pki.cmp.replies import CA_CERTS, CERT_REQ_TEMPLATE, ROOT_CA_CERT, describe_request, list_authorities, update_root
from pki.x509.der import write_oid

OLD, NEW, CA, STRANGER = (ec.generate_private_key(ec.SECP256R1()) for _ in range(4))


def certify(subject: str, key: ec.EllipticCurvePrivateKey, issuer: str, by: ec.EllipticCurvePrivateKey) -> bytes:
    """A certificate of a CA; the later its key, the later it begins."""
    year = 2026 if key is not NEW else 2036
    names = [x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]) for name in (subject, issuer)]
    builder = x509.CertificateBuilder().subject_name(names[0]).issuer_name(names[1]).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number()).not_valid_before(datetime(year, 1, 1, tzinfo=UTC))
    builder = builder.not_valid_after(datetime(2049, 1, 1, tzinfo=UTC))
    ski = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return builder.add_extension(ski, critical=False).sign(by, hashes.SHA256()).public_bytes(Encoding.DER)


ROOT, ROOT_2 = certify("root 1", OLD, "root 1", OLD), certify("root 2", NEW, "root 2", NEW)
NEW_WITH_OLD, OLD_WITH_NEW = certify("root 2", NEW, "root 1", OLD), certify("root 1", OLD, "root 2", NEW)
DEVICE_CA, SITE_CA = certify("device CA", CA, "root 1", OLD), certify("site CA", CA, "root 1", OLD)
NOW = {"device-ca": DEVICE_CA, "identity-root": ROOT, "site-ca": SITE_CA}
LATER = {**NOW, "root-2": ROOT_2, "link": NEW_WITH_OLD, "back": OLD_WITH_NEW}


@pytest.mark.req("CA-11")
def test_a_label_has_its_chain_and_nothing_else() -> None:
    question = Question(CA_CERTS, b"")
    assert answer_question(question, NOW, "device-ca") == list_authorities([DEVICE_CA, ROOT])
    assert answer_question(question, NOW, "identity-root") == list_authorities([ROOT])
    assert answer_question(question, LATER, "site-ca") == list_authorities(
        [SITE_CA, ROOT, OLD_WITH_NEW, ROOT_2, NEW_WITH_OLD]
    )


def test_nothing_follows_the_newest_root() -> None:
    assert answer_question(Question(ROOT_CA_CERT, ROOT), NOW, "device-ca") == update_root(b"", b"", b"")
    assert answer_question(Question(ROOT_CA_CERT, ROOT_2), LATER, "device-ca") == update_root(b"", b"", b"")
    assert answer_question(Question(ROOT_CA_CERT, ROOT_2), NOW, "device-ca") == update_root(b"", b"", b"")
    assert answer_question(Question(ROOT_CA_CERT, ROOT), {}, "device-ca") == update_root(b"", b"", b"")


def test_a_new_root_comes_with_its_links() -> None:
    asked = Question(ROOT_CA_CERT, ROOT)
    assert answer_question(asked, LATER, "device-ca") == update_root(ROOT_2, NEW_WITH_OLD, OLD_WITH_NEW)
    without = {name: der for name, der in LATER.items() if name not in ("link", "back")}
    assert answer_question(asked, without, "device-ca") == update_root(ROOT_2, b"", b"")


def test_a_root_that_is_not_ours_has_no_links() -> None:
    foreign = certify("root 1", STRANGER, "root 1", STRANGER)
    assert answer_question(Question(ROOT_CA_CERT, foreign), NOW, "device-ca") == update_root(ROOT, b"", b"")


def test_what_a_request_should_say() -> None:
    assert answer_question(Question(CERT_REQ_TEMPLATE, b""), NOW, "device-ca") == describe_request()


@pytest.mark.parametrize(
    ("question", "label", "error"),
    [
        (Question(write_oid("1.3.6.1.5.5.7.4.2"), b""), "device-ca", MessageUnsupported),
        (Question(CA_CERTS, b"\x05\0"), "device-ca", MessageUnsupported),
        (Question(CERT_REQ_TEMPLATE, b"\x05\0"), "device-ca", MessageUnsupported),
        (Question(CA_CERTS, b""), "director", MessageUnsupported),
        (Question(ROOT_CA_CERT, b""), "device-ca", MessageUnsupported),
        (Question(ROOT_CA_CERT, b"\x05\0"), "device-ca", MessageMalformed),
        (Question(ROOT_CA_CERT, ROOT.replace(b"260101000000Z", b"260001000000Z")), "device-ca", MessageMalformed),
    ],
)
def test_questions_that_are_refused(question: Question, label: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        answer_question(question, NOW, label)
