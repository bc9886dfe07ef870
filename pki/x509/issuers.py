"""Issuers: a CA's certificate, checked once, as the value from which certificates below it are drafted."""

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from pki.signatures import der_to_raw, load_spki, spki_sha256, verify_raw
from pki.x509.errors import IssuerRefused
from pki.x509.lint import IssuerFacts, lint_certificate
from pki.x509.pem import is_pem, read_pem
from pki.x509.profiles import Profile
from pki.x509.tbs import read_time, split_signed

_LIMIT = 16384


class Issuer(IssuerFacts, frozen=True):
    """A CA. profile: the name of its profile; spki: its key's name; certificate: PEM, as handed out."""

    profile: str
    spki: str
    certificate: bytes


def read_certificate(data: bytes) -> x509.Certificate:
    """Parse one certificate, PEM (RFC 7468) or DER, at most 16 KiB.

    Raises IssuerRefused or another X509Error; nothing but its syntax is checked.
    """
    if len(data) > _LIMIT:
        raise IssuerRefused(f"a certificate has {len(data)} bytes, at most {_LIMIT} are read")
    der = read_pem(data, "CERTIFICATE") if is_pem(data) else data
    split_signed(der)
    try:
        return x509.load_der_x509_certificate(der)
    except (ValueError, x509.InvalidVersion) as error:
        raise IssuerRefused(f"not a certificate: {error}") from error


def read_issuer(profile: Profile, certificate: bytes, issuer: Issuer | None = None) -> Issuer:
    """Read a CA's certificate, PEM or DER, and check it: lints of its profile, then the signature by its issuer.

    issuer is None for a self-signed root and only for it. Nothing is said about its validity today.
    Raises IssuerRefused, LintFailed, SignatureInvalid.
    """
    if not profile.authority:
        raise IssuerRefused(f"{profile.name} is no profile of a CA")
    check_may_issue(profile, issuer)
    parsed = read_certificate(certificate)
    der = parsed.public_bytes(Encoding.DER)
    tbs = lint_certificate(profile.name, der, issuer)
    signer = issuer.public_key if issuer else tbs.public_key
    size = (getattr(load_spki(signer), "key_size", 0) + 7) // 8
    tbs_der, _, signature = split_signed(der)
    verify_raw(signer, der_to_raw(signature, size), tbs_der)
    ski = parsed.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    return Issuer(
        tbs.public_key,
        tbs.subject,
        ski,
        read_time(tbs.not_before),
        read_time(tbs.not_after),
        profile.name,
        spki_sha256(tbs.public_key),
        parsed.public_bytes(Encoding.PEM),
    )


def read_organization(issuer: Issuer) -> str:
    """The O of a CA's subject. Raises IssuerRefused when it has none."""
    name = read_certificate(issuer.certificate).subject
    found = name.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    if not found:
        raise IssuerRefused(f"the subject of the {issuer.profile} has no O")
    return str(found[0].value)


def check_may_issue(profile: Profile, issuer: Issuer | None) -> None:
    """One key, one purpose: a profile names the kinds of CA that issue it. Raises IssuerRefused."""
    found = profile.name if issuer is None else issuer.profile
    if found not in profile.issuers or (issuer is None) != profile.self_signed:
        by = "itself" if issuer is None else f"a {found}"
        hint = f"it needs a key of {' or '.join(profile.issuers)}"
        raise IssuerRefused(f"{profile.name} cannot be issued by {by}", hint=hint)
