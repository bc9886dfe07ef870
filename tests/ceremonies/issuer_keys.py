"""Token issuers for tests: soft keys, their JWKs, and tokens as real issuers make them."""

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ceremonies.fleet import DeviceClass, Fleet

NOW = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
ISSUER, AUDIENCE = "https://ci.example", "https://kedge.example"

FLEET = Fleet(
    id="7b0f9d1e-93a4-4c55-8a39-0f3b4a6c2d10",
    vendor="acme.example",
    classes=(DeviceClass("bms-stm32h7", "stm32h7"), DeviceClass("pcs", "lpc55")),
)

_Private = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


@dataclass(frozen=True)
class IssuerSigner:
    """A private key of an issuer with its kid and algorithm."""

    kid: str
    algorithm: str
    private: _Private

    @property
    def jwk(self) -> dict[str, str]:
        """The public key as a JWK with kid, alg and use."""
        public = self.private.public_key()
        if isinstance(public, ec.EllipticCurvePublicKey):
            text = ECAlgorithm.to_jwk(public)
        elif isinstance(public, rsa.RSAPublicKey):
            text = RSAAlgorithm.to_jwk(public)
        else:
            text = OKPAlgorithm.to_jwk(public)
        members = {name: value for name, value in json.loads(text).items() if isinstance(value, str)}
        return {**members, "kid": self.kid, "alg": self.algorithm, "use": "sig"}

    def issue(self, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token of a pipeline, one minute old; a claim given as None is left out."""
        return jwt.encode(pipeline_claims(**claims), self.private, self.algorithm, {"kid": self.kid, **(headers or {})})


def pipeline_claims(**changes: Any) -> dict[str, Any]:
    """What a CI system says about a job, in the manner of GitHub."""
    issued = int(NOW.timestamp()) - 60
    claims = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "repo:acme/bms:ref:refs/heads/main",
        "jti": "7f3c2a10",
        "iat": issued,
        "nbf": issued,
        "exp": issued + 300,
        "repository_id": "4711",
        "repository_owner_id": "42",
        "class": "bms-stm32h7",
        "channels": ["stable", "beta"],
        "run": 9,
    }
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def make_signer(algorithm: str = "ES256", kid: str = "k1") -> IssuerSigner:
    """A fresh key for a JOSE algorithm."""
    if algorithm == "EdDSA":
        return IssuerSigner(kid, algorithm, ed25519.Ed25519PrivateKey.generate())
    if algorithm[:2] in {"RS", "PS"}:
        return IssuerSigner(kid, algorithm, rsa.generate_private_key(65537, 2048))
    curves = {"ES256": ec.SECP256R1(), "ES384": ec.SECP384R1(), "ES512": ec.SECP521R1(), "ES256K": ec.SECP256K1()}
    return IssuerSigner(kid, algorithm, ec.generate_private_key(curves[algorithm]))
