"""Certificates that are taken back: what is written of them, with whatever takes them back.

One seam for all of it: rework, scrap and the closing of a work order ask `withdraw`, and write its entries and rows in
their own transaction.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from cryptography import x509

from ceremonies import entries
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.orders import Actor, Rider
from ceremonies.room import Room
from ceremonies.tables import CertificateRow
from pki.x509.issuers import read_certificate

REVOKE: Final = "certificate.revoke"
AT_ONCE: Final = 500
"""Numbers in one entry: 40 digits each, and an entry has 64 KiB."""


class Withdrawn(msgspec.Struct, frozen=True):
    """A certificate to be revoked: whose it is, the key name (spki) of its CA, and its number (40 hex digits)."""

    serial: str
    ca: str
    number: str


def withdraw(withdrawn: Sequence[Withdrawn], reason: str, by: Actor, **facts: str) -> Rider:
    """The entries that revoke certificates, and the rows that follow. reason: of RFC 5280 section 5.3.1, as it is
    spelled there. facts: more for the entries, `why` among them.
    """
    drafts = []
    for ca in sorted({item.ca for item in withdrawn}):
        ours = [item for item in withdrawn if item.ca == ca]
        for start in range(0, len(ours), AT_ONCE):
            part = ours[start : start + AT_ONCE]
            alone = {"number": part[0].number, "serial": part[0].serial} if len(withdrawn) == 1 else {}
            what: dict[str, Any] = alone or {"numbers": [item.number for item in part]}
            drafts.append(entries.event(REVOKE, by, {**facts, **what, "ca": ca, "reason": reason}))
    return Rider(tuple(drafts))


def read_withdrawn(room: Room, certificates: Iterable[tuple[str, bytes]]) -> list[Withdrawn]:
    """What `withdraw` needs of certificates, each (serial, PEM). Raises JournalForked when no CA of ours made one."""
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
