"""Certificates that are taken back many at once: by the closing of a work order, as devices leave their site,
and what a site box has revoked.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from cryptography import x509

from ceremonies.grant_tables import BoxCertificateRow
from ceremonies.granted import Box
from ceremonies.journal import RESTORE, JournalForked, Placed
from ceremonies.orders import Actor
from ceremonies.owned import find_ldevids
from ceremonies.procedures import LastWords
from ceremonies.revocations import Grounds, list_pending, revoke_changes
from ceremonies.room import Room
from ceremonies.settled import Settled
from ceremonies.statements import select_in
from ceremonies.store import Change
from pki.x509.issuers import read_certificate

PAGE: Final = 500


class Withdrawn(msgspec.Struct, frozen=True):
    """A certificate to be revoked: whose it is, the key name (spki) of its CA, and its number (40 hex digits)."""

    serial: str
    ca: str
    number: str


def read_withdrawn(room: Room, certificates: Iterable[tuple[str, bytes]]) -> list[Withdrawn]:
    """What `revoke_changes` needs of certificates, each (serial, PEM), whose digests the caller has compared with the
    journal. Reading them takes a 25th of asking the journal for each entry (`ceremonies.certified`).

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
    """The names of the CAs' keys by their subject key identifiers, as the journal has them: by a row that was altered,
    certificates would be revoked as those of another CA, and go on. Any thread.
    """
    found: dict[bytes | None, str] = {}
    for authority in list(room.ledger.replay.generations.known.values()):
        certificate = read_certificate(room.store.blob(authority.document) or b"")
        ski = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest
        found[ski] = authority.spki
    return found


def withdraw_ldevids(
    room: Room, left: Mapping[str, str], by: Actor, context: Mapping[str, Any] | None = None
) -> LastWords:
    """What revokes the LDevIDs of devices that left their site: serials, each with the reason (RFC 5280). Writer's
    thread, as `revoke_changes`. Raises JournalForked.
    """
    parts: list[LastWords] = []
    for reason in sorted(set(left.values())):
        serials = [serial for serial, why in left.items() if why == reason]
        grounds = Grounds(reason, "the device left its site")
        parts.append(revoke_changes(room, find_ldevids(room, serials), grounds, by, context))
    return join_words(parts)


def withdraw_settled(
    room: Room, box: Box, told: Mapping[str, str], arrived: Mapping[str, Settled], by: Actor
) -> LastWords:
    """What a box has revoked, with what rests on it: numbers of certificates, each with the reason. No row is asked
    whether a number counts; rows, and what `arrived`, say whose accepted certificate it is, that its LDevID may end.
    Writer's thread, as `revoke_changes`. Raises JournalForked.
    """
    serials = {number: arrived[number].serial for number in told if number in arrived}
    numbers = sorted(set(told) - set(serials))
    for start in range(0, len(numbers), PAGE):
        with room.store.read() as connection:
            rows = list(select_in(connection, BoxCertificateRow, "number", numbers[start : start + PAGE]))
        serials |= {row["number"]: row["serial"] for row in rows if row["box"] == box.label and row["settled"]}
    pending = list(list_pending(room, (Withdrawn(serials.get(number, ""), box.ca, number) for number in told)))
    parts: list[LastWords] = []
    ended: set[str] = set()  # a serial whose certificates were revoked for several reasons has one LDevID
    for reason in sorted({told[item.number] for item in pending}):
        mine = [item for item in pending if told[item.number] == reason]
        named = {item.serial for item in mine if item.serial} - ended
        resting, ended = find_ldevids(room, sorted(named)), ended | named
        grounds = Grounds(reason, "revoked at its site box", {"box": box.label})
        parts.append(revoke_changes(room, [*mine, *resting], grounds, by))
    return join_words(parts)


def join_words(parts: Sequence[LastWords]) -> LastWords:
    """Entries and rows of several revocations."""

    def changes(placed: Sequence[Placed]) -> list[Change]:
        found, start = list[Change](), 0
        for words in parts:
            found += words.changes(placed[start : start + len(words.drafts)])
            start += len(words.drafts)
        return found

    return LastWords([draft for words in parts for draft in words.drafts], changes)
