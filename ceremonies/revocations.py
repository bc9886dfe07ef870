"""Certificates are revoked: one by one officer, many by a ceremony (`ceremonies.selections`), some by other flows.

What is revoked stays revoked. The lists follow within a minute (`ceremonies.crls`), answers about one certificate at
once (`ceremonies.statuses`).
"""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from ceremonies import entries
from ceremonies.books import Partition, read_partition
from ceremonies.certified import CertificateUnknown, Issued, describe_accepted, find_by_number, find_by_serial
from ceremonies.commands import CertificateShown, RevokeCertificate, ShowCertificate
from ceremonies.desk import Caller
from ceremonies.errors import KeyroomError
from ceremonies.generations import AUTHORITIES, LINK
from ceremonies.journal import Placed
from ceremonies.ldevids import Ldevid
from ceremonies.orders import Actor
from ceremonies.owned import find_ldevids
from ceremonies.procedures import LastWords
from ceremonies.revocation_tables import RevocationRow
from ceremonies.revoked import RevokedRow, partition_of
from ceremonies.room import Room
from ceremonies.settled import find_accepted, name_authority
from ceremonies.store import Change, Insert
from ceremonies.units import ISSUED
from pki.x509.reasons import read_reason

REVOKE = "certificate.revoke"
NUMBERS_EACH = 1000
"""Numbers in one entry, which holds 64 KiB."""
HOUR_US = 3_600_000_000
EACH_HOUR = 100
"""Certificates that one officer revokes without others. A restart forgets the count."""


Certificate = TypeVar("Certificate", bound="Revocable")


class RevocationRefused(KeyroomError):
    """The certificate is not revoked this way."""

    code = "revocation-refused"


class Revocable(Protocol):
    """What names a certificate: the key of its CA (SPKI digest), its number (40 hex digits), its device's serial."""

    @property
    def ca(self) -> str:
        """Whose it is."""

    @property
    def number(self) -> str:
        """Which it is."""

    @property
    def serial(self) -> str:
        """Empty when it is no device's."""


class Grounds(msgspec.Struct, frozen=True):
    """Why certificates are revoked: a reason of RFC 5280, words for people, and more facts for the entries.

    Raises ReasonUnknown.
    """

    reason: str
    why: str = ""
    facts: Mapping[str, str] = {}

    def __post_init__(self) -> None:
        read_reason(self.reason)


def revoke_changes(
    room: Room,
    certificates: Iterable[Revocable],
    grounds: Grounds,
    by: Actor,
    context: Mapping[str, Any] | None = None,
) -> LastWords:
    """Entries and rows that revoke those of `certificates` that are not revoked yet; none when all are.

    For the writer's thread, in the very task (or `decide`) that commits them, so that nobody revokes in between:
    `room.ledger.commit(lambda _: [*words.drafts, ...], lambda placed: ([*words.changes(placed), ...], ()),
    settles=room.ledger.settled)`; `changes` is given the places of these drafts first.
    context: `cer`, `chg`, `apr` of the entries. Raises JournalForked.
    """
    at = room.surroundings.now_us()
    pending = sorted({(item.ca, item.number, item.serial) for item in list_pending(room, certificates)})
    groups: dict[str, list[str]] = {}
    for ca, number, _ in pending:
        groups.setdefault(ca, []).append(number)
    parts = [(ca, part) for ca, numbers in groups.items() for part in _split(numbers)]
    facts = {**grounds.facts, "at": at, "reason": grounds.reason, "why": grounds.why}
    serials = {serial for _, _, serial in pending}
    if len(serials) == 1 and "" not in serials:
        facts["serial"] = serials.pop()
    drafts = [entries.event(REVOKE, by, facts | _name(room, *part), **(context or {})) for part in parts]

    def changes(placed: Sequence[Placed]) -> list[Change]:
        return [
            Insert(RevocationRow, {
                "ca": ca, "partition": partition_of(number), "number": number, "reason": grounds.reason,
                "revoked_us": at, "seq": entry.seq,
            })
            for (ca, part), entry in zip(parts, placed, strict=False)
            for number in part
        ]  # fmt: skip

    return LastWords(drafts, changes)


def find_revoked(room: Room, issued: Revocable) -> RevokedRow | None:
    """The revocation of a certificate; None when it is not revoked. Writer's thread. Raises JournalForked."""
    return _load(room, (issued.ca, partition_of(issued.number))).get(issued.number)


def is_revoked(room: Room, certificate: Revocable) -> bool:
    """Whether a certificate is revoked, by rows that are compared with the journal once for each change of their
    partition. Writer's thread. Raises JournalForked.
    """
    at = (certificate.ca, partition_of(certificate.number))
    expected = room.ledger.replay.revoked.tally(*at)
    if not expected.count:
        return False
    tally, numbers = room.cache.get(("revoked", *at), (None, frozenset()))
    if tally != expected:
        numbers = frozenset(map(bytes.fromhex, _load(room, at)))
        room.cache["revoked", *at] = (expected, numbers)
    return bytes.fromhex(certificate.number) in numbers


def is_ended(room: Room, issued: Issued) -> bool:
    """Whether the certificate of a device is revoked, or, where it is a site box's, that of the box's CA: what is left
    of a box that nobody believes counts no more. Writer's thread. Raises JournalForked.
    """
    authority = room.ledger.replay.generations.known.get(issued.ca)
    foreign = authority is not None and issued.ca not in room.door.keyring
    return is_revoked(room, issued) or (foreign and authority is not None and is_revoked(room, authority))


def _load(room: Room, at: Partition) -> dict[str, RevokedRow]:
    with room.store.read() as connection:
        rows = read_partition(connection, at, room.ledger.replay.revoked.tally(*at))
    return {row.number: row for row in rows}


def list_pending(room: Room, certificates: Iterable[Certificate]) -> Iterator[Certificate]:
    """Those that are not revoked. Writer's thread. Raises JournalForked."""
    known: dict[Partition, dict[str, RevokedRow]] = {}
    for item in certificates:
        at = (item.ca, partition_of(item.number))
        if at not in known:
            known[at] = _load(room, at)
        if item.number not in known[at]:
            yield item


def _split(numbers: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(numbers), NUMBERS_EACH):
        yield numbers[start : start + NUMBERS_EACH]


class Revocations:
    """What officers ask about certificates."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._done: dict[str, deque[int]] = {}

    async def revoke(self, command: RevokeCertificate, caller: Caller) -> CertificateShown:
        """Revoke one certificate, and what rests on it. Who asks again is told what was recorded the first time."""
        room = self._room
        officer = caller.identity.only("officer") if caller.identity else ""
        room.door.require_governing().roster.officer(officer)
        grounds = Grounds(command.reason, command.why)

        def work() -> CertificateShown:
            issued = find_certificate(room, command.serial, command.number)
            if issued.kind in (*AUTHORITIES, LINK):
                raise RevocationRefused(
                    f"{issued.subject} is a CA: one officer cannot end it", hint="hold a ceremony `revoke`"
                )
            if not command.dry_run:
                words = revoke_changes(room, [issued, *list_resting(room, [issued])], grounds, caller.actor)
                if words.drafts:
                    self._count(officer)
                room.ledger.commit(
                    lambda _: words.drafts, lambda placed: (words.changes(placed), ()), settles=room.ledger.settled
                )
            return show_certificate(room, issued)

        return await room.act(work, urgent=True)

    def _count(self, officer: str) -> None:
        """One more by this officer: a stolen credential must not end a fleet one by one. Raises RevocationRefused."""
        now, done = self._room.surroundings.mono_us(), self._done.setdefault(officer, deque(maxlen=EACH_HOUR))
        if len(done) == EACH_HOUR and now - done[0] < HOUR_US:
            raise RevocationRefused(
                f"{officer} has revoked {EACH_HOUR} certificates within an hour", hint="hold a ceremony `revoke`"
            )
        done.append(now)

    async def show(self, command: ShowCertificate, caller: Caller) -> CertificateShown:
        """What is known of a certificate."""
        room = self._room
        return await room.act(lambda: show_certificate(room, find_certificate(room, command.serial, command.number)))


def list_resting(room: Room, certificates: Iterable[Issued]) -> Iterator[Ldevid]:
    """What rests on certificates, and ends with them: on a device's IDevID its LDevID. Writer's thread.

    Raises JournalForked.
    """
    return find_ldevids(room, [item.serial for item in certificates if item.kind in ISSUED])


def find_certificate(room: Room, serial: str, number: str) -> Issued:
    """By serial or by number, not both. Writer's thread. Raises CertificateUnknown, JournalForked."""
    if bool(serial) == bool(number):
        raise CertificateUnknown("name a serial or a certificate number", hint="one of the two")
    if serial:
        return find_by_serial(room, serial)
    issued = find_by_number(room, number.rjust(40, "0"))
    if issued is not None:  # whatever number a box has chosen, it hides none of ours
        return issued
    accepted = find_accepted(room, number=number.rjust(40, "0"))
    if accepted is None:
        raise CertificateUnknown(f"certificate number {number} was never released", hint="check the number")
    return describe_accepted(accepted)


def show_certificate(room: Room, issued: Issued) -> CertificateShown:
    """A certificate with its status. Writer's thread. Raises JournalForked."""
    revoked = find_revoked(room, issued)
    return CertificateShown(
        number=issued.number,
        ca=name_authority(room, issued.ca),
        kind=issued.kind.partition(".")[2],
        serial=issued.serial,
        subject=issued.subject,
        document=issued.document,
        index=issued.seq,
        status="revoked" if revoked else "good",
        reason=revoked.reason if revoked else "",
        revoked_us=revoked.revoked_us if revoked else 0,
        revoked_index=revoked.seq if revoked else 0,
    )


def _name(room: Room, ca: str, numbers: Sequence[str]) -> dict[str, Any]:
    return {"ca": ca, "label": name_authority(room, ca), "numbers": list(numbers)}
