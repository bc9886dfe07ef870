"""Certificates that rework, scrap and the closing of a work order take back, as `ceremonies.revocations` names them."""

from collections.abc import Iterable, Mapping

import msgspec
from cryptography import x509

from ceremonies.journal import RESTORE, JournalForked
from ceremonies.room import Room
from ceremonies.tables import CertificateRow
from pki.x509.issuers import read_certificate


class Withdrawn(msgspec.Struct, frozen=True):
    """A certificate to be revoked: whose it is, the key name (spki) of its CA, and its number (40 hex digits)."""

    serial: str
    ca: str
    number: str


def read_withdrawn(room: Room, certificates: Iterable[tuple[str, bytes]]) -> list[Withdrawn]:
    """What `revoke_changes` needs of certificates, each (serial, PEM).

    Raises JournalForked when no CA of ours made one.
    """
    authorities = read_authorities(room)
    found = []
    for serial, pem in certificates:
        certificate = read_certificate(pem)
        key = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
        if key not in authorities:
            raise JournalForked(f"no CA here made the certificate of {serial}", hint=RESTORE)
        found.append(Withdrawn(serial, authorities[key], f"{certificate.serial_number:040x}"))
    return found


def read_authorities(room: Room) -> Mapping[bytes | None, str]:
    """The names of the CAs' keys by their subject key identifiers."""
    found: dict[bytes | None, str] = {}
    for row in room.store.list(CertificateRow, "label"):
        certificate = read_certificate(room.store.blob(row["document"]) or b"")
        ski = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        found[ski] = row["spki"]
    return found
