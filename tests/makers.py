"""Makers of hardware, as a test has them: their CAs, endorsement certificates of TPMs, manifests of secure elements."""

import base64
import hashlib
import json
from datetime import UTC, datetime
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID, ObjectIdentifier

from pki.elements.endorsements import EK_PURPOSE, EndorsementKey
from pki.elements.manifests import Pins

NOW: Final = datetime(2026, 11, 23, tzinfo=UTC)
SHA256: Final = hashes.SHA256()
_BITS: Final = (
    "digital_signature", "content_commitment", "key_encipherment", "data_encipherment", "key_agreement",
    "key_cert_sign", "crl_sign", "encipher_only", "decipher_only",
)  # fmt: skip
Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey


def make_key() -> ec.EllipticCurvePrivateKey:
    """A key on P-256."""
    return ec.generate_private_key(ec.SECP256R1())


def usage(*names: str) -> x509.KeyUsage:
    """A key usage extension."""
    return x509.KeyUsage(**{name: name in names for name in _BITS})


class Maker:
    """A CA of a maker, below another one or its own root."""

    def __init__(self, name: str, above: "Maker | None" = None, **changed: Any) -> None:
        self.key: Key = changed.pop("key", None) or make_key()
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        ca = x509.BasicConstraints(ca=True, path_length=changed.pop("path_length", None))
        extensions = changed.pop("extensions", [(ca, True), (usage("key_cert_sign", "crl_sign"), True)])
        self.certificate = (above or self).certify(self.name, self.key.public_key(), extensions, **changed)

    @property
    def pem(self) -> str:
        """Its certificate as a policy pins it."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    @property
    def der(self) -> bytes:
        """Its certificate."""
        return self.certificate.public_bytes(Encoding.DER)

    def certify(self, name: x509.Name, key: Any, extensions: Any, **changed: Any) -> x509.Certificate:
        """A certificate by this CA."""
        builder = x509.CertificateBuilder(self.name, name, key, x509.random_serial_number())
        builder = builder.not_valid_before(changed.get("since", datetime(2020, 1, 1, tzinfo=UTC)))
        builder = builder.not_valid_after(changed.get("until", datetime(2099, 1, 1, tzinfo=UTC)))
        for extension, critical in extensions:
            builder = builder.add_extension(extension, critical)
        return builder.sign(self.key, changed.get("digest", SHA256))


def endorse(maker: Maker, key: EndorsementKey, **changed: Any) -> bytes:
    """An endorsement certificate: an empty subject, the TPM's model in a critical subjectAltName; DER."""
    kind = "key_encipherment" if isinstance(key, rsa.RSAPublicKey) else "key_agreement"
    model = x509.Name([x509.NameAttribute(ObjectIdentifier("2.23.133.2.2"), "swtpm")])
    extensions = {
        "usage": (usage(*changed.pop("usages", (kind,))), True),
        "ca": (x509.BasicConstraints(changed.pop("authority", False), None), True),
        "purpose": (x509.ExtendedKeyUsage([ObjectIdentifier(changed.pop("purpose", EK_PURPOSE))]), False),
        "model": (x509.SubjectAlternativeName([x509.DirectoryName(model)]), True),
    }
    kept = [item for name, item in extensions.items() if name not in changed.get("without", ())]
    return maker.certify(x509.Name([]), key, kept, **changed).public_bytes(Encoding.DER)


class Foundry:
    """A maker of secure elements: the CA chain above its keys, and the key that signs its manifests."""

    def __init__(self) -> None:
        self.root = Maker("Element Root")
        self.signer_ca = Maker("Element Signer F600", self.root, path_length=0)
        self.signer = make_key()
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Manifest Signer")])
        extensions = [(usage("digital_signature"), True)]
        self.certificate = Maker("Log Signer Root").certify(name, self.signer.public_key(), extensions)

    @property
    def pins(self) -> Pins:
        """Its certificates as whoever believes it has them."""
        return Pins((self.certificate,), (self.root.certificate,))

    @property
    def signer_pem(self) -> str:
        """The certificate of the manifests' signer."""
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def certify(self, key: ec.EllipticCurvePrivateKey, ca: Maker | None = None, **changed: Any) -> bytes:
        """An element's certificate for its key, DER."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sn0123 ATECC")])
        extensions = [(x509.BasicConstraints(False, None), True), (usage("digital_signature", "key_agreement"), True)]
        certificate = (ca or self.signer_ca).certify(name, key.public_key(), extensions, **changed)
        return certificate.public_bytes(Encoding.DER)

    def describe(self, key: ec.EllipticCurvePrivateKey, unique_id: str, **changed: Any) -> dict[str, Any]:
        """A payload: the key with its chain, and a second key without one."""
        first = {**write_jwk(key, "0"), "x5c": [b64(self.certify(key)), b64(self.signer_ca.der)]}
        keys = changed.pop("keys", [first, write_jwk(make_key(), "1")])
        maker = {"organizationName": "Acme Silicon", "organizationalUnitName": "Elements"}
        return {
            "version": 1, "model": "ATECC608B", "partNumber": "ATECC608B-TFLXTLSS", "manufacturer": maker,
            "provisioningTimestamp": "2026-01-15T17:22:45.000Z", "uniqueId": unique_id,
            "publicKeySet": {"keys": keys}, **changed,
        }  # fmt: skip

    def sign(self, payload: Any, **changed: Any) -> dict[str, Any]:
        """An entry of a manifest."""
        thumbprint = hashlib.sha256(self.certificate.public_bytes(Encoding.DER)).digest()
        usual = {"typ": "JWT", "alg": "ES256", "kid": url(b"k" * 20), "x5t#S256": url(thumbprint)}
        header: dict[str, Any] = {**usual, **changed.pop("protected", {})}
        head = url(json.dumps({name: item for name, item in header.items() if item is not None}).encode())
        body = url(payload if isinstance(payload, bytes) else json.dumps(payload).encode())
        r, s = decode_dss_signature(self.signer.sign(f"{head}.{body}".encode(), ec.ECDSA(SHA256)))
        signature = url(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        name = payload["uniqueId"] if isinstance(payload, dict) else "00" * 9
        return {"payload": body, "protected": head, "signature": signature, "header": {"uniqueId": name}, **changed}

    def deliver(self, *keys: ec.EllipticCurvePrivateKey, first: int = 1) -> bytes:
        """A manifest of elements with these keys."""
        entries = [self.sign(self.describe(key, f"{number:018x}")) for number, key in enumerate(keys, first)]
        return json.dumps(entries).encode()


def write_jwk(key: ec.EllipticCurvePrivateKey, kid: str) -> dict[str, Any]:
    """A public key as JWK."""
    numbers = key.public_key().public_numbers()
    x, y = (url(value.to_bytes(32, "big")) for value in (numbers.x, numbers.y))
    return {"kid": kid, "kty": "EC", "crv": "P-256", "x": x, "y": y}


def b64(data: bytes) -> str:
    """Base64."""
    return base64.b64encode(data).decode()


def url(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def write_area(key: ec.EllipticCurvePrivateKey, attributes: int, policy: bytes = b"", **changed: int) -> bytes:
    """A public area as anybody can write it, TPM2B_PUBLIC."""
    fields = {
        "type": 0x23,
        "name": 0xB,
        "symmetric": 0x10,
        "scheme": 0x18,
        "hash": 0xB,
        "curve": 3,
        "kdf": 0x10,
    } | changed
    numbers = key.public_key().public_numbers()
    number = {name: value.to_bytes(2, "big") for name, value in fields.items()}
    area = b"".join(
        (
            number["type"], number["name"], attributes.to_bytes(4, "big"), sized(policy), number["symmetric"],
            number["scheme"], number["hash"] if fields["scheme"] != 0x10 else b"", number["curve"], number["kdf"],
            sized(numbers.x.to_bytes(32, "big")), sized(numbers.y.to_bytes(32, "big")),
        )
    )  # fmt: skip
    return sized(area)


def sized(data: bytes) -> bytes:
    """A TPM2B."""
    return len(data).to_bytes(2, "big") + data
