"""Certification requests (PKCS #10, RFC 2986): read strictly, then held against a profile.

A request gives its public key and nothing else. What it merely suggests (a subject) is ignored; a request that asks
for powers that the profile does not give is refused, because whoever made it expects something else to happen.
"""

import hashlib
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from pki.errors import KeyUnsupported
from pki.signatures import load_spki
from pki.x509.der import SEQUENCE, read_children, read_whole, whole
from pki.x509.errors import (
    DerMalformed,
    KeyRefused,
    KnownTestKey,
    PemMalformed,
    ProfileForbids,
    ProofOfPossessionFailed,
    RequestMalformed,
    RequestTooLarge,
)
from pki.x509.pem import is_pem, read_pem
from pki.x509.profiles import Profile
from pki.x509.published_keys import PUBLISHED_KEYS
from pki.x509.tbs import split_signed

_T = TypeVar("_T")
# ecdsa-with-SHA256, -SHA384 and -SHA512, without parameters (RFC 5758 section 3.2).
# hashlib digests in a fifth of the time that OpenSSL takes to set up a digest inside a verification.
_ALGORITHMS: Mapping[bytes, tuple[Callable[[bytes], Any], ec.ECDSA]] = MappingProxyType(
    {
        bytes.fromhex("300a06082a8648ce3d040302"): (hashlib.sha256, ec.ECDSA(Prehashed(hashes.SHA256()))),
        bytes.fromhex("300a06082a8648ce3d040303"): (hashlib.sha384, ec.ECDSA(Prehashed(hashes.SHA384()))),
        bytes.fromhex("300a06082a8648ce3d040304"): (hashlib.sha512, ec.ECDSA(Prehashed(hashes.SHA512()))),
    }
)
_P256_UNCOMPRESSED = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d03010703420004")
_USAGES = (
    "digital_signature",
    "content_commitment",
    "key_encipherment",
    "data_encipherment",
    "key_agreement",
    "key_cert_sign",
    "crl_sign",
)


class CertificateRequest(msgspec.Struct, frozen=True):
    """A request whose sender holds the private key.

    der: the request. public_key: its SubjectPublicKeyInfo in DER, a point uncompressed. spki: the key's name.
    curve: `secp256r1`, ...; empty for keys that are not on a curve. requested: the extensions that it asks for.
    """

    der: bytes
    public_key: bytes
    spki: str
    curve: str
    requested: x509.Extensions


class ParsedRequest(msgspec.Struct, frozen=True):
    """A request of which is not known yet whether its sender holds the private key."""

    request: CertificateRequest
    signed: x509.CertificateSigningRequest
    key: CertificatePublicKeyTypes
    parts: tuple[bytes, bytes, bytes]


def parse_request(data: bytes, *, limit: int = 16384) -> ParsedRequest:
    """Read a request, one PEM block or DER without a byte around it, of at most `limit` bytes, in this order:

    1. size: RequestTooLarge;
    2. form, strict DER, version 1, key and extensions parse: RequestMalformed, or KeyRefused for a key whose
       algorithm is unknown or whose point is compressed.
    Whether the key and the extensions are welcome is `check_request`'s to say.
    """
    if len(data) > limit:
        raise RequestTooLarge(f"the request has {len(data)} bytes", hint=f"at most {limit} are read")
    try:
        der = read_pem(data, "CERTIFICATE REQUEST") if is_pem(data) else data
    except PemMalformed as error:
        raise RequestMalformed(error.message, hint=error.hint) from error
    signed = _parse(lambda: x509.load_der_x509_csr(der))
    parts = _parse(lambda: split_signed(der))
    public_key, key = _parse(lambda: _take_public_key(parts[0], signed))
    requested = _parse(lambda: signed.extensions)
    curve = key.curve.name if isinstance(key, ec.EllipticCurvePublicKey) else ""
    request = CertificateRequest(der, public_key, hashlib.sha256(public_key).hexdigest(), curve, requested)
    return ParsedRequest(request, signed, key, parts)


def prove_possession(parsed: ParsedRequest) -> CertificateRequest:
    """Verify the request's signature by its own key (RFC 2986 section 4.2); for EC keys with SHA-2 only (FIPS 186-5).

    Raises ProofOfPossessionFailed.
    """
    signed, key = parsed.signed, parsed.key
    try:
        if isinstance(key, ec.EllipticCurvePublicKey):
            verify_ecdsa(key, parsed.parts)
        elif not signed.is_signature_valid:
            raise InvalidSignature
    except KeyError as error:
        raise ProofOfPossessionFailed(
            f"the request is signed with {signed.signature_algorithm_oid.dotted_string}",
            hint="sign it with ECDSA and SHA-256",
        ) from error
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise ProofOfPossessionFailed(
            "the request is not signed by the key that it carries", hint="sign the request on the device again"
        ) from error
    return parsed.request


def verify_ecdsa(key: ec.EllipticCurvePublicKey, parts: tuple[bytes, bytes, bytes]) -> None:
    """Verify what `split_signed` gives: the signed part, the algorithm and the signature, both in DER.

    Raises InvalidSignature, and KeyError for an algorithm that is not ECDSA with SHA-256, -384 or -512.
    """
    body, algorithm, signature = parts
    digest, scheme = _ALGORITHMS[algorithm]
    key.verify(signature, digest(body).digest(), scheme)


def check_request(request: CertificateRequest, profile: Profile) -> None:
    """Hold a request against a profile.

    Raises KeyRefused when the key is not on one of its curves, KnownTestKey when the private key is published,
    ProfileForbids when the request asks for an extension that the profile does not give.
    """
    if request.curve not in profile.curves:
        kind = f"a key on {request.curve}" if request.curve else "a key that is not on a curve"
        raise KeyRefused(f"{profile.name} does not take {kind}", hint=f"use {' or '.join(profile.curves)}")
    if source := PUBLISHED_KEYS.get(request.spki):
        raise KnownTestKey(
            f"the private half of key {request.spki[:16]} is published: {source}",
            hint="quarantine the unit: it must make its own key",
        )
    for extension in request.requested:
        surplus = _find_surplus(extension.value, profile)
        if surplus:
            raise ProfileForbids(
                f"the request asks for {surplus}, which {profile.name} does not give",
                hint="send a request without it: the profile decides what the certificate says",
            )


def _parse(read: Callable[[], _T]) -> _T:
    """Translate what cryptography raises while it reads lazily: of some extensions also LookupError and TypeError."""
    try:
        return read()
    except UnsupportedAlgorithm as error:
        raise KeyRefused(f"the request's key has an unknown algorithm: {error}", hint="use a key on P-256") from error
    except (
        DerMalformed,
        KeyUnsupported,
        LookupError,
        TypeError,
        ValueError,
        x509.InvalidVersion,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise RequestMalformed(f"not a certification request in strict DER: {error}") from error


def _take_public_key(body: bytes, request: x509.CertificateSigningRequest) -> tuple[bytes, CertificatePublicKeyTypes]:
    """The SubjectPublicKeyInfo as sent, and the key. In another form than the usual one, a key could be enrolled under
    two names.
    """
    info = whole(body, read_children(body, read_whole(body, SEQUENCE))[2])
    if info.startswith(_P256_UNCOMPRESSED):
        return info, load_spki(info)  # parsed once: whoever drafts the certificate finds it again
    key = request.public_key()
    if info != key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo):
        hint = "write the point uncompressed and the curve by name (RFC 5480 sections 2.1.1 and 2.2)"
        raise KeyRefused("the request's key is not in its usual form", hint=hint)
    return info, key


def _find_surplus(value: x509.ExtensionType, profile: Profile) -> str:
    """What an extension asks for beyond the profile, in words; empty when that is nothing."""
    match value:
        case x509.BasicConstraints():
            return _find_surplus_authority(value, profile)
        case x509.KeyUsage():
            asked = {usage for usage in _USAGES if getattr(value, usage)}
            return ", ".join(f"keyUsage {usage}" for usage in sorted(asked - profile.key_usage))
        case x509.ExtendedKeyUsage():
            oids = {oid.dotted_string for oid in value}
            return ", ".join(f"extendedKeyUsage {oid}" for oid in sorted(oids - set(profile.extended_key_usage)))
        case x509.CertificatePolicies():
            oids = {policy.policy_identifier.dotted_string for policy in value}
            return ", ".join(f"certificatePolicies {oid}" for oid in sorted(oids - set(profile.policies)))
        case x509.SubjectKeyIdentifier():
            return ""  # a suggestion: the profile computes its own
        case _:
            return f"extension {value.oid.dotted_string}"


def _find_surplus_authority(value: x509.BasicConstraints, profile: Profile) -> str:
    if not value.ca:
        return ""
    if not profile.authority:
        return "basicConstraints CA:TRUE"
    given = profile.path_length
    longer = given is not None and (value.path_length is None or value.path_length > given)
    return "a longer path length" if longer else ""
