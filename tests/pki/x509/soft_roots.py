"""The second generation of the soft hierarchy: a younger root, its link certificates, a device CA below it."""

import functools
from datetime import UTC, datetime

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from pki.names import AuthoritySubject
from pki.x509.certificates import draft_certificate
from pki.x509.issuers import Issuer, read_issuer
from pki.x509.links import draft_link
from pki.x509.profiles import DEVICE_CA, IDENTITY_ROOT, IDEVID
from pki.x509.terms import Terms
from tests.pki.x509.soft_keys import NUMBER, Hierarchy, SoftKey, make_hierarchy, make_key, make_subject

BEGIN_2 = datetime(2028, 1, 2, 3, 4, 5, tzinfo=UTC)
NOW_2 = datetime(2028, 6, 1, tzinfo=UTC)


class Roots(msgspec.Struct, frozen=True):
    """The hierarchy of the first generation, the second root with its key, and their link certificates (PEM)."""

    first: Hierarchy
    key: SoftKey
    new: Issuer
    new_with_old: bytes
    old_with_new: bytes


def until(year: int, number: int = NUMBER) -> Terms:
    return Terms(number, BEGIN_2, datetime(year, 1, 1, tzinfo=UTC))


@functools.cache
def make_roots() -> Roots:
    """Made once for each test process."""
    return build_roots(make_hierarchy(), make_key(ec.SECP384R1()))


def build_roots(first: Hierarchy, key: SoftKey) -> Roots:
    subject = AuthoritySubject("Acme Storage", "Identity Root", 2)
    draft = draft_certificate(IDENTITY_ROOT, subject, key.public_key, None, until(2067))
    new = read_issuer(IDENTITY_ROOT, key.finish(draft))
    new_with_old = first.root_key.finish(draft_link(new, first.root, NUMBER + 1))
    return Roots(first, key, new, new_with_old, key.finish(draft_link(first.root, new, NUMBER + 2)))


def make_next_device_ca(roots: Roots, key: SoftKey) -> Issuer:
    """The device CA of generation 2, below the second root."""
    subject = AuthoritySubject("Acme Storage", "Device CA", 2)
    draft = draft_certificate(DEVICE_CA, subject, key.public_key, roots.new, until(2060))
    return read_issuer(DEVICE_CA, roots.key.finish(draft), roots.new)


def issue_below(issuer: Issuer, signer: SoftKey, key: SoftKey, serial: str = "SN-0002") -> bytes:
    """A device certificate of the second generation."""
    terms = Terms(NUMBER + 3, BEGIN_2)
    return signer.finish(draft_certificate(IDEVID, make_subject(serial), key.public_key, issuer, terms))
