"""OpenSSH public keys and file signatures (SSHSIG), read strictly and verified with `cryptography`.

Sources: OpenSSH PROTOCOL.sshsig (armour, blob, signed data), PROTOCOL.u2f (security keys), RFC 4253 section 6.6,
RFC 5656 section 3.1, RFC 8332, RFC 8709. `docs/adr/0003-sshsig.md` says why this is no library.
"""

import base64
import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

from ceremonies.errors import SshSignatureInvalid, SshSignatureMalformed

MAX_ARMOUR: Final = 8192
MAX_LINE: Final = 4096
RSA_BITS: Final = range(3072, 8193)
USER_PRESENT: Final = 0x01
USER_VERIFIED: Final = 0x04

_BEGIN = "-----BEGIN SSH SIGNATURE-----"
_END = "-----END SSH SIGNATURE-----"
_DIGESTS = {"sha256": hashlib.sha256, "sha512": hashlib.sha512}
_ED25519 = ("ssh-ed25519", "sk-ssh-ed25519@openssh.com")
_CURVES: dict[str, tuple[str, ec.EllipticCurve, hashes.HashAlgorithm]] = {
    "ecdsa-sha2-nistp256": ("nistp256", ec.SECP256R1(), hashes.SHA256()),
    "ecdsa-sha2-nistp384": ("nistp384", ec.SECP384R1(), hashes.SHA384()),
    "sk-ecdsa-sha2-nistp256@openssh.com": ("nistp256", ec.SECP256R1(), hashes.SHA256()),
}
_RSA_HASHES: dict[str, hashes.HashAlgorithm] = {"rsa-sha2-256": hashes.SHA256(), "rsa-sha2-512": hashes.SHA512()}

_Verifier = ed25519.Ed25519PublicKey | ec.EllipticCurvePublicKey | rsa.RSAPublicKey


@dataclass(frozen=True, slots=True)
class SshKey:
    """A public key. Two are equal when their wire encodings are, whatever comment stood behind them.

    application: of a security key (`ssh:...`), else empty.
    """

    algorithm: str
    blob: bytes
    application: str = field(compare=False)
    verifier: _Verifier = field(compare=False, repr=False)

    @property
    def line(self) -> str:
        """Algorithm and base64, as in a `.pub` file without its comment."""
        return f"{self.algorithm} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """As `ssh-keygen -l` prints it: `SHA256:` and base64 without padding."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    @property
    def is_security_key(self) -> bool:
        """Whether a FIDO2 authenticator holds the private key."""
        return self.algorithm.startswith("sk-")


@dataclass(frozen=True, slots=True)
class SshSignature:
    """A signature that verified. Presence, verification and counter are the authenticator's word, else False and 0."""

    key: SshKey
    user_present: bool
    user_verified: bool
    counter: int


class _Reader:
    """Reads the types of RFC 4251 section 5; every short, long or non-minimal encoding is refused."""

    def __init__(self, data: bytes) -> None:
        self._rest = data

    def take(self, size: int) -> bytes:
        if size > len(self._rest):
            raise SshSignatureMalformed("SSH data ends too early")
        head, self._rest = self._rest[:size], self._rest[size:]
        return head

    def uint32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def string(self) -> bytes:
        return self.take(self.uint32())

    def text(self) -> str:
        try:
            return self.string().decode("ascii")
        except UnicodeDecodeError as error:
            raise SshSignatureMalformed("SSH name is not ASCII") from error

    def mpint(self) -> int:
        data = self.string()
        value = int.from_bytes(data, "big")
        if not data or data[0] >= 0x80 or len(data) != value.bit_length() // 8 + 1:
            raise SshSignatureMalformed("SSH integer is zero, negative or not minimal")
        return value

    def end(self) -> None:
        if self._rest:
            raise SshSignatureMalformed(f"{len(self._rest)} bytes follow the SSH data")


def parse_public_key(line: str) -> SshKey:
    """Parse one line of a `.pub` file: algorithm, base64, optional comment. Raises SshSignatureMalformed."""
    parts = line.split(" ", 2)
    if len(line) > MAX_LINE or len(parts) < 2 or not line.isprintable():
        raise SshSignatureMalformed("not an OpenSSH public key line", hint="give one line of a .pub file")
    key = parse_key_blob(_decode_base64(parts[1]))
    if key.algorithm != parts[0]:
        raise SshSignatureMalformed(f"public key says {parts[0][:40]} and holds {key.algorithm}")
    return key


def parse_key_blob(blob: bytes) -> SshKey:
    """Parse the wire encoding of a public key.

    Ed25519, ECDSA on P-256 and P-384, RSA of 3072 to 8192 bits, and the two security-key types; anything else,
    certificates too, raises SshSignatureMalformed.
    """
    reader = _Reader(blob)
    algorithm = reader.text()
    try:
        verifier = _read_verifier(algorithm, reader)
    except ValueError as error:
        raise SshSignatureMalformed(f"{algorithm} public key is not valid: {error}") from error
    application = reader.text() if algorithm.startswith("sk-") else ""
    reader.end()
    if algorithm.startswith("sk-") and not application.startswith("ssh:"):
        raise SshSignatureMalformed("security key is not an SSH key: its application does not begin with ssh:")
    return SshKey(algorithm=algorithm, blob=blob, application=application, verifier=verifier)


def verify_sshsig(armoured: str, message: bytes, namespace: str) -> SshSignature:
    """Verify what `ssh-keygen -Y sign -n namespace` made over `message`.

    The key is the one inside the signature: look it up before you trust it. A security key must have been touched.
    Raises SshSignatureMalformed or SshSignatureInvalid.
    """
    reader = _Reader(_strip_armour(armoured))
    if reader.take(6) != b"SSHSIG" or reader.uint32() != 1:
        raise SshSignatureMalformed("not an SSHSIG of version 1")
    key = parse_key_blob(reader.string())
    found, reserved, digest_name, signature = reader.text(), reader.string(), reader.text(), reader.string()
    reader.end()
    if found != namespace:
        raise SshSignatureInvalid(
            f"signature has namespace {found[:40]!r}, {namespace!r} is expected", hint=f"sign with -n {namespace}"
        )
    # Ignored by OpenSSH and not covered by the signature: accepting it would let anyone write into an approval.
    if reserved:
        raise SshSignatureMalformed("reserved field of the SSHSIG is not empty")
    if digest_name not in _DIGESTS:
        raise SshSignatureMalformed(f"SSHSIG hash {digest_name[:16]!r} is neither sha256 nor sha512")
    digest = _DIGESTS[digest_name](message).digest()
    parts = (namespace.encode(), b"", digest_name.encode(), digest)
    return _verify_inner(key, signature, b"SSHSIG" + b"".join(_string(part) for part in parts))


def _verify_inner(key: SshKey, signature: bytes, signed: bytes) -> SshSignature:
    reader = _Reader(signature)
    name, raw = reader.text(), reader.string()
    flags, counter = 0, 0
    if key.is_security_key:
        tail = reader.take(5)
        flags, counter = tail[0], int.from_bytes(tail[1:], "big")
        signed = hashlib.sha256(key.application.encode()).digest() + tail + hashlib.sha256(signed).digest()
    reader.end()
    if name != key.algorithm and not (key.algorithm == "ssh-rsa" and name in _RSA_HASHES):
        raise SshSignatureMalformed(f"{name[:40]!r} is no signature algorithm of a {key.algorithm} key")
    try:
        _verify_raw(key, name, raw, signed)
    except InvalidSignature as error:
        raise SshSignatureInvalid(f"signature does not verify under key {key.fingerprint}") from error
    if key.is_security_key and not flags & USER_PRESENT:
        raise SshSignatureInvalid(
            f"security key {key.fingerprint} was not touched", hint="sign again and touch the key"
        )
    return SshSignature(
        key=key, user_present=bool(flags & USER_PRESENT), user_verified=bool(flags & USER_VERIFIED), counter=counter
    )


def _verify_raw(key: SshKey, name: str, raw: bytes, signed: bytes) -> None:
    verifier = key.verifier
    if isinstance(verifier, ed25519.Ed25519PublicKey):
        verifier.verify(raw, signed)
    elif isinstance(verifier, rsa.RSAPublicKey):
        verifier.verify(raw, signed, padding.PKCS1v15(), _RSA_HASHES[name])
    else:
        reader = _Reader(raw)
        der = encode_dss_signature(reader.mpint(), reader.mpint())
        reader.end()
        verifier.verify(der, signed, ec.ECDSA(_CURVES[name][2]))


def _read_verifier(algorithm: str, reader: _Reader) -> _Verifier:
    if algorithm in _ED25519:
        return ed25519.Ed25519PublicKey.from_public_bytes(reader.string())
    if algorithm in _CURVES:
        name, curve, _ = _CURVES[algorithm]
        found, point = reader.text(), reader.string()
        if found != name or point[:1] != b"\x04":
            raise ValueError("wrong curve or compressed point")
        return ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    if algorithm == "ssh-rsa":
        exponent, modulus = reader.mpint(), reader.mpint()
        if exponent != 65537 or modulus.bit_length() not in RSA_BITS:
            raise ValueError("RSA needs 3072 to 8192 bits and exponent 65537")
        return rsa.RSAPublicNumbers(exponent, modulus).public_key()
    raise ValueError("algorithm is not accepted")


def _strip_armour(armoured: str) -> bytes:
    if len(armoured) > MAX_ARMOUR:
        raise SshSignatureMalformed(f"signature is longer than {MAX_ARMOUR} characters")
    lines = armoured.replace("\r\n", "\n").removesuffix("\n").split("\n")
    if len(lines) < 3 or lines[0] != _BEGIN or lines[-1] != _END:
        raise SshSignatureMalformed("no SSH SIGNATURE armour", hint="send the whole .sig file")
    return _decode_base64("".join(lines[1:-1]))


def _decode_base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise SshSignatureMalformed("not base64") from error
    if base64.b64encode(data).decode() != text:
        raise SshSignatureMalformed("base64 is not canonical")
    return data


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
