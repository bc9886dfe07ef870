"""Chains: does a certificate lead to a root that the verifier already trusts (RFC 5280 section 6)?

Strict and small: it knows what Kedge's profiles use and refuses the rest. cryptography's own verifier speaks of TLS
servers and clients and takes no directoryName constraints, so it does not fit device certificates.
"""

import ipaddress
from collections.abc import Sequence
from datetime import datetime
from typing import TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID, SignatureAlgorithmOID

from pki.x509.errors import ChainInvalid, X509Error
from pki.x509.issuers import read_certificate

_Extension = TypeVar("_Extension", bound=x509.ExtensionType)
_LONGEST = 6
_ALGORITHMS = (SignatureAlgorithmOID.ECDSA_WITH_SHA256, SignatureAlgorithmOID.ECDSA_WITH_SHA384)
_UNDERSTOOD = frozenset(
    (
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.NAME_CONSTRAINTS,
        ExtensionOID.CERTIFICATE_POLICIES,  # no policy is demanded of a chain (section 6.1.1 (c) to (e): any, no, no)
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.SUBJECT_KEY_IDENTIFIER,
        ExtensionOID.AUTHORITY_KEY_IDENTIFIER,
    )
)
_EVERY_HOST = (
    x509.DNSName(""),
    x509.IPAddress(ipaddress.ip_network("0.0.0.0/0")),
    x509.IPAddress(ipaddress.ip_network("::/0")),
)


def verify_chain(leaf: bytes, intermediates: Sequence[bytes], root: bytes, at: datetime) -> x509.Certificate:
    """Verify that `leaf` chains through `intermediates` (any order, no surplus) to `root` at a time.

    Each is one certificate, PEM or DER; at most 6 intermediates. Returns the leaf. Steps:
    1. parse all, and order them by issuer name and key identifiers;
    2. each certificate: valid at `at`, no critical extension that is not understood (section 6.1.4 (o));
    3. each link: signature with ECDSA and SHA-2 under the issuer's key (6.1.3 (a));
    4. each issuer: CA, keyCertSign, path length (6.1.4 (k) to (n));
    5. each issuer's name constraints hold for all below it (6.1.3 (b), (c)), and its key purposes include theirs.
    Raises ChainInvalid.
    """
    if len(intermediates) > _LONGEST:
        raise ChainInvalid(f"{len(intermediates)} intermediates, at most {_LONGEST} are read")
    try:
        pool = [read_certificate(data) for data in intermediates]
        chain = _order(read_certificate(leaf), read_certificate(root), pool)
        for certificate in chain:
            _check_alone(certificate, at)
        for depth, issuer in enumerate(chain[1:]):
            _check_link(chain[depth], issuer)
            _check_authority(issuer, depth)
            for below in chain[: depth + 1]:
                _check_constraints(below, issuer, direct=below is chain[depth])
    except (X509Error, ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        if isinstance(error, ChainInvalid):
            raise
        raise ChainInvalid(f"a certificate does not parse or lacks an extension: {error}") from error
    return chain[0]


def _order(leaf: x509.Certificate, root: x509.Certificate, pool: list[x509.Certificate]) -> list[x509.Certificate]:
    chain = [leaf]
    while not _names_as_issuer(chain[-1], root):
        issuers = [one for one in pool if _names_as_issuer(chain[-1], one)]
        if not issuers:
            raise ChainInvalid(f"no certificate of {_issuer_of(chain[-1])}", hint="send the whole chain")
        chain.append(issuers[0])
        pool.remove(issuers[0])
    if pool:
        raise ChainInvalid(f"{len(pool)} certificates do not belong to the chain")
    return [*chain, root]


def _names_as_issuer(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    ski = issuer.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
    aki = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    return certificate.issuer == issuer.subject and aki == ski


def _issuer_of(certificate: x509.Certificate) -> str:
    return certificate.issuer.rfc4514_string()[:200]


def _name_of(certificate: x509.Certificate) -> str:
    return certificate.subject.rfc4514_string()[:200]


def _check_alone(certificate: x509.Certificate, at: datetime) -> None:
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise ChainInvalid(f"{_name_of(certificate)} is not valid at {at.isoformat()}")
    for extension in certificate.extensions:
        if extension.critical and extension.oid not in _UNDERSTOOD:
            raise ChainInvalid(f"{_name_of(certificate)} has the critical extension {extension.oid.dotted_string}")


def _check_link(certificate: x509.Certificate, issuer: x509.Certificate) -> None:
    if certificate.signature_algorithm_oid not in _ALGORITHMS:
        raise ChainInvalid(
            f"{_name_of(certificate)} is signed with {certificate.signature_algorithm_oid.dotted_string}"
        )
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise ChainInvalid(f"{_name_of(certificate)} is not signed by {_name_of(issuer)}") from error


def _check_authority(issuer: x509.Certificate, below: int) -> None:
    """`below` counts the CAs between issuer and leaf; Kedge has no self-issued ones, so all count."""
    constraints = issuer.extensions.get_extension_for_class(x509.BasicConstraints)
    usage = issuer.extensions.get_extension_for_class(x509.KeyUsage).value
    if not (constraints.critical and constraints.value.ca and usage.key_cert_sign):
        raise ChainInvalid(f"{_name_of(issuer)} is no CA")
    if constraints.value.path_length is not None and below > constraints.value.path_length:
        raise ChainInvalid(f"{below} CAs follow {_name_of(issuer)}, which allows {constraints.value.path_length}")


def _check_constraints(certificate: x509.Certificate, issuer: x509.Certificate, direct: bool) -> None:
    names = _find(issuer, x509.NameConstraints)
    if names is not None:
        _check_names(certificate, names, _name_of(issuer))
    allowed, asked = _find(issuer, x509.ExtendedKeyUsage), _find(certificate, x509.ExtendedKeyUsage)
    # Who answers for a CA is named by that CA itself, whatever its own purposes are (RFC 6960 section 4.2.2.2).
    given = {*(allowed or ()), *((ExtendedKeyUsageOID.OCSP_SIGNING,) if direct else ())}
    if allowed is not None and asked is not None and not set(asked) <= given:
        raise ChainInvalid(f"{_name_of(certificate)} has a key purpose that {_name_of(issuer)} has not")


def _check_names(certificate: x509.Certificate, constraints: x509.NameConstraints, issuer: str) -> None:
    """Permitted directory names and the exclusion of every host are understood, other constraints are refused.

    An empty subject is refused too: RFC 5280 would let it through, and with it a name in an otherName.
    """
    permitted, excluded = constraints.permitted_subtrees or [], constraints.excluded_subtrees or []
    bases = [base.value.rdns for base in permitted if isinstance(base, x509.DirectoryName)]
    if len(bases) != len(permitted) or not bases or any(base not in _EVERY_HOST for base in excluded):
        raise ChainInvalid(f"{issuer} has name constraints of an unknown form")
    alternatives = list(_find(certificate, x509.SubjectAlternativeName) or ())
    subjects = [certificate.subject, *(name.value for name in alternatives if isinstance(name, x509.DirectoryName))]
    for subject in subjects:
        if not any(subject.rdns[: len(base)] == base for base in bases):
            raise ChainInvalid(f"{_name_of(certificate) or 'an empty subject'} is outside what {issuer} may name")
    hosts = {type(base) for base in excluded}
    if any(type(name) in hosts for name in alternatives):
        raise ChainInvalid(f"{_name_of(certificate)} names a host, which {issuer} may not")


def _find(certificate: x509.Certificate, kind: type[_Extension]) -> _Extension | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
