"""Devices as callers: known by a client certificate that was issued here; a revocation counts at the next request.

No path is built: the certificate's digest leads to the entry that released it. TLS, or the proxy, has shown that the
caller holds its key; of a message of CMP the keyroom verifies the signature (`ceremonies.senders`).
"""

import hashlib
from collections import OrderedDict, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

import msgspec

from ceremonies.certified import Issued, describe_accepted, read_outcome
from ceremonies.errors import KeyroomError, TokenRefused
from ceremonies.grant_tables import BoxCertificateRow
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.ldevids import KIND as LDEVID
from ceremonies.revocations import is_ended
from ceremonies.room import Room
from ceremonies.settled import find_accepted
from ceremonies.stations import ClientCertificateExpired, ClientCertificateUnknown
from ceremonies.tables import DocumentRow
from ceremonies.tokens import Identity
from ceremonies.units import ISSUED
from pki.x509.pem import write_pem

ASKED: Final = (60, 600_000_000)
"""Requests of one device within so many microseconds. A restart forgets the count."""
WATCHED: Final = 10_000


class DeviceRevoked(TokenRefused):
    """The device's certificate was revoked."""

    code = "device-revoked"


class DeviceTooFast(KeyroomError):
    """A device asks too often."""

    code = "device-too-fast"


class Allowance:
    """How often something may be done under one name: `count` times within `span_us`. In memory, for the last names."""

    def __init__(self, count: int, span_us: int) -> None:
        self._count = count
        self._span_us = span_us
        self._done: OrderedDict[str, deque[int]] = OrderedDict()

    def spend(self, name: str, now_us: int) -> None:
        """Once more. Raises DeviceTooFast, which says when to come again."""
        done = self._done.setdefault(name, deque(maxlen=self._count))
        self._done.move_to_end(name)
        if len(self._done) > WATCHED:
            self._done.popitem(last=False)
        left_us = self._span_us - (now_us - done[0]) if len(done) == self._count else 0
        if left_us > 0:
            wait_s = left_us // 1_000_000 + 1
            raise DeviceTooFast(
                f"device {name} has asked {self._count} times within {self._span_us // 1_000_000} s",
                hint=f"wait {wait_s} s",
                details={"retry_after": wait_s},
            )
        done.append(now_us)

    def give_back(self, name: str) -> None:
        """The last time does not count: nothing was done."""
        if self._done.get(name):
            self._done[name].pop()


class Shown(msgspec.Struct, frozen=True):
    """A certificate that a device shows: what was issued, and its end."""

    issued: Issued
    expires: datetime


class Devices:
    """Finds out which device asks."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._asked = Allowance(*ASKED)

    async def identify(self, certificate: bytes) -> Identity:
        """The device that shows this certificate (DER) and holds its key; one more request of it.

        Raises what `recognise` raises, DeviceTooFast.
        """
        identity = await self.recognise(certificate)
        self.spend(identity.sub)
        return identity

    def spend(self, serial: str) -> None:
        """One more request of a device. Raises DeviceTooFast."""
        self._asked.spend(serial, self._room.surroundings.mono_us())

    async def recognise(self, certificate: bytes, excuse: Callable[[Issued], bool] | None = None) -> Identity:
        """The device that shows this certificate (DER). One that shows an LDevID is bound to the CA of that,
        whatever its generation. excuse: whether one that was revoked counts still.

        Raises ClientCertificateUnknown, ClientCertificateExpired, DeviceRevoked.
        """
        room = self._room
        shown = await room.act(lambda: find_shown(room, certificate, excuse))
        issued = shown.issued
        bindings: dict[str, tuple[str, ...]] = {"serial": (issued.serial,)}
        if issued.kind == LDEVID:
            bindings["authority"] = await room.act(lambda: list_labels(room, issued.ca))
        return Identity("device", issued.serial, "", "", issued.document, shown.expires, bindings, {})


def find_digest(room: Room, certificate: bytes) -> str:
    """What rows know a device's certificate (DER) by: the SHA-256 of its PEM. Any thread.

    Raises ClientCertificateUnknown.
    """
    digest = hashlib.sha256(write_pem(certificate, "CERTIFICATE")).hexdigest()
    row = room.store.find(DocumentRow, sha256=digest)
    issued = row is not None and row["kind"] in (*ISSUED, LDEVID)
    if not issued and room.store.find(BoxCertificateRow, certificate=digest) is None:
        raise _unknown()
    return digest


def find_shown(room: Room, certificate: bytes, excuse: Callable[[Issued], bool] | None) -> Shown:
    """A device's certificate (DER) that counts. Writer's thread.

    Raises ClientCertificateUnknown, ClientCertificateExpired, DeviceRevoked, JournalForked.
    """
    digest = find_digest(room, certificate)
    accepted = find_accepted(room, certificate=digest)
    issued = describe_accepted(accepted) if accepted else find_own(room, digest)
    if is_ended(room, issued) and not (excuse and excuse(issued)):
        raise DeviceRevoked(
            f"the certificate that {issued.serial} shows was revoked",
            hint="show the IDevID; ask officers if it is that",
        )
    expires = read_end(issued.not_after)
    if room.door.now() >= expires:
        raise ClientCertificateExpired(f"the LDevID of {issued.serial} has expired", hint="show the IDevID")
    return Shown(issued, expires)


def find_own(room: Room, digest: str) -> Issued:
    """A device's certificate that was issued here. Writer's thread. Raises ClientCertificateUnknown, JournalForked."""
    row = room.store.find(DocumentRow, sha256=digest)
    if row is None or row["kind"] not in (*ISSUED, LDEVID):
        raise _unknown()
    placed, _ = room.ledger.read_entry(row["seq"])
    issued = read_outcome(placed.seq, placed.leaf)
    if issued is None or (issued.document, issued.kind) != (digest, row["kind"]):
        raise JournalForked(f"document {digest[:16]}: its row is not what the journal says", hint=RESTORE)
    return issued


def _unknown() -> ClientCertificateUnknown:
    return ClientCertificateUnknown(
        "the client certificate was issued to no station and no device",
        hint="enrol the station, or send a token; a device shows its IDevID",
    )


def list_labels(room: Room, ca: str) -> tuple[str, ...]:
    """The labels of a CA (SPKI digest): each of its generations has one, and each stands for all. Writer's thread."""
    generations = room.ledger.replay.generations
    family = generations.generations(generations.known[ca].name)
    return tuple(room.door.keyring.get(item.spki).label for item in family)


def read_end(text: str) -> datetime:
    """A time of an entry (RFC 3339, UTC)."""
    return datetime.fromisoformat(text).astimezone(UTC)
