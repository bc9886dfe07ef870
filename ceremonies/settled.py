"""Devices of site boxes, as their settlements left them: whose certificate counts at the centre, and who is confirmed.

A row says where to look. What counts is the list that the settlement's entry names: a digest for each certificate that
is accepted, and for each that is confirmed. One with a finding is in no list; nor is a clone.
"""

import hashlib
from bisect import bisect_left
from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from ceremonies.grant_tables import BoxCertificateRow
from ceremonies.granted import SETTLE
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.room import Room
from ceremonies.store import Row
from ceremonies.tables import DeviceRow

SIZE: Final = 32
KEPT: Final = 16
"""Lists in memory; one has at most 4 MB, of a medium that is full."""
NEVER: Final = "9999-12-31T23:59:59Z"
"""When the certificates end that boxes issue (RFC 5280 section 4.1.2.5)."""
Statement = Literal["accepted", "confirmed"]


class Settled(msgspec.Struct, frozen=True):
    """A device certificate of a box (the label of its CA): number (40 hex digits), serial, key (SPKI digest), digest of
    its PEM, profile, class of the device.
    """

    number: str
    box: str
    serial: str
    spki: str
    certificate: str
    profile: str
    class_name: str

    def digest(self, statement: Statement) -> bytes:
        """What stands for a statement about it in a settlement's list; no field holds a NUL."""
        return hashlib.sha256("\0".join((statement, *msgspec.structs.astuple(self))).encode()).digest()


class Accepted(msgspec.Struct, frozen=True):
    """The present certificate of a device of a box. ca: the key of its CA. seq: the settlement that accepted it."""

    settled: Settled
    ca: str
    seq: int
    confirmed: bool


def write_list(digests: Iterable[bytes]) -> bytes:
    """The list of a settlement: digests in order."""
    return b"".join(sorted(set(digests)))


def is_listed(data: bytes, digest: bytes) -> bool:
    """Whether a list has a digest."""
    at = bisect_left(range(len(data) // SIZE), digest, key=lambda item: data[item * SIZE : (item + 1) * SIZE])
    return data[at * SIZE : (at + 1) * SIZE] == digest


def find_accepted(room: Room, **named: str) -> Accepted | None:
    """The certificate of a box by its `number` or its digest (`certificate`); None for one that no settlement accepted,
    or that is not the present one of its device. Writer's thread. Raises JournalForked.
    """
    row = room.store.find(BoxCertificateRow, **named)
    if row is None or not row["settled"]:
        return None
    settled = read_row(row)
    check_listed(room, row["settled"], settled, "accepted")
    device = room.store.find(DeviceRow, serial=settled.serial)
    if device is None or device["certificate"] != settled.certificate:
        return None
    if (device["spki"], device["class_name"]) != (settled.spki, settled.class_name):
        raise JournalForked(f"device {settled.serial}: its row is not what the settlement says", hint=RESTORE)
    if row["confirmed"]:
        check_listed(room, row["confirmed"], settled, "confirmed")
    ca = room.ledger.replay.grants.boxes[settled.box].ca
    return Accepted(settled, ca, row["settled"], bool(row["confirmed"]))


def read_row(row: Row) -> Settled:
    """A row of the table."""
    return Settled(**{name: row[name] for name in Settled.__struct_fields__})


def check_listed(room: Room, seq: int, settled: Settled, statement: Statement) -> None:
    """The settlement of entry `seq` says this of a certificate. Writer's thread. Raises JournalForked."""
    _, leaf = room.ledger.read_entry(seq)
    what = (leaf.op and leaf.op.what) or {}
    data = _load_list(room, str(what.get("accepted"))) if leaf.type == SETTLE and not leaf.out else None
    if data is None or what.get("box") != settled.box or not is_listed(data, settled.digest(statement)):
        raise JournalForked(f"certificate {settled.number}: its row is not what the settlement says", hint=RESTORE)


def _load_list(room: Room, digest: str) -> bytes | None:
    """A list by its SHA-256. It may have megabytes, and whoever has a device's certificate has it looked up: those that
    were read last are kept.
    """
    kept: dict[str, bytes] = room.cached("settled", dict)
    if digest not in kept and (data := room.store.blob(digest)) is not None:
        while len(kept) >= KEPT:
            del kept[next(iter(kept))]
        kept[digest] = data
    return kept.get(digest)


def name_authority(room: Room, ca: str) -> str:
    """The label of a CA's key (SPKI digest): one of this keyroom, or of a box. Raises KeyUnknown."""
    boxes = list(room.ledger.replay.grants.boxes.values())
    return next((box.label for box in boxes if box.ca == ca), "") or room.door.keyring.get(ca).label
