"""Certificates: drafted and linted without a key, assembled from the signature that the strongbox returns.

1. cryptography's builder makes a rehearsal with a stand-in key; its to-be-signed bytes are the draft.
2. The lints read the rehearsal. Nothing is signed unless they find nothing.
3. The finished certificate is SEQUENCE {the identical TBS, algorithm, signature} (RFC 5280 section 4.1), read back.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from pki.drafts import Draft, ToSign
from pki.names import DeviceSubject, ModuleSubject, ServiceSubject, read_serial_number
from pki.signatures import raw_to_der, spki_der, spki_sha256
from pki.x509.builders import Subject, check_key, key_identifier, rehearse, stand_in
from pki.x509.der import BIT_STRING, SEQUENCE, write_element, write_oid
from pki.x509.errors import AssemblyFailed, DerMalformed, LintFailed, SubjectRefused, ValidityRefused
from pki.x509.issuers import Issuer, check_may_issue
from pki.x509.lint import lint_certificate
from pki.x509.pem import write_pem
from pki.x509.profiles import Profile
from pki.x509.series import FIRST_NUMBER, FIRST_SERIAL, Series, read_series, splice_tbs
from pki.x509.tbs import split_signed
from pki.x509.terms import Terms

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_BASE_POINT = spki_der(ec.derive_private_key(1, ec.SECP256R1()).public_key())


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
    check_key(profile, public_key)
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
    return _algorithm(stand_in(signer).key_size), spki_sha256(signer)


def _rehearse(profile: Profile, subject: Subject, public_key: bytes, issuer: Issuer | None, terms: Terms) -> bytes:
    """The bytes to be signed: built, or for a device spliced from the first certificate of its series."""
    match subject:
        case DeviceSubject(hardware=None) if issuer is not None:
            series = _find_series(profile, issuer, (subject.organization, subject.common_name, subject.site))
        case ModuleSubject() if issuer is not None:
            series = _find_series(profile, issuer, (subject.hw_type,))
        case _:
            return rehearse(profile, subject, public_key, issuer, terms)
    variable = (terms.serial_number, terms.not_before, terms.end)
    return splice_tbs(series, subject.serial_number, public_key, key_identifier(public_key), variable)


@lru_cache(maxsize=256)
def _find_series(profile: Profile, issuer: Issuer, names: tuple[str, str, str] | tuple[str]) -> Series:
    """Rehearse the first certificate of a series, for a key that everybody knows; only its shared bytes are used.

    names: organization, common name and site, or the module type.
    """
    serial = read_serial_number(FIRST_SERIAL)
    module = len(names) == 1
    subject = ModuleSubject(names[0], serial) if len(names) == 1 else DeviceSubject(*names[:2], serial, None, names[2])
    start = max(issuer.not_before, _EPOCH)
    terms = Terms(FIRST_NUMBER, start, None if profile.longest is None else start + timedelta(days=1))
    tbs = rehearse(profile, subject, _BASE_POINT, issuer, terms)
    return read_series(tbs, key_identifier(_BASE_POINT), names[0] if module else "", bool(issuer.crl_url))


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
    match subject:
        case DeviceSubject():
            fits = profile.naming == "device" and bool(subject.site) == profile.within_issuer
            fits = fits and (subject.hardware is None or profile.hardware_module)
        case ModuleSubject():
            fits = profile.naming == "module"
        case ServiceSubject():
            fits = profile.naming == "service"
        case _:
            fits = profile.authority and bool(subject.site) == profile.site_bound
    if not fits or profile.authority != (profile.naming == "authority"):
        raise SubjectRefused(f"{subject} is no subject for {profile.name}")
    if (terms.not_after is None) != (profile.longest is None):
        raise ValidityRefused(f"a {profile.name} does not end at {terms.end.isoformat()}")


@lru_cache(maxsize=8)
def _algorithm(key_size: int) -> bytes:
    """ecdsa-with-SHA256 or ecdsa-with-SHA384, no parameters (RFC 5758 section 3.2)."""
    return write_element(SEQUENCE, write_oid("1.2.840.10045.4.3.2" if key_size == 256 else "1.2.840.10045.4.3.3"))


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
    if isinstance(subject, DeviceSubject | ModuleSubject):
        facts["serial"] = subject.serial_number
    return facts


@lru_cache(maxsize=256)
def _stamp(time: datetime) -> str:
    return time.isoformat()[:19] + "Z"
