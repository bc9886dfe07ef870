"""Public keys of token issuers as JSON Web Keys (RFC 7517, RFC 7518 section 6, RFC 8037)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Final

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt import PyJWK
from jwt.exceptions import PyJWTError
from msgspec import Meta

from ceremonies.errors import JwkMalformed
from pki.jcs import JsonMalformed, parse_object
from pki.signatures import spki_sha256

MAX_JWKS: Final = 65_536
MAX_KEYS: Final = 64
RSA_BITS: Final = range(2048, 8193)
RSA_ALGORITHMS: Final = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey

_Field = Annotated[str, Meta(max_length=2048)]


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """A key that may verify tokens under exactly these algorithms. `spki` is its name everywhere in Kedge."""

    kid: str
    algorithms: frozenset[str]
    key: PublicKey
    spki: str


class _Jwk(msgspec.Struct, frozen=True, omit_defaults=True):
    """The members that matter; an issuer's others (x5c, key_ops, ...) are ignored, as RFC 7517 section 4 says."""

    kty: _Field
    kid: Annotated[str, Meta(min_length=1, max_length=256)]
    alg: _Field = ""
    use: _Field = ""
    crv: _Field = ""
    x: _Field = ""
    y: _Field = ""
    n: _Field = ""
    e: _Field = ""


def parse_jwk(value: Mapping[str, object]) -> IssuerKey:
    """Read one key: EC P-256 or P-384, Ed25519, or RSA of 2048 to 8192 bits, with a kid, for signatures.

    Raises JwkMalformed for anything else; secret and private keys too.
    """
    if "d" in value or "k" in value:
        raise JwkMalformed("JWK holds a secret or private key", hint="the issuer must replace this key")
    try:
        fields = msgspec.convert(value, _Jwk)
        key = PyJWK(msgspec.to_builtins(fields), _default_algorithm(fields)).key
    except (msgspec.ValidationError, PyJWTError, ValueError, TypeError) as error:
        raise JwkMalformed(f"JWK does not parse: {error}") from error
    algorithms = _algorithms_of(key)
    if fields.use not in ("", "sig"):
        raise JwkMalformed(f"JWK {fields.kid!r} is not for signatures")
    if fields.alg:
        algorithms &= {fields.alg}
    if not algorithms:
        raise JwkMalformed(f"JWK {fields.kid!r} has an algorithm or a size that Kedge does not use")
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return IssuerKey(kid=fields.kid, algorithms=algorithms, key=key, spki=spki_sha256(der))


def parse_jwks(document: bytes) -> Mapping[str, IssuerKey]:
    """Read a JWK Set, by kid. Keys that Kedge cannot use are left out, as RFC 7517 section 5 says.

    Raises JwkMalformed when it is no set of at most 64 KiB and 64 keys, holds private keys, or none is usable.
    """
    try:
        keys = parse_object(document, MAX_JWKS).get("keys")
    except JsonMalformed as error:
        raise JwkMalformed(f"JWK Set: {error.message}") from error
    if not isinstance(keys, list) or len(keys) > MAX_KEYS:
        raise JwkMalformed(f"JWK Set has no list of at most {MAX_KEYS} keys")
    members = [key for key in keys if isinstance(key, dict)]
    if any("d" in member for member in members):
        raise JwkMalformed("JWK Set holds a private key", hint="the issuer must replace this key")
    return index_keys(_usable(members))


def index_keys(keys: Iterable[IssuerKey]) -> Mapping[str, IssuerKey]:
    """Keys by kid. Raises JwkMalformed when there is none, or two have the same kid."""
    found: dict[str, IssuerKey] = {}
    for key in keys:
        if found.setdefault(key.kid, key) is not key:
            raise JwkMalformed(f"two keys have the kid {key.kid!r}")
    if not found:
        raise JwkMalformed("no usable key")
    return found


def _usable(members: Iterable[Mapping[str, object]]) -> Iterable[IssuerKey]:
    for member in members:
        try:
            yield parse_jwk(member)
        except JwkMalformed:
            continue


def _default_algorithm(fields: _Jwk) -> str:
    # Only chooses PyJWT's parser; which algorithms the key may verify is decided by `_algorithms_of`.
    names = {"EC": "ES384" if fields.crv == "P-384" else "ES256", "OKP": "EdDSA", "RSA": "RS256"}
    if fields.kty not in names:
        raise JwkMalformed(f"JWK {fields.kid!r} has key type {fields.kty[:16]!r}")
    return names[fields.kty]


def _algorithms_of(key: object) -> frozenset[str]:
    if isinstance(key, ed25519.Ed25519PublicKey):
        return frozenset({"EdDSA"})
    if isinstance(key, rsa.RSAPublicKey) and key.key_size in RSA_BITS:
        return RSA_ALGORITHMS
    if isinstance(key, ec.EllipticCurvePublicKey):
        names = {"secp256r1": "ES256", "secp384r1": "ES384"}
        return frozenset({names[key.curve.name]}) if key.curve.name in names else frozenset()
    return frozenset()
