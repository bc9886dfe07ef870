import hashlib
from datetime import UTC, datetime

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.errors import KeyUnsupported, SignatureInvalid, SignatureMissing
from pki.names import AuthoritySubject, HardwareModule
from pki.signatures import spki_der
from pki.x509.certificates import assemble_certificate, draft_certificate
from pki.x509.errors import (
    AssemblyFailed,
    IssuerRefused,
    KeyRefused,
    SubjectRefused,
    ValidityRefused,
)
from pki.x509.profiles import DEVICE_CA, IDENTITY_ROOT, IDEVID, SITE_CA
from tests.pki.x509.soft_keys import BEGIN, NUMBER, make_hierarchy, make_key, make_subject, make_terms

KEY = make_key()


@pytest.mark.req("CA-1", "CA-4")
def test_a_device_certificate() -> None:
    hierarchy = make_hierarchy()
    draft = draft_certificate(IDEVID, make_subject(), KEY.public_key, hierarchy.device_ca, make_terms())
    pem = hierarchy.device_key.finish(draft)
    certificate = x509.load_pem_x509_certificate(pem)
    assert certificate.tbs_certificate_bytes == draft.payload == draft.to_sign[0].data
    assert certificate.version is x509.Version.v3
    assert certificate.serial_number == NUMBER
    assert certificate.subject.rfc4514_string() == "2.5.4.5=SN-0001,CN=bms-stm32h7 SN-0001,O=Acme Storage"
    assert certificate.not_valid_before_utc == BEGIN
    assert b"\x18\x0f99991231235959Z" in draft.payload
    oids = [(extension.oid.dotted_string, extension.critical) for extension in certificate.extensions]
    assert oids == [("2.5.29.19", True), ("2.5.29.15", True), ("2.5.29.35", False), ("2.5.29.14", False)]
    key = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    assert key == KEY.public_key
    issuer = x509.load_pem_x509_certificate(hierarchy.device_ca.certificate)
    certificate.verify_directly_issued_by(issuer)
    assert pem == certificate.public_bytes(serialization.Encoding.PEM)


def test_what_officers_and_journal_see() -> None:
    draft = draft_certificate(IDEVID, make_subject(), KEY.public_key, make_hierarchy().device_ca, make_terms())
    assert draft.kind == "certificate.idevid"
    assert draft.summary == (
        "Issue a idevid certificate for O=Acme Storage, CN=bms-stm32h7 SN-0001, serialNumber=SN-0001,"
        " valid until 9999-12-31"
    )
    assert draft.what == {
        "certificate_number": f"{NUMBER:x}",
        "not_after": "9999-12-31T23:59:59Z",
        "not_before": "2026-01-02T03:04:05Z",
        "profile": "idevid",
        "serial": "SN-0001",
        "subject": "O=Acme Storage, CN=bms-stm32h7 SN-0001, serialNumber=SN-0001",
        "subject_spki": KEY.spki,
    }
    assert draft.to_sign[0].spki == make_hierarchy().device_key.spki


def test_the_same_facts_give_the_same_bytes() -> None:
    arguments = (IDEVID, make_subject(), KEY.public_key, make_hierarchy().device_ca, make_terms())
    assert draft_certificate(*arguments).digest == draft_certificate(*arguments).digest


def test_a_root_is_signed_by_itself() -> None:
    hierarchy = make_hierarchy()
    certificate = x509.load_pem_x509_certificate(hierarchy.root.certificate)
    certificate.verify_directly_issued_by(certificate)
    assert certificate.issuer == certificate.subject
    key = certificate.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    assert key.curve.name == "secp384r1"
    assert certificate.signature_hash_algorithm is not None
    assert certificate.signature_hash_algorithm.name == "sha384"
    basic = certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 2)


@pytest.mark.req("CA-8")
def test_a_site_ca_names_its_site_and_nothing_else() -> None:
    certificate = x509.load_pem_x509_certificate(make_hierarchy().site_ca.certificate)
    constraints = certificate.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraints.critical
    permitted, excluded = constraints.value.permitted_subtrees, constraints.value.excluded_subtrees
    assert permitted is not None
    assert excluded is not None
    assert [base.value.rfc4514_string() for base in permitted] == ["OU=site-a,O=Acme Storage"]
    assert [str(base.value) for base in excluded] == ["", "0.0.0.0/0", "::/0"]
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_a_hardware_module_name() -> None:
    subject = msgspec.structs.replace(make_subject(), hardware=HardwareModule("1.3.6.1.4.1.99999.1", b"SN-0001"))
    hierarchy = make_hierarchy()
    draft = draft_certificate(IDEVID, subject, KEY.public_key, hierarchy.device_ca, make_terms())
    certificate = x509.load_pem_x509_certificate(hierarchy.device_key.finish(draft))
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    [name] = names.value
    assert names.critical
    assert isinstance(name, x509.OtherName)
    assert name.type_id.dotted_string == "1.3.6.1.5.5.7.8.4"
    # SEQUENCE {OID 1.3.6.1.4.1.99999.1, OCTET STRING "SN-0001"}
    assert name.value.hex() == "3014" + "06092b060104" + "01868d1f01" + "0407" + b"SN-0001".hex()


@settings(max_examples=25)
@given(st.integers(1 << 64, (1 << 159) - 1), st.from_regex(r"[A-Z0-9]([A-Z0-9.-]{0,62}[A-Z0-9])?", fullmatch=True))
def test_any_number_and_serial(number: int, serial: str) -> None:
    subject = msgspec.structs.replace(make_subject(), common_name="x", serial_number=serial)
    hierarchy = make_hierarchy()
    draft = draft_certificate(IDEVID, subject, KEY.public_key, hierarchy.device_ca, make_terms(number=number))
    certificate = x509.load_pem_x509_certificate(hierarchy.device_key.finish(draft))
    assert certificate.serial_number == number
    assert certificate.subject.get_attributes_for_oid(x509.NameOID.SERIAL_NUMBER)[0].value == serial


@pytest.mark.req("CA-3")
@pytest.mark.parametrize("number", [1 << 64, (1 << 159) - 1])
def test_certificate_numbers_at_the_ends_of_the_range(number: int) -> None:
    draft = draft_certificate(
        IDEVID, make_subject(), KEY.public_key, make_hierarchy().device_ca, make_terms(number=number)
    )
    assert number.to_bytes(20, "big").lstrip(b"\0") in draft.payload


def test_a_device_certificate_never_ends_and_a_ca_does() -> None:
    hierarchy = make_hierarchy()
    with pytest.raises(ValidityRefused):
        draft_certificate(IDEVID, make_subject(), KEY.public_key, hierarchy.device_ca, make_terms(2040))
    subject = AuthoritySubject("Acme Storage", "Device CA", 2)
    with pytest.raises(ValidityRefused):
        draft_certificate(DEVICE_CA, subject, KEY.public_key, hierarchy.root, make_terms())


def test_subjects_of_another_kind() -> None:
    hierarchy, terms = make_hierarchy(), make_terms(2030)
    plain, site = (AuthoritySubject("Acme Storage", "CA", 2, unit) for unit in ("", "site-a"))
    with pytest.raises(SubjectRefused):
        draft_certificate(DEVICE_CA, make_subject(), KEY.public_key, hierarchy.root, terms)
    with pytest.raises(SubjectRefused):
        draft_certificate(DEVICE_CA, site, KEY.public_key, hierarchy.root, terms)
    with pytest.raises(SubjectRefused):
        draft_certificate(SITE_CA, plain, KEY.public_key, hierarchy.root, terms)
    with pytest.raises(SubjectRefused):
        draft_certificate(IDEVID, plain, KEY.public_key, hierarchy.device_ca, make_terms())
    hardware = msgspec.structs.replace(make_subject(), hardware=HardwareModule("1.3.6", b"x"))
    without = msgspec.structs.replace(IDEVID, hardware_module=False)
    with pytest.raises(SubjectRefused):
        draft_certificate(without, hardware, KEY.public_key, hierarchy.device_ca, make_terms())


def test_keys_of_another_kind() -> None:
    hierarchy = make_hierarchy()
    with pytest.raises(KeyRefused, match="idevid"):
        draft_certificate(IDEVID, make_subject(), hierarchy.root_key.public_key, hierarchy.device_ca, make_terms())
    root = AuthoritySubject("Acme Storage", "Identity Root", 2)
    with pytest.raises(KeyRefused, match="identity-root"):
        draft_certificate(IDENTITY_ROOT, root, KEY.public_key, None, make_terms(2030))
    for garbage in (b"", KEY.public_key[:-1]):
        with pytest.raises(KeyUnsupported):
            draft_certificate(IDEVID, make_subject(), garbage, hierarchy.device_ca, make_terms())


def test_a_compressed_point_is_refused() -> None:
    point = KEY.private.public_key().public_bytes(
        serialization.Encoding.X962, serialization.PublicFormat.CompressedPoint
    )
    compressed = bytes.fromhex("3039301306072a8648ce3d020106082a8648ce3d030107032200") + point
    with pytest.raises(KeyRefused, match="compressed"):
        draft_certificate(IDEVID, make_subject(), compressed, make_hierarchy().device_ca, make_terms())


@pytest.mark.req("KL-7")
def test_the_root_issues_no_device() -> None:
    with pytest.raises(IssuerRefused):
        draft_certificate(IDEVID, make_subject(), KEY.public_key, make_hierarchy().root, make_terms())


def test_a_signature_of_another_key_finishes_nothing() -> None:
    draft = draft_certificate(IDEVID, make_subject(), KEY.public_key, make_hierarchy().device_ca, make_terms())
    with pytest.raises(SignatureInvalid):
        draft.finish({draft.to_sign[0].spki: KEY.sign(draft.payload)})
    with pytest.raises(SignatureMissing):
        draft.finish({KEY.spki: KEY.sign(draft.payload)})


def test_an_assembly_that_does_not_read_back() -> None:
    draft = draft_certificate(IDEVID, make_subject(), KEY.public_key, make_hierarchy().device_ca, make_terms())
    algorithm = bytes.fromhex("300a06082a8648ce3d040302")
    with pytest.raises(AssemblyFailed, match="parse"):
        assemble_certificate(draft.payload[:-1], algorithm, bytes(64))
    with pytest.raises(AssemblyFailed, match="parse"):
        assemble_certificate(draft.payload, b"", bytes(64))
    with pytest.raises(AssemblyFailed, match="drafted"):
        assemble_certificate(b"", draft.payload + algorithm, bytes(64))


def test_an_issuer_whose_key_is_on_another_curve() -> None:
    key = spki_der(ed25519.Ed25519PrivateKey.generate().public_key())
    issuer = msgspec.structs.replace(make_hierarchy().device_ca, public_key=key)
    with pytest.raises(KeyRefused, match="issuer"):
        draft_certificate(IDEVID, make_subject(), KEY.public_key, issuer, make_terms())


@pytest.mark.req("CA-1")
def test_key_identifiers_are_rfc_7093_method_1() -> None:
    hierarchy = make_hierarchy()
    point = hierarchy.device_key.public_key[-65:]
    assert hierarchy.device_ca.ski == hashlib.sha256(point).digest()[:20]
    assert hierarchy.root.ski == hashlib.sha256(hierarchy.root_key.public_key[-97:]).digest()[:20]


def test_a_date_after_2049_is_a_generalized_time() -> None:
    payload = x509.load_pem_x509_certificate(make_hierarchy().device_ca.certificate).tbs_certificate_bytes
    assert b"\x17\x0d260102030405Z\x18\x0f20550101000000Z" in payload
    assert datetime(2055, 1, 1, tzinfo=UTC) == make_hierarchy().device_ca.not_after
