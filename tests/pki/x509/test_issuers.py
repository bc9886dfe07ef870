import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pki.errors import SignatureInvalid
from pki.names import AuthoritySubject
from pki.x509.certificates import draft_certificate
from pki.x509.errors import DerMalformed, IssuerRefused, LintFailed, PemMalformed
from pki.x509.issuers import check_may_issue, read_certificate, read_issuer
from pki.x509.profiles import DEVICE_CA, IDENTITY_ROOT, IDEVID, PROFILES, SITE_CA
from tests.pki.x509.soft_keys import make_hierarchy, make_key, make_terms
from tests.pki.x509.soft_profiles import make_service_ca


def test_an_issuer_is_what_its_certificate_says() -> None:
    hierarchy = make_hierarchy()
    for issuer, key in ((hierarchy.root, hierarchy.root_key), (hierarchy.device_ca, hierarchy.device_key)):
        parsed = x509.load_pem_x509_certificate(issuer.certificate)
        assert (issuer.public_key, issuer.spki) == (key.public_key, key.spki)
        assert issuer.subject == parsed.subject.public_bytes()
        assert issuer.ski == parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        assert (issuer.not_before, issuer.not_after) == (parsed.not_valid_before_utc, parsed.not_valid_after_utc)


def test_der_and_pem_give_the_same_issuer() -> None:
    root = make_hierarchy().root
    der = x509.load_pem_x509_certificate(root.certificate).public_bytes(Encoding.DER)
    assert read_issuer(IDENTITY_ROOT, der) == root


@pytest.mark.req("KL-7")
def test_who_may_issue_what() -> None:
    hierarchy = make_hierarchy()
    issuers = {
        None: None,
        "identity-root": hierarchy.root,
        "device-ca": hierarchy.device_ca,
        "site-ca": hierarchy.site_ca,
        "service-ca": make_service_ca()[0],
    }
    allowed = set()
    for profile in PROFILES.values():
        for name, issuer in issuers.items():
            try:
                check_may_issue(profile, issuer)
            except IssuerRefused:
                continue
            allowed.add((profile.name, name))
    assert allowed == {
        ("identity-root", None),
        ("device-ca", "identity-root"),
        ("site-ca", "identity-root"),
        ("service-ca", "identity-root"),
        ("root-link", "identity-root"),
        ("idevid", "device-ca"),
        ("ieee2030-5-device", "device-ca"),
        ("ldevid", "site-ca"),
        ("station-tls", "service-ca"),
        ("ocsp-responder", "device-ca"),
        ("cmp-responder", "device-ca"),
        ("ocsp-responder", "site-ca"),
        ("ocsp-responder", "service-ca"),
    }


def test_a_leaf_is_no_issuer() -> None:
    hierarchy = make_hierarchy()
    leaf = hierarchy.issue_device(make_key())
    with pytest.raises(IssuerRefused, match="no profile of a CA"):
        read_issuer(IDEVID, leaf, hierarchy.device_ca)
    with pytest.raises(LintFailed):
        read_issuer(DEVICE_CA, leaf, hierarchy.root)


def test_a_site_ca_is_no_device_ca() -> None:
    hierarchy = make_hierarchy()
    with pytest.raises(LintFailed):
        read_issuer(DEVICE_CA, hierarchy.site_ca.certificate, hierarchy.root)
    with pytest.raises(LintFailed):
        read_issuer(SITE_CA, hierarchy.device_ca.certificate, hierarchy.root)


def test_an_issuer_that_another_key_signed() -> None:
    hierarchy = make_hierarchy()
    subject = AuthoritySubject("Acme Storage", "Device CA", 2)
    draft = draft_certificate(DEVICE_CA, subject, make_key().public_key, hierarchy.root, make_terms(2030))
    forged = draft.assemble({hierarchy.root.spki: make_key(hierarchy.root_key.private.curve).sign(draft.payload)})
    with pytest.raises(SignatureInvalid):
        read_issuer(DEVICE_CA, forged, hierarchy.root)


def test_what_is_no_certificate() -> None:
    with pytest.raises(IssuerRefused, match="16385 bytes"):
        read_certificate(bytes(16385))
    for data in (b"", b"\x30\x00", b"certificate"):
        with pytest.raises(DerMalformed):
            read_certificate(data)
    with pytest.raises(IssuerRefused, match="not a certificate"):
        read_certificate(bytes.fromhex("3007" + "3000" + "3000" + "030100"))
    root = read_certificate(make_hierarchy().root.certificate).public_bytes(Encoding.DER)
    with pytest.raises(IssuerRefused, match="not a certificate: 105"):
        read_certificate(root.replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020169"), 1))
    with pytest.raises(PemMalformed):
        read_certificate(make_hierarchy().root.certificate + make_hierarchy().device_ca.certificate)


def test_issuers_are_values() -> None:
    root = make_hierarchy().root
    assert msgspec.structs.replace(root) == root
    assert hash(msgspec.structs.replace(root)) == hash(root)
