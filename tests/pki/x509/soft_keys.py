"""A hierarchy on ordinary soft keys: what the strongbox does elsewhere, a private key in memory does here."""

import functools
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from pki.drafts import Draft
from pki.names import AuthoritySubject, DeviceSubject, SerialNumber
from pki.signatures import der_to_raw, spki_der, spki_sha256
from pki.x509.certificates import draft_certificate
from pki.x509.issuers import Issuer, read_issuer
from pki.x509.profiles import DEVICE_CA, IDENTITY_ROOT, IDEVID, SITE_CA
from pki.x509.terms import Terms

BEGIN = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
NOW = datetime(2026, 6, 1, tzinfo=UTC)
NUMBER = (1 << 158) + 0x1234


class SoftKey(msgspec.Struct, frozen=True):
    private: ec.EllipticCurvePrivateKey

    @property
    def public_key(self) -> bytes:
        return spki_der(self.private.public_key())

    @property
    def spki(self) -> str:
        return spki_sha256(self.public_key)

    def sign(self, data: bytes) -> bytes:
        """The raw signature, as the strongbox returns it."""
        size = self.private.key_size // 8
        algorithm = ec.ECDSA(hashes.SHA256() if size == 32 else hashes.SHA384())
        return der_to_raw(self.private.sign(data, algorithm), size)

    def finish(self, draft: Draft) -> bytes:
        return draft.finish({item.spki: self.sign(item.data) for item in draft.to_sign})


def make_key(curve: ec.EllipticCurve | None = None) -> SoftKey:
    return SoftKey(ec.generate_private_key(curve or ec.SECP256R1()))


def make_terms(year: int | None = None, number: int = NUMBER) -> Terms:
    return Terms(number, BEGIN, datetime(year, 1, 1, tzinfo=UTC) if year else None)


def make_subject(serial: str = "SN-0001") -> DeviceSubject:
    return DeviceSubject("Acme Storage", f"bms-stm32h7 {serial}", SerialNumber(serial))


class Hierarchy(msgspec.Struct, frozen=True):
    """One root, one device CA, two site CAs, with their keys."""

    root_key: SoftKey
    device_key: SoftKey
    site_key: SoftKey
    root: Issuer
    device_ca: Issuer
    site_ca: Issuer
    other_site_ca: Issuer

    def issue_device(self, key: SoftKey, serial: str = "SN-0001") -> bytes:
        draft = draft_certificate(IDEVID, make_subject(serial), key.public_key, self.device_ca, make_terms())
        return self.device_key.finish(draft)


@functools.cache
def make_hierarchy() -> Hierarchy:
    """Made once for each test process; it is immutable."""
    return build_hierarchy(make_key(ec.SECP384R1()), make_key(), make_key())


def build_hierarchy(root_key: SoftKey, device_key: SoftKey, site_key: SoftKey) -> Hierarchy:
    """The CAs of these keys."""
    subject = AuthoritySubject("Acme Storage", "Identity Root", 1)
    draft = draft_certificate(IDENTITY_ROOT, subject, root_key.public_key, None, make_terms(2060))
    root = read_issuer(IDENTITY_ROOT, root_key.finish(draft))
    subject = AuthoritySubject("Acme Storage", "Device CA", 1)
    draft = draft_certificate(DEVICE_CA, subject, device_key.public_key, root, make_terms(2055))
    device_ca = read_issuer(DEVICE_CA, root_key.finish(draft), root)
    sites = []
    for site in ("site-a", "site-b"):
        subject = AuthoritySubject("Acme Storage", "Site CA", 1, site)
        draft = draft_certificate(SITE_CA, subject, site_key.public_key, root, make_terms(2040))
        sites.append(read_issuer(SITE_CA, root_key.finish(draft), root))
    return Hierarchy(root_key, device_key, site_key, root, device_ca, *sites)
