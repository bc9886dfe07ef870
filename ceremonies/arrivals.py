"""What a settlement brings: certificates of a box, its devices for the register, and clones.

A serial and a key are spent here as by an issue of the centre: what a box has issued, the centre does not issue again.
What another has spent already is a clone: it is told, and enters no register.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec

from ceremonies.certified import name_number
from ceremonies.claims import name_device_key
from ceremonies.grant_tables import BoxCertificateRow
from ceremonies.granted import Box
from ceremonies.replicas import BoxCertificate
from ceremonies.room import Room
from ceremonies.settled import Settled, read_row, write_list
from ceremonies.settling import Finding
from ceremonies.statements import select_in
from ceremonies.store import Change, Insert, Row, Update
from ceremonies.tables import DeviceRow, ReservationRow
from pki.names import ueid_of

PAGE: Final = 500
OWNER: Final = "box/"
"""What begins the owner of a name that a settlement spent; those of requests begin otherwise."""


class Arrivals:
    """The certificates of a medium against everything that is known here. Writer's thread.

    certificates: those whose number is new; devices: those that are new in the register; findings: what is not new.
    accepted: by those their devices are believed. told: digests of certificates that the box says are confirmed.
    """

    def __init__(self, room: Room, box: Box, issued: Sequence[BoxCertificate], told: Iterable[str] = ()) -> None:
        self._room, self._box = room, box
        self.findings: list[Finding] = []
        self.certificates: list[BoxCertificate] = []
        self.devices: list[BoxCertificate] = []
        self._changed: list[BoxCertificate] = []
        self._names: list[tuple[str, str]] = []
        names = (name for item in issued for name in (*names_of(item), name_number(item.number)))
        self._owners = {name: str(row["owner"]) for name, row in self._load(ReservationRow, "name", names).items()}
        self._numbers = set(self._load(BoxCertificateRow, "number", (item.number for item in issued)))
        for item in issued:
            self._take(item)
        self.accepted = {item.number: self._settle(item) for item in (*self.devices, *self._changed) if item.sound}
        self._confirmed = self._find_confirmed(told)

    def _settle(self, item: BoxCertificate) -> Settled:
        return Settled(
            item.number, self._box.label, item.serial, item.spki, item.document, item.profile, item.class_name
        )

    def _find_confirmed(self, told: Iterable[str]) -> dict[str, Settled]:
        """Those that are confirmed from now on, by their numbers: of this box, accepted now or before."""
        told = set(told)
        rows = self._load(BoxCertificateRow, "certificate", told).values()
        earlier = [row for row in rows if row["box"] == self._box.label and row["settled"] and not row["confirmed"]]
        now = {item.number: item for item in self.accepted.values() if item.certificate in told}
        return {row["number"]: read_row(row) for row in earlier} | now

    @property
    def statements(self) -> bytes:
        """The list that the settlement's entry names (`ceremonies.settled`); empty when there is nothing to state."""
        accepted = [item.digest("accepted") for item in self.accepted.values()]
        return write_list([*accepted, *(item.digest("confirmed") for item in self._confirmed.values())])

    def _load(self, model: type, column: str, values: Iterable[str]) -> Mapping[str, Row]:
        wanted = sorted(set(values))
        with self._room.store.read() as connection:
            pages = (wanted[start : start + PAGE] for start in range(0, len(wanted), PAGE))
            return {row[column]: row for page in pages for row in select_in(connection, model, column, page)}

    def _take(self, item: BoxCertificate) -> None:
        serial, key = names_of(item)
        if item.number in self._numbers or name_number(item.number) in self._owners:
            self._find("number-twice", item, f"certificate number {item.number} was given before")
            return
        self._numbers.add(item.number)
        self.certificates.append(item)
        own = f"{self._owner}:"
        if key in self._owners:
            self._find("key-clone", item, f"its key belongs to {self._tell(key)}")
        elif serial not in self._owners:
            self._enter(item, self.devices, (serial, key))
        elif item.rework and self._owners[serial].startswith(own):
            self._enter(item, self._changed, (key,))
        else:
            self._find("serial-clone", item, f"its serial was certified before, by {self._tell(serial)}")

    def _enter(self, item: BoxCertificate, where: list[BoxCertificate], names: Iterable[str]) -> None:
        where.append(item)
        for name in names:
            self._owners[name] = f"{self._owner}:{item.serial}"
            self._names.append((name, self._owners[name]))

    def _find(self, code: str, item: BoxCertificate, said: str) -> None:
        self.findings.append(Finding(code, item.seq, item.serial, said))

    def _tell(self, name: str) -> str:
        """Who has spent a name: a box and its serial, or an order of the centre and its serial."""
        return ":".join(self._owners[name].split(":")[:2]) or "an earlier request"

    @property
    def _owner(self) -> str:
        return f"{OWNER}{self._box.label}"

    def changes(self, seq: int) -> list[Change]:
        """The rows that follow, by the entry of the settlement."""
        rows: list[Change] = []
        for item in self.certificates:
            settled = seq if item.number in self.accepted else 0
            rows.append(
                Insert(
                    BoxCertificateRow,
                    {**msgspec.structs.asdict(self._settle(item)), "seq": item.seq, "settled": settled, "confirmed": 0},
                )
            )
        rows += [Update(BoxCertificateRow, {"number": number}, {"confirmed": seq}) for number in self._confirmed]
        rows += [Insert(ReservationRow, {"name": name, "owner": owner, "seq": seq}) for name, owner in self._names]
        rows += [Insert(DeviceRow, {"serial": item.serial, **self._device(item)}) for item in self.devices]
        return rows + [Update(DeviceRow, {"serial": item.serial}, self._device(item)) for item in self._changed]

    def _device(self, item: BoxCertificate) -> dict[str, object]:
        return {
            "spki": item.spki, "ueid": ueid_of(item.public_key).hex(), "certificate": item.document,
            "work_order": name_order(self._box.label, item.work_order), "class_name": item.class_name,
            "public_key": item.public_key,
        }  # fmt: skip


def names_of(item: BoxCertificate) -> tuple[str, str]:
    """The names that a device certificate spends: of its serial, and of its key."""
    return f"serial:{item.serial}", name_device_key(item.spki)


def read_owner(owner: str) -> str:
    """The serial for which a settlement spent a name; empty when a request here did."""
    return owner.partition(":")[2] if owner.startswith(OWNER) else ""


def name_order(box: str, order: str) -> str:
    """What the register calls a work order of a box; no order of the centre has a slash in its name."""
    return f"{box}/{order}"
