"""Public COSE_Keys (RFC 9052 section 7, RFC 9053 section 7) and their thumbprints (RFC 9679)."""

import hashlib
from functools import cached_property, lru_cache

import msgspec
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from pki.signatures import load_spki, spki_der
from pki.trust import cbor
from pki.trust.errors import CoseKeyInvalid
from pki.trust.shapes import Shape, integer, octets, refuse

EC2, OKP, RSA, HSS_LMS, AKP = 2, 1, 3, 5, 7
ES256, ES384, EDDSA = -7, -35, -8

MAX_PARAM = 4096

# The types of the values of -1, -2, ... by key type (docs/trust.cddl, `cose-key`).
_PARAMS: dict[int, tuple[type, ...]] = {
    EC2: (int, bytes, bytes),
    OKP: (int, bytes),
    RSA: (bytes, bytes),
    HSS_LMS: (bytes,),
    AKP: (bytes,),
}
# What one algorithm's key must be: (type, curve, bytes of each coordinate). RFC 9053 sections 2.1, 2.2 and 7.1.
_CURVES: dict[int, tuple[int, int, int]] = {ES256: (EC2, 1, 32), ES384: (EC2, 2, 48), EDDSA: (OKP, 6, 32)}
VERIFIED = frozenset(_CURVES)  # the algorithms that Kedge verifies itself


class CoseKey(msgspec.Struct, frozen=True, order=True, dict=True):
    """A public key. `params` are the values of the labels -1, -2, ... of its type, in that order:

    EC2 (kty 2): crv, x, y. OKP (1): crv, x. RSA (3): n, e. HSS-LMS (5): pub. AKP (7): pub.
    A set may carry any of them; Kedge itself verifies ES256 (-7), ES384 (-35) and EdDSA with Ed25519 (-8).
    """

    kty: int
    alg: int
    params: tuple[int | bytes, ...]

    def __post_init__(self) -> None:
        wanted = _PARAMS.get(self.kty)
        if wanted is None or tuple(map(type, self.params)) != wanted:
            raise CoseKeyInvalid(f"COSE_Key of type {self.kty} with parameters that are not of this type")
        if any(type(part) is bytes and not 0 < len(part) <= MAX_PARAM for part in self.params):
            raise CoseKeyInvalid(f"a parameter of a COSE_Key is empty or has over {MAX_PARAM} bytes")
        curve = _CURVES.get(self.alg)
        sizes = [len(part) for part in self.params if isinstance(part, bytes)]
        if curve is None:
            if self.kty in (EC2, OKP):
                raise CoseKeyInvalid(f"no elliptic-curve algorithm {self.alg}", hint="use -7, -35 or -8")
        elif (self.kty, self.params[0]) != curve[:2] or set(sizes) != {curve[2]}:
            raise CoseKeyInvalid(f"type, curve or coordinates do not fit algorithm {self.alg}")

    @classmethod
    def from_spki(cls, der: bytes) -> "CoseKey":
        """The COSE_Key of a DER SubjectPublicKeyInfo. Raises KeyUnsupported unless P-256, P-384 or Ed25519."""
        key = load_spki(der)
        if isinstance(key, ed25519.Ed25519PublicKey):
            raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
            return cls(OKP, EDDSA, (6, raw))
        size = (key.curve.key_size + 7) // 8
        numbers = key.public_numbers()
        alg, crv = (ES256, 1) if size == 32 else (ES384, 2)
        return cls(EC2, alg, (crv, numbers.x.to_bytes(size, "big"), numbers.y.to_bytes(size, "big")))

    def to_spki(self) -> bytes:
        """Its DER SubjectPublicKeyInfo.

        Raises CoseKeyInvalid for an algorithm that Kedge carries but does not verify, or a point off the curve.
        """
        return _to_spki(self)

    @cached_property
    def thumbprint(self) -> bytes:
        """SHA-256 COSE Key Thumbprint (RFC 9679 section 4): the kid, 32 bytes, over the required parameters only."""
        required: dict[cbor.Key, cbor.Value] = {1: self.kty}
        if self.kty == AKP:
            required[3] = self.alg
        required |= {-1 - place: part for place, part in enumerate(self.params)}
        return hashlib.sha256(cbor.encode(required)).digest()


@lru_cache(maxsize=1024)
def _to_spki(key: CoseKey) -> bytes:
    try:
        match key.alg, key.params:
            case -8, (int(), bytes(x)):
                return spki_der(ed25519.Ed25519PublicKey.from_public_bytes(x))
            case -7 | -35, (int(), bytes(x), bytes(y)):
                curve = ec.SECP256R1() if key.alg == ES256 else ec.SECP384R1()
                return spki_der(ec.EllipticCurvePublicKey.from_encoded_point(curve, b"\x04" + x + y))
    except ValueError as error:
        raise CoseKeyInvalid(f"key {key.thumbprint.hex()[:16]} is no point of its curve") from error
    raise CoseKeyInvalid(f"algorithm {key.alg} is carried, not verified", hint="verify with a tool that knows it")


_INT = integer()
_PARAM = octets(1, MAX_PARAM)


def _read(value: cbor.Value, where: str) -> CoseKey:
    if type(value) is not dict:
        raise refuse(where, "a map")
    kty, alg = _INT.read(value.get(1), f"{where}.1"), _INT.read(value.get(3), f"{where}.3")
    shapes: list[Shape[int] | Shape[bytes]] = [_INT if part is int else _PARAM for part in _PARAMS.get(kty, ())]
    if value.keys() != {1, 3, *range(-len(shapes), 0)}:
        raise refuse(where, f"a COSE_Key with exactly the parameters of type {kty}")
    params = [shape.read(value[-1 - place], f"{where}.{-1 - place}") for place, shape in enumerate(shapes)]
    return CoseKey(kty, alg, tuple(params))


def _write(key: CoseKey) -> cbor.Value:
    params: dict[cbor.Key, cbor.Value] = {-1 - place: part for place, part in enumerate(key.params)}
    return {1: key.kty, 3: key.alg, **params}


COSE_KEY = Shape(_read, _write)
