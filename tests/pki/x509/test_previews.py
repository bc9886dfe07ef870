"""A CA before its certificate is signed: what is drafted with the preview fits the certificate that comes."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pki.names import AuthoritySubject
from pki.signatures import der_to_raw, spki_der, spki_sha256
from pki.x509.certificates import draft_certificate
from pki.x509.errors import IssuerRefused
from pki.x509.issuers import read_issuer
from pki.x509.previews import preview_issuer
from pki.x509.profiles import DEVICE_CA, IDENTITY_ROOT
from pki.x509.terms import Terms

ROOT_KEY = ec.derive_private_key(11, ec.SECP384R1())
CA_KEY = ec.derive_private_key(12, ec.SECP256R1())
START = datetime(2026, 11, 2, tzinfo=UTC)
ROOT = draft_certificate(
    IDENTITY_ROOT,
    AuthoritySubject("Acme", "Root", 1),
    spki_der(ROOT_KEY.public_key()),
    None,
    Terms(1 << 100, START, START + timedelta(days=9000)),
)


def test_a_draft_under_the_preview_is_the_draft_under_the_certificate() -> None:
    raw = der_to_raw(ROOT_KEY.sign(ROOT.payload, ec.ECDSA(hashes.SHA384())), 48)
    signed = read_issuer(IDENTITY_ROOT, ROOT.finish({ROOT.to_sign[0].spki: raw}))
    preview = preview_issuer(IDENTITY_ROOT, ROOT)
    assert preview.spki == spki_sha256(spki_der(ROOT_KEY.public_key()))
    subject, public_key = AuthoritySubject("Acme", "Device CA", 1), spki_der(CA_KEY.public_key())
    terms = Terms(1 << 101, START, START + timedelta(days=8000))
    drafts = [draft_certificate(DEVICE_CA, subject, public_key, issuer, terms) for issuer in (preview, signed)]
    assert drafts[0].payload == drafts[1].payload
    assert drafts[0].digest == drafts[1].digest


def test_a_preview_is_no_certificate() -> None:
    with pytest.raises(Exception, match="does not verify"):
        read_issuer(IDENTITY_ROOT, preview_issuer(IDENTITY_ROOT, ROOT).certificate)


def test_a_preview_keeps_the_rules_of_who_issues_what() -> None:
    with pytest.raises(IssuerRefused):
        preview_issuer(DEVICE_CA, ROOT)
