"""Officers' keys for tests: soft keys that sign SSHSIG as OpenSSH does, security keys too (PROTOCOL.u2f).

Written from the specifications and compared with ssh-keygen in test_sshsig.py, so that the product's parser is never
tested against itself alone.
"""

import base64
import hashlib
import struct
import textwrap
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from ceremonies.approvals import NAMESPACE

APPLICATION = "ssh:kedge"
PRESENT, VERIFIED = 0x01, 0x04

_Private = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def string(data: bytes | str) -> bytes:
    """`string` of RFC 4251."""
    data = data.encode() if isinstance(data, str) else data
    return struct.pack(">I", len(data)) + data


def mpint(value: int) -> bytes:
    """`mpint` of RFC 4251, for positive values."""
    return string(value.to_bytes(value.bit_length() // 8 + 1, "big"))


def armour(blob: bytes) -> str:
    """The text of a .sig file."""
    lines = textwrap.wrap(base64.b64encode(blob).decode(), 70)
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""])


@dataclass(frozen=True)
class OfficerKey:
    """A private key and its OpenSSH algorithm."""

    algorithm: str
    private: _Private

    @property
    def blob(self) -> bytes:
        """The wire encoding of the public key."""
        public = self.private.public_key()
        if isinstance(public, ed25519.Ed25519PublicKey):
            body = string(public.public_bytes_raw())
        elif isinstance(public, rsa.RSAPublicKey):
            body = mpint(public.public_numbers().e) + mpint(public.public_numbers().n)
        else:
            point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
            body = string(f"nistp{public.curve.key_size}") + string(point)
        return string(self.algorithm) + body + (string(APPLICATION) if self.algorithm.startswith("sk-") else b"")

    @property
    def line(self) -> str:
        """Algorithm and base64, as rosters hold it."""
        return f"{self.algorithm} {base64.b64encode(self.blob).decode()}"

    def sign(self, message: bytes, namespace: str = NAMESPACE, *, flags: int = PRESENT | VERIFIED) -> str:
        """What `ssh-keygen -Y sign` prints; `flags` are the authenticator's."""
        digest = hashlib.sha512(message).digest()
        signed = b"SSHSIG" + string(namespace) + string(b"") + string("sha512") + string(digest)
        return armour(self.wrap(self.sign_inner(signed, flags), namespace))

    def wrap(self, inner: bytes, namespace: str = NAMESPACE, *, reserved: bytes = b"", name: str = "sha512") -> bytes:
        """The SSHSIG blob around an inner signature."""
        head = b"SSHSIG" + struct.pack(">I", 1) + string(self.blob)
        return head + string(namespace) + string(reserved) + string(name) + string(inner)

    def sign_inner(self, signed: bytes, flags: int = PRESENT | VERIFIED, counter: int = 7) -> bytes:
        """The signature field: algorithm, signature, and for security keys flags and counter."""
        tail = b""
        if self.algorithm.startswith("sk-"):
            tail = struct.pack(">BI", flags, counter)
            signed = hashlib.sha256(APPLICATION.encode()).digest() + tail + hashlib.sha256(signed).digest()
        if isinstance(self.private, ed25519.Ed25519PrivateKey):
            raw, name = self.private.sign(signed), self.algorithm
        elif isinstance(self.private, rsa.RSAPrivateKey):
            raw, name = self.private.sign(signed, padding.PKCS1v15(), hashes.SHA512()), "rsa-sha2-512"
        else:
            chosen = hashes.SHA384() if self.private.curve.key_size == 384 else hashes.SHA256()
            r, s = decode_dss_signature(self.private.sign(signed, ec.ECDSA(chosen)))
            raw, name = mpint(r) + mpint(s), self.algorithm
        return string(name) + string(raw) + tail


def make_key(algorithm: str = "ssh-ed25519") -> OfficerKey:
    """A fresh key of an OpenSSH algorithm."""
    if algorithm.endswith("ed25519") or algorithm == "sk-ssh-ed25519@openssh.com":
        return OfficerKey(algorithm, ed25519.Ed25519PrivateKey.generate())
    if algorithm == "ssh-rsa":
        return OfficerKey(algorithm, rsa.generate_private_key(65537, 3072))
    curve = ec.SECP384R1() if algorithm.endswith("nistp384") else ec.SECP256R1()
    return OfficerKey(algorithm, ec.generate_private_key(curve))
