"""A certificate authority for the TLS between API and keyroom, and its certificates as files."""

import datetime
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from ceremonies.tls import TlsFiles
from pki.signatures import spki_sha256

BOTH = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
CLIENT = (ExtendedKeyUsageOID.CLIENT_AUTH,)
SERVER = (ExtendedKeyUsageOID.SERVER_AUTH,)


def entitle(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


@dataclass
class Authority:
    """A root that signs certificates for names, into a directory."""

    path: Path
    name: str = "Acme TLS"
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    alternative: x509.ExtensionType | None = None
    """What its certificates have instead of the name as subject alternative name."""

    def __post_init__(self) -> None:
        self.path.mkdir(parents=True, exist_ok=True)
        builder = self._begin(entitle(self.name), self.key.public_key(), 3650)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        builder = builder.add_extension(usage(sign=True), True)
        self.ca = self.path / "ca.pem"
        self.ca.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        self.ca.chmod(0o644)

    def issue(
        self,
        name: str,
        purposes: tuple[x509.ObjectIdentifier, ...] = BOTH,
        days: float = 30,
        ca: Path | None = None,
        age: float = 1,
    ) -> TlsFiles:
        """A certificate for a DNS name with its key; `ca`: whom its owner believes. The same name again: anew."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._begin(entitle(name), key.public_key(), days, age)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
        names = self.alternative or x509.SubjectAlternativeName([x509.DNSName(name)])
        builder = builder.add_extension(names, False)
        builder = builder.add_extension(usage(sign=False), True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), False)
        files = TlsFiles(self.path / f"{name}.pem", self.path / f"{name}.key", ca or self.ca)
        files.key.unlink(missing_ok=True)
        files.key.touch(mode=0o600)
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        files.certificate.write_bytes(builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return files

    def _begin(
        self, name: x509.Name, key: ec.EllipticCurvePublicKey, days: float, age: float = 1
    ) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.UTC)
        ours = x509.SubjectKeyIdentifier.from_public_key(self.key.public_key())
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(entitle(self.name))
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(days=age))
            .not_valid_after(now + datetime.timedelta(days=days))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ours), False)
        )


def usage(*, sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=sign, crl_sign=sign, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def spki_of(files: TlsFiles) -> str:
    """The hex SHA-256 of a certificate's public key, as a list of peers names it."""
    key = x509.load_pem_x509_certificate(files.certificate.read_bytes()).public_key()
    return spki_sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
