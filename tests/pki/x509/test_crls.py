"""Lists as they are drafted: octet by octet what cryptography's own builder makes, and refused when they say else."""

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given, settings
from hypothesis import strategies as st

from pki.errors import SignatureInvalid
from pki.x509 import crls
from pki.x509.crls import CrlTerms, draft_crl, find_algorithm
from pki.x509.errors import CrlRefused, LintFailed
from pki.x509.reasons import REASONS
from pki.x509.revocation import Revoked
from pki.x509.standin import StandInKey
from tests.pki.x509.soft_keys import NOW, make_hierarchy, make_key

HIERARCHY = make_hierarchy()
ISSUER = HIERARCHY.device_ca
TERMS = CrlTerms(417, NOW, NOW + timedelta(days=1))
URL = "http://crl.example/pki/crl/device-ca/3f.crl"
entries = st.lists(
    st.builds(
        Revoked,
        st.integers(1 << 64, (1 << 159) - 1),
        st.integers(946_684_800, 4_000_000_000),
        st.sampled_from(sorted(REASONS)),
    ),
    max_size=20,
    unique_by=lambda entry: entry.number,
)


def build(revoked: list[Revoked], terms: CrlTerms) -> bytes:
    """The TBS that cryptography's builder makes."""
    builder = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.load_pem_x509_certificate(ISSUER.certificate).subject)
        .last_update(terms.this_update)
        .next_update(terms.next_update)
        .add_extension(x509.AuthorityKeyIdentifier(ISSUER.ski, None, None), critical=False)
        .add_extension(x509.CRLNumber(terms.number), critical=False)
    )
    if terms.url:
        names = [x509.UniformResourceIdentifier(terms.url)]
        point = x509.IssuingDistributionPoint(names, None, False, False, None, False, False)
        builder = builder.add_extension(point, critical=True)
    for entry in sorted(revoked):
        one = x509.RevokedCertificateBuilder().serial_number(entry.number)
        one = one.revocation_date(datetime.fromtimestamp(entry.at, UTC))
        if entry.reason != "unspecified":
            one = one.add_extension(x509.CRLReason(x509.ReasonFlags(entry.reason)), critical=False)
        builder = builder.add_revoked_certificate(one.build())
    key = x509.load_pem_x509_certificate(ISSUER.certificate).public_key()
    stand_in = StandInKey(key)  # type: ignore[arg-type]  # the device CA's key is on P-256
    return builder.sign(stand_in, stand_in.hash).tbs_certlist_bytes


@settings(max_examples=50)
@given(entries, st.integers(0, (1 << 53) - 1), st.sampled_from(["", URL]))
def test_written_and_built_are_the_same(revoked: list[Revoked], number: int, url: str) -> None:
    terms = CrlTerms(number, NOW, NOW + timedelta(hours=7), url)
    assert draft_crl(ISSUER, revoked, terms).payload == build(revoked, terms)


@pytest.mark.req("CA-9")
def test_a_draft_becomes_a_list_that_the_ca_signed() -> None:
    draft = draft_crl(ISSUER, [Revoked(1 << 70, 1_700_000_000, "superseded")], TERMS, partition=3)
    der = HIERARCHY.device_key.finish(draft)
    read = x509.load_der_x509_crl(der)
    assert read.public_bytes(Encoding.DER) == der
    assert read.is_signature_valid(HIERARCHY.device_key.private.public_key())
    assert (draft.kind, draft.what["crl_number"], draft.what["entries"], draft.what["partition"]) == ("crl", 417, 1, 3)
    assert draft.what["until"] - draft.what["from"] == 86_400
    assert "CRL 417" in draft.summary
    with pytest.raises(SignatureInvalid):
        draft.finish({ISSUER.spki: make_key().sign(draft.payload)})


def test_years_from_2050_on_are_generalized() -> None:
    late = Revoked(1 << 70, int(datetime(2051, 3, 4, 5, 6, 7, tzinfo=UTC).timestamp()), "unspecified")
    terms = CrlTerms(1, datetime(2052, 1, 1, tzinfo=UTC), datetime(2052, 2, 1, tzinfo=UTC))
    assert draft_crl(ISSUER, [late], terms).payload == build([late], terms)


def test_a_root_signs_with_its_own_algorithm() -> None:
    draft = draft_crl(HIERARCHY.root, [], TERMS)
    read = x509.load_der_x509_crl(HIERARCHY.root_key.finish(draft))
    assert read.signature_algorithm_oid.dotted_string == "1.2.840.10045.4.3.3"
    with pytest.raises(CrlRefused):
        find_algorithm(b"0")


@pytest.mark.parametrize(
    ("number", "life", "url"), [(-1, 1, ""), (1 << 53, 1, ""), (1, 0, ""), (1, 1, "http://é"), (1, 1, "x" * 257)]
)
def test_terms_that_no_list_can_have(number: int, life: int, url: str) -> None:
    with pytest.raises(CrlRefused):
        CrlTerms(number, NOW, NOW + timedelta(seconds=life), url)


@pytest.mark.req("CA-12")
def test_a_list_that_says_something_else_is_not_signed(monkeypatch: pytest.MonkeyPatch) -> None:
    twice = [Revoked(1 << 70, 1_700_000_000, "superseded")] * 2
    with pytest.raises(LintFailed, match="twice"):
        draft_crl(ISSUER, twice, TERMS)
    monkeypatch.setattr(crls, "read_reason", lambda _: 1)
    with pytest.raises(LintFailed, match="entries are not those"):
        draft_crl(ISSUER, twice[:1], TERMS)
    monkeypatch.setattr(crls, "LARGEST", 1)
    with pytest.raises(CrlRefused, match="entries"):
        draft_crl(ISSUER, twice, TERMS)
