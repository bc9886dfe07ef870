"""What a certificate says, told to cryptography's builder; and the rehearsal, its to-be-signed bytes."""

import hashlib
import ipaddress
from functools import lru_cache

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pki.names import AuthoritySubject, DeviceSubject, HardwareModule, ModuleSubject, ServiceSubject
from pki.signatures import load_spki
from pki.x509.der import OCTET_STRING, SEQUENCE, write_element, write_oid
from pki.x509.errors import KeyRefused
from pki.x509.issuers import Issuer
from pki.x509.profiles import TEST_POLICY, Profile
from pki.x509.standin import StandInKey
from pki.x509.terms import Terms, partition_of

Subject = DeviceSubject | ModuleSubject | ServiceSubject | AuthoritySubject

_HARDWARE_MODULE_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4")
_EVERY_HOST = (
    x509.DNSName(""),
    x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")),
    x509.IPAddress(ipaddress.ip_network("::/0")),
)


def rehearse(profile: Profile, subject: Subject, public_key: bytes, issuer: Issuer | None, terms: Terms) -> bytes:
    """The TBS in DER, made with a stand-in for the issuer's key. Raises KeyRefused."""
    key = stand_in(issuer.public_key if issuer else public_key)
    return _build(profile, subject, public_key, issuer, terms).sign(key, key.hash).tbs_certificate_bytes


@lru_cache(maxsize=64)
def stand_in(public_key: bytes) -> StandInKey:
    """The stand-in of an issuer's key. Raises KeyRefused."""
    key = load_spki(public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise KeyRefused("an issuer's key is not on P-256 or P-384")
    return StandInKey(key)


def check_key(profile: Profile, public_key: bytes) -> ec.EllipticCurvePublicKey:
    """The subject's key, which is on a curve of the profile and not compressed. Raises KeyRefused."""
    key = load_spki(public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in profile.curves:
        raise KeyRefused(f"{profile.name} does not take this key", hint=f"use {' or '.join(profile.curves)}")
    if len(public_key) not in (91, 120):
        # One key has one SubjectPublicKeyInfo, and so one name: that of the uncompressed point.
        raise KeyRefused(
            "the key's point is compressed", hint="give the SubjectPublicKeyInfo that parse_request returns"
        )
    return key


def key_identifier(public_key: bytes) -> bytes:
    """RFC 7093 section 2 method 1: the left 160 bits of SHA-256 over the point; no SHA-1.

    The point ends the SubjectPublicKeyInfo, which has 91 bytes on P-256 and 120 on P-384.
    """
    point = public_key[-65 if len(public_key) == 91 else -97 :]
    return hashlib.sha256(point).digest()[:20]


@lru_cache(maxsize=64)
def _begin(profile: Profile, issuer: Issuer | None) -> x509.CertificateBuilder:
    """What all certificates of a profile and an issuer share. Builders are immutable, so it may be kept."""
    usage = profile.key_usage
    key_usage = x509.KeyUsage(
        digital_signature="digital_signature" in usage,
        key_agreement="key_agreement" in usage,
        key_cert_sign="key_cert_sign" in usage,
        crl_sign="crl_sign" in usage,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = x509.CertificateBuilder()
    builder = builder.add_extension(x509.BasicConstraints(profile.authority, profile.path_length), critical=True)
    builder = builder.add_extension(key_usage, critical=True)
    if profile.extended_key_usage:
        purposes = x509.ExtendedKeyUsage(x509.ObjectIdentifier(oid) for oid in profile.extended_key_usage)
        builder = builder.add_extension(purposes, critical=False)
    if profile.policies:
        builder = builder.add_extension(_name_policies(profile, issuer), critical=True)
    if profile.no_check:
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    if issuer is None:
        return builder
    subject = x509.load_pem_x509_certificate(issuer.certificate).subject
    return _name_issuer(builder, subject, x509.SubjectKeyIdentifier(issuer.ski))


def _name_policies(profile: Profile, issuer: Issuer | None) -> x509.CertificatePolicies:
    oids = list(profile.policies)
    if issuer is not None and issuer.test_root:
        oids.append(TEST_POLICY)
    return x509.CertificatePolicies(x509.PolicyInformation(x509.ObjectIdentifier(oid), None) for oid in oids)


def _name_issuer(
    builder: x509.CertificateBuilder, name: x509.Name, ski: x509.SubjectKeyIdentifier
) -> x509.CertificateBuilder:
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)
    return builder.issuer_name(name).add_extension(authority, critical=False)


def _build(
    profile: Profile, subject: Subject, public_key: bytes, issuer: Issuer | None, terms: Terms
) -> x509.CertificateBuilder:
    name, ski = subject.x501_name(), x509.SubjectKeyIdentifier(key_identifier(public_key))
    builder = _begin(profile, issuer)
    if issuer is None:
        builder = _name_issuer(builder, name, ski)
    builder = (
        builder.subject_name(name)
        .public_key(check_key(profile, public_key))
        .serial_number(terms.serial_number)
        .not_valid_before(terms.not_before)
        .not_valid_after(terms.end)
        .add_extension(ski, critical=False)
    )
    if isinstance(subject, AuthoritySubject):
        if profile.site_bound:
            permitted = [x509.DirectoryName(subject.x501_base())]
            builder = builder.add_extension(x509.NameConstraints(permitted, list(_EVERY_HOST)), critical=True)
        return builder
    if isinstance(subject, DeviceSubject | ModuleSubject) and subject.hardware is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name_hardware(subject.hardware)]), critical=True)
    if issuer is not None and issuer.crl_url:  # the last one: `pki.x509.series` looks for it there
        builder = builder.add_extension(_name_crl(issuer.crl_url, terms), critical=False)
    return builder


def _name_hardware(module: HardwareModule) -> x509.OtherName:
    """HardwareModuleName ::= SEQUENCE {hwType OID, hwSerialNum OCTET STRING} (RFC 4108 section 5)."""
    value = write_element(SEQUENCE, write_oid(module.type_oid), write_element(OCTET_STRING, module.serial))
    return x509.OtherName(_HARDWARE_MODULE_NAME, value)


def _name_crl(url: str, terms: Terms) -> x509.CRLDistributionPoints:
    """One URI, that of the partition to which the certificate's number belongs (RFC 5280 section 4.2.1.13)."""
    uri = x509.UniformResourceIdentifier(f"{url}/{partition_of(terms.serial_number)}.crl")
    return x509.CRLDistributionPoints([x509.DistributionPoint([uri], None, None, None)])
