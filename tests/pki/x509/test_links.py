"""Link certificates: what they say, what they are refused for, and both directions through the own verifier."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from pki.errors import SignatureInvalid
from pki.names import AuthoritySubject
from pki.x509.certificates import draft_certificate
from pki.x509.chains import verify_chain
from pki.x509.errors import ChainInvalid, IssuerRefused, LintFailed, SubjectRefused
from pki.x509.issuers import Issuer, read_certificate, read_issuer
from pki.x509.links import draft_link, is_same_authority, read_link, read_subject
from pki.x509.lint import lint_certificate
from pki.x509.profiles import DEVICE_CA, IDENTITY_ROOT, ROOT_LINK
from pki.x509.terms import Terms
from tests.pki.x509.soft_keys import BEGIN, NUMBER, make_hierarchy, make_key
from tests.pki.x509.soft_roots import (
    BEGIN_2,
    NOW_2,
    issue_below,
    make_next_device_ca,
    make_roots,
    until,
)

KEY, CA_KEY = make_key(), make_key()
ROOTS = make_roots()


def load(pem: bytes) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pem)


def find_ski(certificate: x509.Certificate) -> bytes:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


@pytest.mark.req("RO-2")
def test_each_link_has_the_name_the_key_and_the_identifier_of_its_root() -> None:
    old, new = load(ROOTS.first.root.certificate), load(ROOTS.new.certificate)
    for pem, root, issuer in ((ROOTS.new_with_old, new, old), (ROOTS.old_with_new, old, new)):
        link = load(pem)
        link.verify_directly_issued_by(issuer)
        assert (link.subject, link.issuer, link.public_key()) == (root.subject, issuer.subject, root.public_key())
        assert find_ski(link) == find_ski(root)
        aki = link.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        assert aki == find_ski(issuer)
        basic = link.extensions.get_extension_for_class(x509.BasicConstraints)
        assert (basic.critical, basic.value.ca, basic.value.path_length) == (True, True, 1)
    assert old.subject != new.subject


@pytest.mark.req("RO-2")
def test_how_long_they_are_valid() -> None:
    """RFC 9810 section 4.4.1: oldWithNew as the old root; newWithOld from the new root's begin, never after the old."""
    old, new = ROOTS.first.root, ROOTS.new
    link = load(ROOTS.old_with_new)
    assert (link.not_valid_before_utc, link.not_valid_after_utc) == (old.not_before, old.not_after)
    link = load(ROOTS.new_with_old)
    assert (link.not_valid_before_utc, link.not_valid_after_utc) == (new.not_before, old.not_after)
    assert new.not_after > old.not_after
    assert old.not_before < new.not_before


@pytest.mark.req("RO-2", "CA-8")
def test_who_trusts_one_root_accepts_devices_of_both_generations() -> None:
    first, new_ca = ROOTS.first, make_next_device_ca(ROOTS, CA_KEY)
    old_leaf, new_leaf = first.issue_device(KEY), issue_below(new_ca, CA_KEY, KEY)
    for leaf, between, root in (
        (old_leaf, [first.device_ca.certificate], first.root),
        (new_leaf, [new_ca.certificate], ROOTS.new),
        (new_leaf, [new_ca.certificate, ROOTS.new_with_old], first.root),
        (old_leaf, [first.device_ca.certificate, ROOTS.old_with_new], ROOTS.new),
    ):
        verify_chain(leaf, between, root.certificate, NOW_2)
    for leaf, between, root in (
        (new_leaf, [new_ca.certificate], first.root),
        (new_leaf, [new_ca.certificate, ROOTS.old_with_new], first.root),
        (old_leaf, [first.device_ca.certificate], ROOTS.new),
    ):
        with pytest.raises(ChainInvalid):
            verify_chain(leaf, between, root.certificate, NOW_2)


def test_one_link_is_as_far_as_a_root_reaches() -> None:
    """A third generation over two links is refused: each root is linked with every other one."""
    key = make_key(ec.SECP384R1())
    subject = AuthoritySubject("Acme Storage", "Identity Root", 3)
    third = read_issuer(
        IDENTITY_ROOT, key.finish(draft_certificate(IDENTITY_ROOT, subject, key.public_key, None, until(2067)))
    )
    terms, subject = until(2060), AuthoritySubject("Acme Storage", "Device CA", 3)
    ca = read_issuer(DEVICE_CA, key.finish(draft_certificate(DEVICE_CA, subject, KEY.public_key, third, terms)), third)
    leaf, by_second = issue_below(ca, KEY, KEY), ROOTS.key.finish(draft_link(third, ROOTS.new, NUMBER))
    by_first = ROOTS.first.root_key.finish(draft_link(third, ROOTS.first.root, NUMBER))
    root = ROOTS.first.root.certificate
    verify_chain(leaf, [ca.certificate, by_first], root, NOW_2)
    with pytest.raises(ChainInvalid, match="CAs follow"):
        verify_chain(leaf, [ca.certificate, by_second, ROOTS.new_with_old], root, NOW_2)


def test_only_two_generations_of_one_root_are_linked() -> None:
    hierarchy, key = make_hierarchy(), make_key(ec.SECP384R1())
    other = AuthoritySubject("Acme Storage", "Another Root", 1)
    draft = draft_certificate(IDENTITY_ROOT, other, key.public_key, None, until(2067))
    stranger = read_issuer(IDENTITY_ROOT, key.finish(draft))
    pairs: list[tuple[Issuer, Issuer]] = [
        (hierarchy.root, hierarchy.root),
        (stranger, hierarchy.root),
        (hierarchy.device_ca, hierarchy.root),
        (hierarchy.root, hierarchy.device_ca),
    ]
    for root, issuer in pairs:
        with pytest.raises(IssuerRefused):
            draft_link(root, issuer, NUMBER)


@pytest.mark.req("RO-2")
def test_a_link_is_read_for_the_root_of_which_it_speaks() -> None:
    """Only newWithOld: who believes a root goes on to a later one, never back."""
    old, new, other = ROOTS.first.root, ROOTS.new, make_hierarchy()
    assert read_link(ROOTS.new_with_old, new, old).public_key == new.public_key
    with pytest.raises(IssuerRefused, match="another root"):
        read_link(ROOTS.new_with_old, old, old)
    with pytest.raises(IssuerRefused, match="no later generation"):
        read_link(ROOTS.old_with_new, old, new)
    stranger = make_key(ec.SECP384R1())
    with pytest.raises(SignatureInvalid):
        read_link(stranger.finish(draft_link(new, old, NUMBER)), new, old)
    with pytest.raises(LintFailed):
        read_link(other.device_ca.certificate, new, old)


def test_a_name_that_we_would_write_otherwise_is_not_linked() -> None:
    odd = msgspec.structs.replace(ROOTS.new, subject=b"\x30\x00")
    with pytest.raises(SubjectRefused, match="encoded otherwise"):
        draft_link(odd, ROOTS.first.root, NUMBER)


def test_only_a_link_may_begin_before_its_issuer() -> None:
    old, new = ROOTS.first.root, ROOTS.new
    der = load(ROOTS.old_with_new).public_bytes(Encoding.DER)
    assert lint_certificate("root-link", der, new).subject == old.subject
    with pytest.raises(LintFailed, match="begins before its issuer"):
        lint_certificate("device-ca", der, new)
    with pytest.raises(LintFailed, match="ends after its issuer"):
        terms = Terms(NUMBER, BEGIN, new.not_after + timedelta(days=1))
        draft_certificate(ROOT_LINK, AuthoritySubject("Acme Storage", "Identity Root", 1), old.public_key, new, terms)
    with pytest.raises(LintFailed, match="the subject is the issuer's"):
        terms = Terms(NUMBER, BEGIN_2, datetime(2040, 1, 1, tzinfo=UTC))
        draft_certificate(ROOT_LINK, AuthoritySubject("Acme Storage", "Identity Root", 2), old.public_key, new, terms)


def test_the_name_of_a_ca_is_read_back() -> None:
    hierarchy = make_hierarchy()
    root, site = (read_certificate(item.certificate) for item in (hierarchy.root, hierarchy.site_ca))
    assert read_subject(root) == AuthoritySubject("Acme Storage", "Identity Root", 1)
    assert read_subject(site) == AuthoritySubject("Acme Storage", "Site CA", 1, "site-a")
    assert is_same_authority(root, load(ROOTS.new.certificate))
    assert not is_same_authority(site, read_certificate(hierarchy.other_site_ca.certificate))
    with pytest.raises(SubjectRefused):
        read_subject(load(hierarchy.issue_device(KEY)))
