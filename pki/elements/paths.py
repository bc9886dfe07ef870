"""Paths of certificates that makers of hardware issue: from a device's certificate to one that the policy pins.

Kedge's own chains are read by `pki.x509.chains`, which knows Kedge's profiles and nothing else. Makers sign with RSA,
too, have empty subjects, and leave key identifiers out; what decides here is the signature. RFC 5280 section 6.1.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID

from pki.elements.errors import PathRefused
from pki.x509.errors import X509Error
from pki.x509.issuers import read_certificate

LONGEST: Final = 4
"""Certificates between the first and the pinned one."""
RSA_BITS: Final = 2048

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_UNREADABLE: Final = (
    ValueError, TypeError, LookupError, UnsupportedAlgorithm, x509.DuplicateExtension, x509.UnsupportedGeneralNameType,
)  # fmt: skip
"""What cryptography raises for certificates that it reads lazily."""
_ALGORITHMS: Final = frozenset(
    (
        SignatureAlgorithmOID.ECDSA_WITH_SHA256,
        SignatureAlgorithmOID.ECDSA_WITH_SHA384,
        SignatureAlgorithmOID.ECDSA_WITH_SHA512,
        SignatureAlgorithmOID.RSA_WITH_SHA256,
        SignatureAlgorithmOID.RSA_WITH_SHA384,
        SignatureAlgorithmOID.RSA_WITH_SHA512,
    )
)
_UNDERSTOOD: Final = frozenset(
    (
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.CERTIFICATE_POLICIES,  # no policy is demanded of a path
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,  # of a TPM: its maker, model and version; nothing follows from it here
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    )
)


def read_pins(certificates: Iterable[str]) -> tuple[x509.Certificate, ...]:
    """The certificates that a policy pins, PEM. Raises PathRefused."""
    return tuple(read_one(text.encode()) for text in certificates)


def read_one(data: bytes) -> x509.Certificate:
    """One certificate, PEM or DER of at most 16 KiB, of which nothing is checked. Raises PathRefused."""
    try:
        certificate = read_certificate(data)
        _ = certificate.extensions, certificate.public_key()
    except (X509Error, *_UNREADABLE) as error:
        raise PathRefused(f"a certificate does not parse: {error}", hint="send DER without a byte around it") from error
    return certificate


def verify_path(
    first: x509.Certificate, others: Sequence[x509.Certificate], pins: Sequence[x509.Certificate], at: datetime
) -> None:
    """Verify that `first` leads over `others` (any order, none left over but a pinned one) to one of `pins`.

    Each is valid at `at`, signed with ECDSA or RSA (PKCS #1 v1.5, 2,048 bits and more) and SHA-2 by the next, which is
    a CA that may sign certificates and has no name constraints. Raises PathRefused.
    """
    if len(others) > LONGEST:
        raise PathRefused(f"{len(others)} certificates in between, at most {LONGEST} are read")
    try:
        _verify(first, [item for item in others if item not in pins], pins, at)
    except _UNREADABLE as error:
        raise PathRefused(f"a certificate lacks a part, or has one that cannot be read: {error}") from error


def _verify(
    first: x509.Certificate, left: list[x509.Certificate], pins: Sequence[x509.Certificate], at: datetime
) -> None:
    chain = [first]
    _check_alone(first, at)
    while True:
        pinned = next((item for item in pins if _is_signed(chain[-1], item)), None)
        issuer = pinned or next((item for item in left if _is_signed(chain[-1], item)), None)
        if issuer is None:
            raise PathRefused(
                f"{_name(chain[-1])} is signed by nobody who is pinned: {_name(chain[-1], issuer=True)}",
                hint="send the certificates in between; only officers pin makers, in the policy",
            )
        _check_alone(issuer, at)
        _check_authority(issuer, len(chain) - 1)
        _check_purposes(chain, issuer)
        if pinned is not None:
            break
        chain.append(issuer)
        left.remove(issuer)
    if left:
        raise PathRefused(f"{len(left)} certificates do not belong to the path of {_name(first)}")


def _is_signed(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer's key signed it, in a way that counts."""
    key = issuer.public_key()
    fits = isinstance(key, ec.EllipticCurvePublicKey) or (
        isinstance(key, rsa.RSAPublicKey) and key.key_size >= RSA_BITS
    )
    if certificate.issuer != issuer.subject or certificate.signature_algorithm_oid not in _ALGORITHMS or not fits:
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def _check_alone(certificate: x509.Certificate, at: datetime) -> None:
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise PathRefused(f"{_name(certificate)} is not valid at {at.isoformat()}")
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise PathRefused(f"{_name(certificate)} has the critical extension {extension.oid.dotted_string}")


def _check_authority(issuer: x509.Certificate, below: int) -> None:
    """`below` counts the CAs between the issuer and the first certificate."""
    constraints, usage = find(issuer, x509.BasicConstraints), find(issuer, x509.KeyUsage)
    if constraints is None or not constraints.ca or usage is None or not usage.key_cert_sign:
        raise PathRefused(f"{_name(issuer)} is no CA")
    if constraints.path_length is not None and below > constraints.path_length:
        raise PathRefused(f"{below} CAs follow {_name(issuer)}, which allows {constraints.path_length}")
    if find(issuer, x509.NameConstraints) is not None:
        raise PathRefused(f"{_name(issuer)} has name constraints, which are not understood here")


def _check_purposes(chain: Sequence[x509.Certificate], issuer: x509.Certificate) -> None:
    """Purposes of an issuer bind those below it."""
    allowed = find(issuer, x509.ExtendedKeyUsage)
    if allowed is None or ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE in allowed:
        return
    for certificate in chain:
        asked = find(certificate, x509.ExtendedKeyUsage)
        if asked is not None and not set(asked) <= set(allowed):
            raise PathRefused(f"{_name(certificate)} has a key purpose that {_name(issuer)} has not")


def find(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    """An extension, if the certificate has it."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def _name(certificate: x509.Certificate, *, issuer: bool = False) -> str:
    name = certificate.issuer if issuer else certificate.subject
    text = repr(name.rfc4514_string()[:200])[1:-1]  # it goes to a terminal
    return text or f"certificate {certificate.serial_number:x}"
