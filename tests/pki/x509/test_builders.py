"""What cryptography's builder is told, read back by cryptography's parser."""

import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from pki.errors import KeyUnsupported
from pki.signatures import spki_der
from pki.x509.builders import check_key, key_identifier, stand_in
from pki.x509.errors import KeyRefused
from pki.x509.profiles import IDENTITY_ROOT, IDEVID
from tests.pki.x509.soft_keys import make_hierarchy, make_key
from tests.pki.x509.soft_profiles import CRL_URL, make_examples

KEY = make_key()
EXAMPLES = make_examples()


def read(name: str, **options: object) -> x509.Certificate:
    return x509.load_pem_x509_certificate(EXAMPLES[name].below(**options).issue(KEY))


def find(certificate: x509.Certificate) -> dict[str, tuple[object, bool]]:
    return {item.oid.dotted_string: (item.value, item.critical) for item in certificate.extensions}


@pytest.mark.req("CA-5")
def test_an_ieee_2030_5_device() -> None:
    certificate = read("ieee2030-5-device")
    assert not list(certificate.subject)
    assert certificate.not_valid_after_utc.year == 9999
    found = find(certificate)
    assert list(found) == ["2.5.29.19", "2.5.29.15", "2.5.29.32", "2.5.29.35", "2.5.29.14", "2.5.29.17"]
    [name] = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert isinstance(name, x509.OtherName)
    assert name.type_id.dotted_string == "1.3.6.1.5.5.7.8.4"
    # SEQUENCE {OID 1.3.6.1.4.1.32473.1, OCTET STRING "SN-0001"}
    assert name.value.hex() == "3014" + "06092b0601040181fd5901" + "0407" + b"SN-0001".hex()
    usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    assert (usage.digital_signature, usage.key_agreement, usage.key_cert_sign) == (True, True, False)
    policies = certificate.extensions.get_extension_for_class(x509.CertificatePolicies)
    assert [policy.policy_identifier.dotted_string for policy in policies.value] == ["1.3.6.1.4.1.40732.1.1"]
    assert policies.critical
    assert all(found[oid][1] for oid in ("2.5.29.15", "2.5.29.17", "2.5.29.19"))


@pytest.mark.req("CA-4", "CA-8")
@pytest.mark.parametrize(
    ("name", "subject", "days", "purposes"),
    [
        (
            "ldevid",
            "2.5.4.5=SN-0001,CN=bms-stm32h7,OU=site-a,O=Acme Storage",
            365,
            (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH),
        ),
        ("station-tls", "CN=eol-tester-3,OU=graz,O=Acme Storage", 30, (ExtendedKeyUsageOID.CLIENT_AUTH,)),
        ("ocsp-responder", "CN=Device CA G1 OCSP,O=Acme Storage", 92, (ExtendedKeyUsageOID.OCSP_SIGNING,)),
        ("cmp-responder", "CN=Device CA G1 CMP,O=Acme Storage", 92, (x509.ObjectIdentifier("1.3.6.1.5.5.7.3.28"),)),
    ],
)
def test_certificates_that_end(name: str, subject: str, days: int, purposes: tuple[x509.ObjectIdentifier, ...]) -> None:
    certificate = read(name)
    assert certificate.subject.rfc4514_string() == subject
    assert (certificate.not_valid_after_utc - certificate.not_valid_before_utc).days == days
    assert tuple(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == purposes
    assert ("1.3.6.1.5.5.7.48.1.5" in find(certificate)) == (name == "ocsp-responder")


@pytest.mark.req("CA-9")
def test_a_crl_is_named_in_end_entities_only() -> None:
    for name in EXAMPLES:
        assert "2.5.29.31" not in find(read(name))
        [point] = read(name, crl_url=CRL_URL).extensions.get_extension_for_class(x509.CRLDistributionPoints).value
        assert point.full_name == [x509.UniformResourceIdentifier(f"{CRL_URL}/20.crl")]
        assert (point.reasons, point.crl_issuer, point.relative_name) == (None, None, None)


def test_keys() -> None:
    root = make_hierarchy().root_key.public_key
    assert key_identifier(KEY.public_key) == hashlib.sha256(KEY.public_key[-65:]).digest()[:20]
    assert key_identifier(root) == hashlib.sha256(root[-97:]).digest()[:20]
    assert isinstance(check_key(IDEVID, KEY.public_key), ec.EllipticCurvePublicKey)
    assert check_key(IDENTITY_ROOT, root).curve.name == "secp384r1"
    with pytest.raises(KeyRefused, match="idevid does not take"):
        check_key(IDEVID, root)
    with pytest.raises(KeyUnsupported):
        check_key(IDEVID, b"")
    with pytest.raises(KeyRefused, match="P-256 or P-384"):
        stand_in(spki_der(ed25519.Ed25519PrivateKey.generate().public_key()))
    assert stand_in(root).key_size == 384
