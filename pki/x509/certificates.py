"""Certificates: drafted and linted without a key, assembled from the signature that the strongbox returns.

1. cryptography's builder makes a rehearsal with a stand-in key; its to-be-signed bytes are the draft.
2. The lints read the rehearsal. Nothing is signed unless they find nothing.
3. The finished certificate is SEQUENCE {the identical TBS, algorithm, signature} (RFC 5280 section 4.1), read back.
"""

import hashlib
import ipaddress
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from pki.drafts import Draft, ToSign
from pki.names import AuthoritySubject, DeviceSubject, HardwareModule, read_serial_number
from pki.signatures import load_spki, raw_to_der, spki_der, spki_sha256
from pki.x509.der import BIT_STRING, OCTET_STRING, SEQUENCE, write_element, write_oid
from pki.x509.errors import (
    AssemblyFailed,
    DerMalformed,
    KeyRefused,
    LintFailed,
    SubjectRefused,
    ValidityRefused,
)
from pki.x509.issuers import Issuer, check_may_issue
from pki.x509.lint import lint_certificate
from pki.x509.pem import write_pem
from pki.x509.profiles import Profile
from pki.x509.series import Series, read_series, splice_tbs
from pki.x509.standin import StandInKey
from pki.x509.tbs import split_signed
from pki.x509.terms import Terms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BASE_POINT = spki_der(ec.derive_private_key(1, ec.SECP256R1()).public_key())
_HARDWARE_MODULE_NAME = x509.ObjectIdentifier("1.3.6.1.5.5.7.8.4")
_EVERY_HOST = (
    x509.DNSName(""),
    x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")),
    x509.IPAddress(ipaddress.ip_network("::/0")),
)

Subject = DeviceSubject | AuthoritySubject


class Prepared(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A linted certificate before its signature. tbs: DER, to be signed. what: the facts that the journal records."""

    tbs: bytes
    summary: str
    what: dict[str, str]


def draft_certificate(
    profile: Profile, subject: Subject, public_key: bytes, issuer: Issuer | None, terms: Terms
) -> Draft:
    """Draft the certificate of `public_key` (DER SubjectPublicKeyInfo), signed by `issuer` or, when None, by itself.

    Raises what `prepare_certificate` raises.
    """
    prepared = prepare_certificate(profile, subject, public_key, issuer, terms)
    return draft_prepared(profile, issuer.public_key if issuer else public_key, prepared)


def prepare_certificate(
    profile: Profile, subject: Subject, public_key: bytes, issuer: Issuer | None, terms: Terms
) -> Prepared:
    """Rehearse and lint a certificate.

    Raises IssuerRefused, SubjectRefused, KeyRefused, ValidityRefused, and LintFailed when the rehearsal breaks a rule.
    """
    check_may_issue(profile, issuer)
    _check_facts(profile, subject, terms)
    _check_key(profile, public_key)
    tbs = _rehearse(profile, subject, public_key, issuer, terms)
    read = lint_certificate(profile.name, tbs, issuer)
    if (read.public_key, read.serial_number) != (public_key, terms.serial_number):
        raise LintFailed(f"{profile.name}: the rehearsal has another key or number")
    summary = f"Issue a {profile.name} certificate for {subject}, valid until {terms.end.date().isoformat()}"
    return Prepared(tbs, summary, _facts(profile, subject, public_key, terms))


def draft_prepared(profile: Profile, signer: bytes, prepared: Prepared, **facts: str) -> Draft:
    """The draft of a prepared certificate, to be signed by the key `signer` (DER SubjectPublicKeyInfo).

    Its kind is `certificate.<profile>`, its payload the TBS in DER, its document PEM (RFC 7468). facts: more for
    the journal.
    """
    algorithm, name = _signing(signer)
    tbs = prepared.tbs

    def assemble(signatures: Mapping[str, bytes]) -> bytes:
        return assemble_certificate(tbs, algorithm, signatures[name])

    return Draft(
        kind=f"certificate.{profile.name}",
        summary=prepared.summary,
        payload=tbs,
        to_sign=(ToSign(name, tbs),),
        public_keys={name: signer},
        what=prepared.what | facts,
        assemble=assemble,
    )


@lru_cache(maxsize=64)
def _signing(signer: bytes) -> tuple[bytes, str]:
    """The signature algorithm of an issuer's key, in DER, and the key's name."""
    return _algorithm(_stand_in(signer).key_size), spki_sha256(signer)


def _rehearse(profile: Profile, subject: Subject, public_key: bytes, issuer: Issuer | None, terms: Terms) -> bytes:
    """The bytes to be signed: built, or for a device spliced from the first certificate of its series."""
    if issuer is None or isinstance(subject, AuthoritySubject) or subject.hardware is not None:
        stand_in = _stand_in(issuer.public_key if issuer else public_key)
        return _build(profile, subject, public_key, issuer, terms).sign(stand_in, stand_in.hash).tbs_certificate_bytes
    series = _find_series(profile, issuer, subject.organization, subject.common_name)
    ski = _key_identifier(public_key).digest
    return splice_tbs(
        series, subject.serial_number, public_key, ski, (terms.serial_number, terms.not_before, terms.end)
    )


@lru_cache(maxsize=256)
def _find_series(profile: Profile, issuer: Issuer, organization: str, common_name: str) -> Series:
    """Rehearse the first certificate of a series, for a key that everybody knows; only its shared bytes are used."""
    subject = DeviceSubject(organization, common_name, read_serial_number("0"))
    start = max(issuer.not_before, _EPOCH)
    terms = Terms(1 << 64, start, None if profile.longest is None else start + timedelta(days=1))
    stand_in = _stand_in(issuer.public_key)
    built = _build(profile, subject, _BASE_POINT, issuer, terms).sign(stand_in, stand_in.hash)
    return read_series(built.tbs_certificate_bytes, _key_identifier(_BASE_POINT).digest)


def assemble_certificate(tbs: bytes, algorithm: bytes, raw: bytes) -> bytes:
    """Join a TBS, the DER of its signature algorithm and a raw signature to a PEM certificate.

    Raises AssemblyFailed unless it reads back as the same TBS and signature.
    """
    signature = raw_to_der(raw)
    der = write_element(SEQUENCE, tbs, algorithm, write_element(BIT_STRING, b"\0", signature))
    try:
        parts = split_signed(der)
    except DerMalformed as error:
        raise AssemblyFailed(f"the finished certificate does not parse: {error}") from error
    if parts != (tbs, algorithm, signature):
        raise AssemblyFailed("the finished certificate is not the one that was drafted")
    return write_pem(der, "CERTIFICATE")


def _check_facts(profile: Profile, subject: Subject, terms: Terms) -> None:
    if isinstance(subject, AuthoritySubject):
        fits = profile.authority and bool(subject.site) == profile.site_bound
    else:
        fits = not profile.authority and (subject.hardware is None or profile.hardware_module)
    if not fits:
        raise SubjectRefused(f"{subject} is no subject for {profile.name}")
    if (terms.not_after is None) != (profile.longest is None):
        raise ValidityRefused(f"a {profile.name} does not end at {terms.end.isoformat()}")


def _check_key(profile: Profile, public_key: bytes) -> ec.EllipticCurvePublicKey:
    key = load_spki(public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in profile.curves:
        raise KeyRefused(f"{profile.name} does not take this key", hint=f"use {' or '.join(profile.curves)}")
    if len(public_key) not in (91, 120):
        # One key has one SubjectPublicKeyInfo, and so one name: that of the uncompressed point.
        raise KeyRefused(
            "the key's point is compressed", hint="give the SubjectPublicKeyInfo that parse_request returns"
        )
    return key


def _key_identifier(public_key: bytes) -> x509.SubjectKeyIdentifier:
    """RFC 7093 section 2 method 1: the left 160 bits of SHA-256 over the point; no SHA-1.

    The point ends the SubjectPublicKeyInfo, which has 91 bytes on P-256 and 120 on P-384.
    """
    point = public_key[-65 if len(public_key) == 91 else -97 :]
    return x509.SubjectKeyIdentifier(hashlib.sha256(point).digest()[:20])


@lru_cache(maxsize=8)
def _algorithm(key_size: int) -> bytes:
    """ecdsa-with-SHA256 or ecdsa-with-SHA384, no parameters (RFC 5758 section 3.2)."""
    return write_element(SEQUENCE, write_oid("1.2.840.10045.4.3.2" if key_size == 256 else "1.2.840.10045.4.3.3"))


@lru_cache(maxsize=64)
def _stand_in(public_key: bytes) -> StandInKey:
    key = load_spki(public_key)
    if not isinstance(key, ec.EllipticCurvePublicKey):
        raise KeyRefused("an issuer's key is not on P-256 or P-384")
    return StandInKey(key)


@lru_cache(maxsize=64)
def _begin(profile: Profile, issuer: Issuer | None) -> x509.CertificateBuilder:
    """What all certificates of a profile and an issuer share. Builders are immutable, so it may be kept."""
    usage = profile.key_usage
    key_usage = x509.KeyUsage(
        digital_signature="digital_signature" in usage,
        key_cert_sign="key_cert_sign" in usage,
        crl_sign="crl_sign" in usage,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    builder = x509.CertificateBuilder()
    builder = builder.add_extension(x509.BasicConstraints(profile.authority, profile.path_length), critical=True)
    builder = builder.add_extension(key_usage, critical=True)
    if profile.extended_key_usage:
        purposes = x509.ExtendedKeyUsage(x509.ObjectIdentifier(oid) for oid in profile.extended_key_usage)
        builder = builder.add_extension(purposes, critical=False)
    if profile.status_unchecked:
        builder = builder.add_extension(x509.OCSPNoCheck(), critical=False)
    if issuer is None:
        return builder
    subject = x509.load_pem_x509_certificate(issuer.certificate).subject
    return _name_issuer(builder, subject, x509.SubjectKeyIdentifier(issuer.ski))


def _name_issuer(
    builder: x509.CertificateBuilder, name: x509.Name, ski: x509.SubjectKeyIdentifier
) -> x509.CertificateBuilder:
    authority = x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski)
    return builder.issuer_name(name).add_extension(authority, critical=False)


def _build(
    profile: Profile, subject: Subject, public_key: bytes, issuer: Issuer | None, terms: Terms
) -> x509.CertificateBuilder:
    name, ski = subject.x501_name(), _key_identifier(public_key)
    builder = _begin(profile, issuer)
    if issuer is None:
        builder = _name_issuer(builder, name, ski)
    builder = (
        builder.subject_name(name)
        .public_key(_check_key(profile, public_key))
        .serial_number(terms.serial_number)
        .not_valid_before(terms.not_before)
        .not_valid_after(terms.end)
        .add_extension(ski, critical=False)
    )
    if isinstance(subject, AuthoritySubject):
        if profile.site_bound:
            permitted = [x509.DirectoryName(subject.x501_base())]
            builder = builder.add_extension(x509.NameConstraints(permitted, list(_EVERY_HOST)), critical=True)
    elif subject.hardware is not None:
        builder = builder.add_extension(x509.SubjectAlternativeName([_name_hardware(subject.hardware)]), critical=True)
    return builder


def _name_hardware(module: HardwareModule) -> x509.OtherName:
    """HardwareModuleName ::= SEQUENCE {hwType OID, hwSerialNum OCTET STRING} (RFC 4108 section 5)."""
    value = write_element(SEQUENCE, write_oid(module.type_oid), write_element(OCTET_STRING, module.serial))
    return x509.OtherName(_HARDWARE_MODULE_NAME, value)


def _facts(profile: Profile, subject: Subject, public_key: bytes, terms: Terms) -> dict[str, str]:
    """What the journal records: names, key and validity; the certificate's number in hex."""
    facts = {
        "certificate_number": f"{terms.serial_number:x}",
        "not_after": _stamp(terms.end),
        "not_before": _stamp(terms.not_before),
        "profile": profile.name,
        "subject": str(subject),
        "subject_spki": spki_sha256(public_key),
    }
    if isinstance(subject, DeviceSubject):
        facts["serial"] = subject.serial_number
    return facts


@lru_cache(maxsize=256)
def _stamp(time: datetime) -> str:
    return time.isoformat()[:19] + "Z"
