from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from pki.x509.chains import verify_chain
from pki.x509.errors import ChainInvalid
from pki.x509.issuers import Issuer
from tests.pki.x509.soft_keys import BEGIN, NOW, SoftKey, make_hierarchy, make_key

KEY = make_key()
CA_USAGE = x509.KeyUsage(False, False, False, False, False, True, False, False, False)


class Leaf(msgspec.Struct):
    """What whoever holds a CA's key can issue, whatever the profiles say."""

    issuer: Issuer
    key: SoftKey
    site: str = "site-a"
    organization: str = "Acme Storage"
    extensions: tuple[tuple[x509.ExtensionType, bool], ...] = ()
    hash: hashes.SHA256 | hashes.SHA224 = hashes.SHA256()
    public_key: ec.EllipticCurvePublicKey = KEY.private.public_key()
    aki: bytes = b""
    empty: bool = False

    def sign(self) -> bytes:
        attributes = [
            (NameOID.ORGANIZATION_NAME, self.organization),
            (NameOID.ORGANIZATIONAL_UNIT_NAME, self.site),
            (NameOID.COMMON_NAME, "leaf"),
        ]
        subject = x509.Name([] if self.empty else [x509.NameAttribute(oid, value) for oid, value in attributes])
        parent = x509.load_pem_x509_certificate(self.issuer.certificate)
        aki = x509.AuthorityKeyIdentifier(self.aki or self.issuer.ski, None, None)
        builder = x509.CertificateBuilder(parent.subject, subject, self.public_key, 1 << 100)
        builder = builder.not_valid_before(BEGIN).not_valid_after(datetime(2030, 1, 1, tzinfo=UTC))
        builder = builder.add_extension(aki, False)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(self.public_key), False)
        for value, critical in self.extensions:
            builder = builder.add_extension(value, critical)
        return builder.sign(self.key.private, self.hash).public_bytes(Encoding.PEM)


def make_issuer(ca: Leaf, key: SoftKey) -> Issuer:
    """The CA whose certificate `ca` is, as far as `Leaf` needs it."""
    ca.public_key = key.private.public_key()
    certificate = ca.sign()
    ski = x509.SubjectKeyIdentifier.from_public_key(ca.public_key).digest
    return msgspec.structs.replace(make_hierarchy().root, certificate=certificate, ski=ski)


def site_leaf(**changes: object) -> bytes:
    hierarchy = make_hierarchy()
    leaf = Leaf(hierarchy.site_ca, hierarchy.site_key)
    for name, value in changes.items():
        setattr(leaf, name, value)
    return leaf.sign()


def verify(leaf: bytes, *intermediates: Issuer, at: datetime = NOW) -> x509.Certificate:
    return verify_chain(leaf, [one.certificate for one in intermediates], make_hierarchy().root.certificate, at)


def test_a_device_chains_to_the_root() -> None:
    hierarchy = make_hierarchy()
    leaf = hierarchy.issue_device(KEY)
    certificate = verify(leaf, hierarchy.device_ca)
    assert certificate == x509.load_pem_x509_certificate(leaf)
    assert verify(certificate.public_bytes(Encoding.DER), hierarchy.device_ca) == certificate
    # A CA right below the root chains as well, for ever as far as the device is concerned.
    verify(hierarchy.device_ca.certificate)
    verify(leaf, hierarchy.device_ca, at=datetime(2050, 1, 1, tzinfo=UTC))


def test_missing_surplus_and_foreign_certificates() -> None:
    hierarchy = make_hierarchy()
    leaf = hierarchy.issue_device(KEY)
    with pytest.raises(ChainInvalid, match="no certificate of CN=Device CA G1"):
        verify(leaf)
    with pytest.raises(ChainInvalid, match="do not belong"):
        verify(leaf, hierarchy.device_ca, hierarchy.site_ca)
    with pytest.raises(ChainInvalid, match="at most 6"):
        verify(leaf, *[hierarchy.device_ca] * 7)
    with pytest.raises(ChainInvalid, match="no certificate of"):
        verify_chain(leaf, [hierarchy.device_ca.certificate], hierarchy.site_ca.certificate, NOW)
    with pytest.raises(ChainInvalid, match="does not parse"):
        verify(b"leaf", hierarchy.device_ca)


def test_time() -> None:
    hierarchy = make_hierarchy()
    leaf = hierarchy.issue_device(KEY)
    verify(leaf, hierarchy.device_ca, at=BEGIN)
    for at in (BEGIN - timedelta(seconds=1), datetime(2055, 1, 1, 0, 0, 1, tzinfo=UTC)):
        with pytest.raises(ChainInvalid, match="not valid at"):
            verify(leaf, hierarchy.device_ca, at=at)


def test_a_signature_by_another_key() -> None:
    with pytest.raises(ChainInvalid, match="not signed by"):
        verify(site_leaf(key=make_key()), make_hierarchy().site_ca)
    with pytest.raises(ChainInvalid, match=r"signed with 1\.2\.840\.10045\.4\.3\.1"):
        verify(site_leaf(hash=hashes.SHA224()), make_hierarchy().site_ca)
    with pytest.raises(ChainInvalid, match="no certificate of"):
        verify(site_leaf(aki=b"x" * 20), make_hierarchy().site_ca)


@pytest.mark.req("CA-8")
def test_a_site_key_issues_for_its_own_site_only() -> None:
    hierarchy = make_hierarchy()
    verify(site_leaf(), hierarchy.site_ca)
    for changes in (
        {"site": "site-b"},
        {"organization": "Other"},
        {"empty": True},
        {"extensions": ((x509.SubjectAlternativeName([x509.DNSName("a.example")]), False),)},
        {"extensions": ((x509.SubjectAlternativeName([x509.DirectoryName(hierarchy_name("site-b"))]), False),)},
    ):
        with pytest.raises(ChainInvalid, match="may n"):
            verify(site_leaf(**changes), hierarchy.site_ca)
    inside = x509.SubjectAlternativeName([x509.DirectoryName(hierarchy_name("site-a"))])
    verify(site_leaf(extensions=((inside, False),)), hierarchy.site_ca)


def hierarchy_name(site: str) -> x509.Name:
    organization = x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Acme Storage")
    return x509.Name([organization, x509.NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, site)])


@pytest.mark.req("CA-8")
def test_a_site_key_signs_no_code() -> None:
    hierarchy = make_hierarchy()
    purposes = {
        purpose: ((x509.ExtendedKeyUsage([purpose]), False),)
        for purpose in (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.CODE_SIGNING)
    }
    verify(site_leaf(extensions=purposes[ExtendedKeyUsageOID.CLIENT_AUTH]), hierarchy.site_ca)
    with pytest.raises(ChainInvalid, match="key purpose"):
        verify(site_leaf(extensions=purposes[ExtendedKeyUsageOID.CODE_SIGNING]), hierarchy.site_ca)


@pytest.mark.req("CA-8")
def test_a_ca_below_a_site_ca_is_one_too_many() -> None:
    hierarchy = make_hierarchy()
    extensions = ((x509.BasicConstraints(True, None), True), (CA_USAGE, True))
    below = site_leaf(extensions=extensions)
    verify(below, hierarchy.site_ca)
    parent = msgspec.structs.replace(
        hierarchy.site_ca,
        certificate=below,
        ski=x509.SubjectKeyIdentifier.from_public_key(KEY.private.public_key()).digest,
    )
    with pytest.raises(ChainInvalid, match="1 CAs follow"):
        verify(Leaf(parent, KEY).sign(), hierarchy.site_ca, parent)


def test_a_device_is_no_ca() -> None:
    hierarchy = make_hierarchy()
    device = hierarchy.issue_device(KEY)
    ski = x509.load_pem_x509_certificate(device).extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
    parent = msgspec.structs.replace(hierarchy.device_ca, certificate=device, ski=ski.value.digest)
    with pytest.raises(ChainInvalid, match="is no CA"):
        verify(Leaf(parent, KEY).sign(), hierarchy.device_ca, parent)


@pytest.mark.req("CA-8")
def test_name_constraints_reach_below_the_next_ca() -> None:
    hierarchy = make_hierarchy()
    constraints = x509.NameConstraints([x509.DirectoryName(hierarchy_name("site-a"))], None)
    upper_key, ca = make_key(), ((x509.BasicConstraints(True, None), True), (CA_USAGE, True))
    upper = make_issuer(Leaf(hierarchy.root, hierarchy.root_key, extensions=(*ca, (constraints, True))), upper_key)
    lower = make_issuer(Leaf(upper, upper_key, extensions=ca), KEY)
    verify(Leaf(lower, KEY).sign(), upper, lower)
    with pytest.raises(ChainInvalid, match="may name"):
        verify(Leaf(lower, KEY, site="site-b").sign(), upper, lower)


@pytest.mark.req("CA-8", "CA-9")
def test_a_ca_of_one_purpose_names_who_answers_for_it_and_for_nobody_else() -> None:
    hierarchy = make_hierarchy()
    answers = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)
    verify(site_leaf(extensions=(answers,)), hierarchy.site_ca)
    both = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING, ExtendedKeyUsageOID.CODE_SIGNING])
    with pytest.raises(ChainInvalid, match="key purpose"):
        verify(site_leaf(extensions=((both, False),)), hierarchy.site_ca)
    client = (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False)
    upper_key, ca = make_key(), ((x509.BasicConstraints(True, None), True), (CA_USAGE, True))
    upper = make_issuer(Leaf(hierarchy.root, hierarchy.root_key, extensions=(*ca, client)), upper_key)
    lower = make_issuer(Leaf(upper, upper_key, extensions=ca), KEY)
    verify(Leaf(lower, KEY, extensions=(client,)).sign(), upper, lower)
    with pytest.raises(ChainInvalid, match="key purpose"):
        verify(Leaf(lower, KEY, extensions=(answers,)).sign(), upper, lower)


def test_policies_are_read_and_none_is_demanded() -> None:
    policy = x509.PolicyInformation(x509.ObjectIdentifier("1.3.6.1.4.1.40732.1.1"), None)
    verify(site_leaf(extensions=((x509.CertificatePolicies([policy]), True),)), make_hierarchy().site_ca)


def test_a_ca_that_may_not_sign_certificates() -> None:
    hierarchy = make_hierarchy()
    crl_only = x509.KeyUsage(False, False, False, False, False, False, True, False, False)
    ca = ((x509.BasicConstraints(True, None), True), (crl_only, True))
    parent = make_issuer(Leaf(hierarchy.root, hierarchy.root_key, extensions=ca), KEY)
    with pytest.raises(ChainInvalid, match="is no CA"):
        verify(Leaf(parent, KEY).sign(), parent)


def test_what_is_not_understood_is_refused() -> None:
    hierarchy = make_hierarchy()
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00")
    verify(site_leaf(extensions=((unknown, False),)), hierarchy.site_ca)
    with pytest.raises(ChainInvalid, match=r"critical extension 1\.2\.3\.4"):
        verify(site_leaf(extensions=((unknown, True),)), hierarchy.site_ca)


def test_name_constraints_of_an_unknown_form_are_refused() -> None:
    hierarchy = make_hierarchy()
    for constraints in (
        x509.NameConstraints([x509.DNSName("a.example")], None),
        x509.NameConstraints(None, [x509.DNSName("")]),
        x509.NameConstraints([x509.DirectoryName(hierarchy_name("site-a"))], [x509.DNSName("a.example")]),
    ):
        ca = ((x509.BasicConstraints(True, 0), True), (CA_USAGE, True), (constraints, True))
        parent = make_issuer(Leaf(hierarchy.root, hierarchy.root_key, extensions=ca), KEY)
        with pytest.raises(ChainInvalid, match="unknown form"):
            verify(Leaf(parent, KEY).sign(), parent)
