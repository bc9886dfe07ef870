"""Certificate revocation lists as their users read them, with other code than writes them.

`lint_crl` judges a rehearsal before a key is used; `verify_crl` is for whoever trusts a CA: a relying party, a site
without a network (CA-10, T39).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.errors import KeyUnsupported, SignatureInvalid
from pki.signatures import der_to_raw, verify_raw
from pki.x509.der import INTEGER, SEQUENCE, content, read_children, read_whole, tags, whole
from pki.x509.errors import (
    CertificateRevoked,
    CrlExpired,
    CrlInvalid,
    CrlOutdated,
    CrlOutOfScope,
    DerMalformed,
    LintFailed,
    X509Error,
)
from pki.x509.issuers import read_certificate
from pki.x509.lint import IssuerFacts
from pki.x509.reasons import REASONS, UNSPECIFIED
from pki.x509.rules import SIGNATURE_ALGORITHMS
from pki.x509.tbs import GENERALIZED_TIME, UTC_TIME, read_extensions, read_time, split_signed

LIMIT = 16 << 20
_AUTHORITY_KEY_ID = bytes.fromhex("551d23")
_CRL_NUMBER = bytes.fromhex("551d14")
_DISTRIBUTION_POINT = bytes.fromhex("551d1c")


class Revoked(NamedTuple):
    """One entry: certificate number, when it was revoked (seconds since 1970), and why (`pki.x509.reasons`)."""

    number: int
    at: int
    reason: str


class CrlFacts(msgspec.Struct, frozen=True):
    """What a list says of itself. `url`: the one distribution point that it is for; empty: for all."""

    number: int
    this_update: datetime
    next_update: datetime
    url: str = ""


class Crl(msgspec.Struct, frozen=True):
    """A list that was verified; `revoked` by certificate number."""

    facts: CrlFacts
    issuer: bytes
    revoked: Mapping[int, Revoked]


def lint_crl(der: bytes, issuer: IssuerFacts, facts: CrlFacts, revoked: Sequence[Revoked]) -> None:
    """Check that a list, whose signature is not looked at, says this and nothing else. Raises LintFailed."""
    try:
        found, entries = _read_facts(der, issuer), _read_entries(der)
    except X509Error as error:
        raise LintFailed(f"crl: {error.message}", hint="nothing was signed; report it") from error
    if found != facts:
        raise LintFailed("crl: number, times or distribution point are not those that were asked for")
    if entries != list(revoked):
        raise LintFailed("crl: the entries are not those that were asked for, in order and once each")


def verify_crl(
    der: bytes, issuer: IssuerFacts, at: datetime, *, newest: int = 0, grace: timedelta = timedelta(0)
) -> Crl:
    """A list of the CA `issuer`, as of `at`.

    1. Strict DER, version 2, exactly the extensions that Kedge writes. 2. Issuer and authority key identifier are the
    CA's. 3. Its signature. 4. thisUpdate <= at <= nextUpdate + `grace`. 5. Its number is at least `newest`, the number
    of the newest list seen for the same distribution point (T39).
    Raises CrlInvalid, CrlExpired, CrlOutdated.
    """
    facts, entries = verify_origin(der, issuer), _read_entries(der)  # 1 to 3
    if not facts.this_update <= at <= facts.next_update + grace:  # 4
        raise CrlExpired(
            f"CRL {facts.number} is valid from {facts.this_update.isoformat()} to {facts.next_update.isoformat()}",
            hint="fetch the newest list; without one nothing is known of this CA's certificates",
        )
    if facts.number < newest:  # 5
        raise CrlOutdated(
            f"CRL {facts.number} is older than CRL {newest}, which was seen before",
            hint="somebody holds back the newer list: fetch it from another place",
        )
    return Crl(facts, issuer.subject, {entry.number: entry for entry in entries})


def verify_origin(der: bytes, issuer: IssuerFacts) -> CrlFacts:
    """Steps 1 to 3 of `verify_crl`: what a list says of itself, when it is the CA's; the entries are not looked at.

    Raises CrlInvalid.
    """
    try:
        facts = _read_facts(der, issuer)
        _verify_signature(der, issuer)
    except (X509Error, SignatureInvalid, KeyUnsupported) as error:
        raise CrlInvalid(f"the CRL is not this CA's: {error.message}") from error
    return facts


def check_certificate(crl: Crl, certificate: bytes) -> int:
    """Look a certificate (PEM or DER) up in the list that covers it; its number when it is not revoked.

    Raises CrlOutOfScope when the list is another CA's or another partition's, CertificateRevoked.
    """
    read = read_certificate(certificate)
    if read.issuer.public_bytes() != crl.issuer:
        raise CrlOutOfScope("the certificate has another issuer than the CRL")
    if crl.facts.url and crl.facts.url not in _list_points(read):
        raise CrlOutOfScope(f"the certificate does not point to {crl.facts.url}", hint="take the list that it names")
    entry = crl.revoked.get(read.serial_number)
    if entry is not None:
        at = datetime.fromtimestamp(entry.at, UTC).isoformat()
        raise CertificateRevoked(f"certificate {read.serial_number:x} was revoked at {at}: {entry.reason}")
    return read.serial_number


def read_authority(certificate: bytes) -> IssuerFacts:
    """A CA as its certificate (PEM or DER) names it. The caller trusts this file. Raises IssuerRefused, CrlInvalid."""
    read = read_certificate(certificate)
    try:
        ski = read.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        constraints = read.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError) as error:
        raise CrlInvalid(f"the certificate is no CA's: {error}") from error
    if not constraints.ca:
        raise CrlInvalid("the certificate is no CA's", hint="give the certificate of the CA that issued the list")
    spki = read.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return IssuerFacts(spki, read.subject.public_bytes(), ski, read.not_valid_before_utc, read.not_valid_after_utc)


def _read_facts(der: bytes, issuer: IssuerFacts) -> CrlFacts:
    """Structure and extensions, field by field (RFC 5280 section 5.1). Raises DerMalformed, CrlInvalid."""
    if len(der) > LIMIT:
        raise DerMalformed(f"a CRL of {len(der)} bytes, {LIMIT} are read")
    tbs, outer, _ = split_signed(der)
    fields = read_children(tbs, read_whole(tbs, SEQUENCE), limit=7)
    kinds = [UTC_TIME if tag == GENERALIZED_TIME else tag for tag in tags(fields)]
    if kinds not in ([INTEGER, SEQUENCE, SEQUENCE, UTC_TIME, UTC_TIME, *rest, 0xA0] for rest in ([], [SEQUENCE])):
        raise DerMalformed("the fields are not those of a version 2 CRL with extensions")
    version, algorithm, name, this, following = fields[:5]
    algorithms = [value for start, value in SIGNATURE_ALGORITHMS.items() if issuer.public_key.startswith(start)]
    if whole(tbs, version) != b"\x02\x01\x01" or [whole(tbs, algorithm), outer] != algorithms * 2:
        raise CrlInvalid("version or algorithm is not the one of the CA's key")
    if whole(tbs, name) != issuer.subject:
        raise CrlInvalid("the issuer is not the CA's subject, octet for octet")
    number, url = _read_marks(content(tbs, fields[-1]), issuer)
    return CrlFacts(number, read_time(whole(tbs, this)), read_time(whole(tbs, following)), url)


def _read_marks(extensions: bytes, issuer: IssuerFacts) -> tuple[int, str]:
    """CRL number and distribution point; the authority key identifier is the CA's, and there is nothing else."""
    listed = read_extensions(extensions)
    found = {item.oid: item for item in listed}
    wanted = {_AUTHORITY_KEY_ID: False, _CRL_NUMBER: False, _DISTRIBUTION_POINT: True}
    point = found.get(_DISTRIBUTION_POINT)
    expected = wanted if point else {oid: wanted[oid] for oid in (_AUTHORITY_KEY_ID, _CRL_NUMBER)}
    if {oid: item.critical for oid, item in found.items()} != expected or len(listed) != len(expected):
        raise CrlInvalid("the extensions are not key identifier, number and perhaps a critical distribution point")
    if found[_AUTHORITY_KEY_ID].value != b"\x30\x16\x80\x14" + issuer.ski:
        raise CrlInvalid("the authority key identifier is not the CA's")
    value = found[_CRL_NUMBER].value
    number = int.from_bytes(content(value, read_whole(value, INTEGER)), "big", signed=True)
    if not 0 <= number < 1 << 159:
        raise CrlInvalid("the CRL number is negative, or over 20 octets")
    return number, _read_point(point.value) if point else ""


def _read_point(value: bytes) -> str:
    """One URI as the full name of a distribution point, and no other field."""
    element = read_whole(value, SEQUENCE)
    for tag in (0xA0, 0xA0, 0x86):
        inner = read_children(value, element, limit=2)
        if tags(inner) != [tag]:
            raise CrlInvalid("the issuing distribution point is not one URI")
        element = inner[0]
    return content(value, element).decode("ascii", "replace")


def _verify_signature(der: bytes, issuer: IssuerFacts) -> None:
    tbs, _, signature = split_signed(der)
    size = 32 if len(issuer.public_key) == 91 else 48
    verify_raw(issuer.public_key, der_to_raw(signature, size), tbs)


def _read_entries(der: bytes) -> list[Revoked]:
    """The entries as cryptography reads them. Raises CrlInvalid for what Kedge does not write."""
    try:
        read = x509.load_der_x509_crl(der)
        entries = [_read_entry(item) for item in read]
    except (ValueError, x509.DuplicateExtension) as error:
        raise CrlInvalid(f"the CRL does not parse: {error}") from error
    if len({entry.number for entry in entries}) != len(entries):
        raise CrlInvalid("a certificate stands in the CRL twice")
    return entries


def _read_entry(item: x509.RevokedCertificate) -> Revoked:
    reason = UNSPECIFIED
    for extension in item.extensions:
        value = extension.value
        if not isinstance(value, x509.CRLReason) or extension.critical:
            raise CrlInvalid(f"an entry has the extension {extension.oid.dotted_string}")
        reason = value.reason.value
        if reason not in REASONS:
            raise CrlInvalid(f"an entry has the reason {reason}")
    return Revoked(item.serial_number, int(item.revocation_date_utc.timestamp()), reason)


def _list_points(certificate: x509.Certificate) -> list[str]:
    """The URIs of a certificate's cRLDistributionPoints (RFC 5280 section 4.2.1.13)."""
    try:
        points = certificate.extensions.get_extension_for_class(x509.CRLDistributionPoints).value
    except x509.ExtensionNotFound:
        return []
    names = [name for point in points for name in point.full_name or ()]
    return [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
