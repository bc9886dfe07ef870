"""A stand-in for a private key that is elsewhere.

cryptography's builders want a private key. This one has none: for any bytes it returns a signature of two ones,
which belongs to no key. The certificate that comes of it, the rehearsal, is linted and never leaves;
its to-be-signed bytes are what the strongbox is asked to sign.
"""

from typing import Any, NoReturn

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

_ONE_ONE = bytes.fromhex("3006020101020101")  # ECDSA-Sig-Value {r 1, s 1}, RFC 3279 section 2.2.3


class StandInKey(ec.EllipticCurvePrivateKey):
    """Knows the curve and the public half of the real key, and nothing else."""

    def __init__(self, public_key: ec.EllipticCurvePublicKey) -> None:
        self._public_key = public_key

    @property
    def curve(self) -> ec.EllipticCurve:
        """The curve of the real key."""
        return self._public_key.curve

    @property
    def key_size(self) -> int:
        """Bits of the curve."""
        return self._public_key.curve.key_size

    @property
    def hash(self) -> hashes.SHA256 | hashes.SHA384:
        """The hash that goes with the curve (FIPS 186-5): SHA-256 with P-256, SHA-384 with P-384."""
        return hashes.SHA256() if self.key_size == 256 else hashes.SHA384()

    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The public half of the real key."""
        return self._public_key

    def sign(self, data: Any, signature_algorithm: ec.EllipticCurveSignatureAlgorithm) -> bytes:
        """The signature of nobody."""
        return _ONE_ONE

    def exchange(self, algorithm: ec.ECDH, peer_public_key: ec.EllipticCurvePublicKey) -> NoReturn:
        """Raises TypeError."""
        raise TypeError("a stand-in key holds no private key")

    def private_numbers(self) -> NoReturn:
        """Raises TypeError."""
        raise TypeError("a stand-in key holds no private key")

    def private_bytes(self, encoding: Any, format: Any, encryption_algorithm: Any) -> NoReturn:
        """Raises TypeError."""
        raise TypeError("a stand-in key holds no private key")

    def __copy__(self) -> "StandInKey":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "StandInKey":
        return self
