"""What the fleet is like: the register joined with the newest verified receipt of each device.

One pass over the devices in the order of their serials, a slice at a time, from any thread: no lock, no index on what
issuing writes. What a device did not say does not count in its favour.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from functools import cmp_to_key
from typing import Any, Final

import msgspec
from sqlalchemy import Select, func, or_, select

from ceremonies.admission import read_version
from ceremonies.baselines import Baselines, find_baseline
from ceremonies.certified import read_released
from ceremonies.commands import (
    CheckImport,
    Command,
    FleetDevice,
    FleetQueried,
    LabelShown,
    QueryFleet,
    ReadBaseline,
    RecordStatements,
    ShowLabel,
)
from ceremonies.desk import Caller, Handler
from ceremonies.errors import BindingMismatch, DeviceUnknown
from ceremonies.fleet_tables import RegisterRow
from ceremonies.imports import Imports
from ceremonies.issuance import load_order
from ceremonies.receipts import Facts
from ceremonies.registrar import Registrar
from ceremonies.room import Room
from ceremonies.store import Row, octets, table_of
from ceremonies.tables import DeviceRow, ReceiptRow
from pki.trust.baselines import Baseline
from pki.trust.receipts import State
from pki.trust.targets import compare_versions
from pki.x509.lfdi import lfdi_of

SLICE: Final = 5_000
US: Final = 1_000_000
PLACE: Final = ("operator", "site", "rack", "asset", "link")
_facts = msgspec.json.Decoder(Facts)


class Inquiries:
    """Answers questions about the fleet. The desk records who asked what."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def query(self, command: QueryFleet, caller: Caller) -> FleetQueried:
        """The devices that fit. Raises BindingMismatch for an operator of other sites."""
        sites = check_sites(command, caller)
        found = await self._room.act(lambda: find_baseline(self._room))
        return await asyncio.to_thread(self._query, command, sites, found)

    def _query(self, command: QueryFleet, sites: Sequence[str] | None, baseline: Baseline | None) -> FleetQueried:
        wanted = Wanted(self._room, command, baseline)
        devices: list[FleetDevice] = []
        for row in self._walk(command, sites):
            device = wanted.judge(row)
            if device is None:
                continue
            if len(devices) == command.limit:
                return FleetQueried(tuple(devices), devices[-1].serial, wanted.sequence)
            devices.append(device)
        return FleetQueried(tuple(devices), "", wanted.sequence)

    def _walk(self, command: QueryFleet, sites: Sequence[str] | None) -> Iterator[Row]:
        after, size = command.after, command.limit + 1  # a page when every device fits
        while True:
            rows = self._room.store.rows(select_devices(command, sites, after).limit(size))
            yield from rows
            if len(rows) < size:
                return
            after, size = rows[-1]["serial"], SLICE

    async def label(self, command: ShowLabel, caller: Caller) -> LabelShown:
        """What stands on a device's label. Raises DeviceUnknown, BindingMismatch for a station of another plant."""
        return await self._room.act(lambda: self._label(command, caller))

    def _label(self, command: ShowLabel, caller: Caller) -> LabelShown:
        room = self._room
        device = room.store.find(DeviceRow, serial=command.serial)
        if device is None:
            raise DeviceUnknown(f"no device {command.serial} was issued here", hint="check the serial")
        if "/" in device["work_order"]:
            raise DeviceUnknown(f"{command.serial} was issued by a site box", hint="ask the box for its label")
        order = load_order(room, device["work_order"])
        if caller.actor.role == "station":
            caller.require("plant", order.plant)
        elif caller.actor.role == "operator":
            row = room.store.find(RegisterRow, serial=command.serial)
            caller.require(
                "site" if row and row["site"] else "plant", row["site"] if row and row["site"] else order.plant
            )
        lfdi = ""
        if order.profile == "ieee2030-5-device":
            lfdi = lfdi_of(read_released(room, device["certificate"], f"certificate.{order.profile}"))
        return LabelShown(command.serial, order.class_name, lfdi, write_label(command.serial, order.class_name, lfdi))


class Wanted:
    """What a query asks, compared with one device after the other."""

    def __init__(self, room: Room, command: QueryFleet, baseline: Baseline | None) -> None:
        self._command = command
        self._firmware = read_version(command.firmware_below) if command.firmware_below else ()
        self._tested: dict[str, tuple[int, ...]] = {}
        self.sequence = baseline.sequence if baseline else 0
        if baseline is not None:
            fleet = room.door.require_governing().policy.fleet
            ids = {fleet.class_id(item.name): item.name for item in fleet.classes}
            found = baseline.classes.items()
            self._tested = {ids[class_id]: item.version for class_id, item in found if class_id in ids}

    def judge(self, row: Row) -> FleetDevice | None:
        """The device, or None when it does not fit."""
        facts = _facts.decode(octets(row["facts"])) if row["facts"] is not None else None
        firmware = find_firmware(facts)
        tested = self._tested.get(row["class_name"])
        met = firmware is not None and tested is not None and not compare_versions(firmware, tested)
        if not self._fits(facts, firmware) or (self._command.off_baseline and met):
            return None
        baseline = ("met" if met else "off") if tested is not None else "none"
        return describe(row, facts, firmware, baseline if self.sequence else "")

    def _fits(self, facts: Facts | None, firmware: tuple[int, ...] | None) -> bool:
        command = self._command
        if self._firmware and firmware and compare_versions(firmware, self._firmware) >= 0:
            return False
        floor = facts.floors.get(str(command.floor_domain), 0) if facts else 0
        return not command.floor_below or floor < command.floor_below


def check_sites(command: QueryFleet, caller: Caller) -> Sequence[str] | None:
    """The sites that a caller may see, None for all. Raises BindingMismatch."""
    if caller.identity is None or caller.identity.role != "operator":
        return None
    if command.site:
        caller.require("site", command.site)
    sites = caller.identity.bindings.get("site", ())
    if not sites:
        raise BindingMismatch("operator is bound to no site", hint="get a token that names the sites")
    return sites


def select_devices(command: QueryFleet, sites: Sequence[str] | None, after: str) -> Select[Any]:
    """A slice of the devices behind a serial, each with its row of the register and its newest receipt."""
    device, place, receipt = table_of(DeviceRow), table_of(RegisterRow), table_of(ReceiptRow)
    other = receipt.alias()
    newest = select(func.max(other.c.sequence)).where(other.c.ueid == device.c.ueid).scalar_subquery()
    placed = bool(command.site or command.rack or sites is not None or command.state not in ("", "issued"))
    joined = device.join(place, place.c.serial == device.c.serial, isouter=not placed)
    joined = joined.join(receipt, (receipt.c.ueid == device.c.ueid) & (receipt.c.sequence == newest), isouter=True)
    names = [device.c[name] for name in ("serial", "class_name", "ueid", "work_order")]
    names += [place.c[name] for name in ("state", *PLACE, "since_us")]
    names += [receipt.c[name] for name in ("set_index", "facts", "received_us")]
    query = select(*names, receipt.c.state.label("moving")).select_from(joined).order_by(device.c.serial)
    for column, value in (
        (device.c.serial, command.serial), (device.c.class_name, command.class_name),
        (place.c.site, command.site), (place.c.rack, command.rack),
    ):  # fmt: skip
        query = query.where(column == value) if value else query
    if sites is not None:
        query = query.where(place.c.site.in_(sites))
    if command.state:
        query = query.where(place.c.state == command.state if placed else place.c.serial.is_(None))
    if command.set_below:
        query = query.where(or_(receipt.c.set_index.is_(None), receipt.c.set_index < command.set_below))
    if command.silent_since:
        since = command.silent_since * US
        query = query.where(or_(receipt.c.received_us.is_(None), receipt.c.received_us < since))
    return query.where(device.c.serial > after) if after else query


def find_firmware(facts: Facts | None) -> tuple[int, ...] | None:
    """The highest version in a confirmed slot; None when a device never said so."""
    versions = [slot.version for slot in facts.slots if slot.confirmed and slot.version] if facts else []
    return max(versions, key=cmp_to_key(compare_versions), default=None)


def describe(row: Row, facts: Facts | None, firmware: Sequence[int] | None, baseline: str) -> FleetDevice:
    """A device as callers see it."""
    placed: Mapping[str, str] = {name: row[name] or "" for name in PLACE}
    return FleetDevice(
        **{name: row[name] for name in ("serial", "class_name", "ueid", "work_order")},
        state=row["state"] or "issued",
        **placed,
        since=(row["since_us"] or 0) // US,
        heard=(row["received_us"] or 0) // US,
        set_index=row["set_index"] or 0,
        stable=facts is not None and row["moving"] == State.STABLE,
        firmware=".".join(map(str, firmware)) if firmware else "",
        floors=facts.floors if facts else {},
        alarm=facts.alarm if facts else "",
        baseline=baseline,
    )


def write_label(serial: str, class_name: str, lfdi: str) -> str:
    """The text of a label's QR code: `KEDGE1` and fields, separated by semicolons; no field holds one."""
    fields = {"serial": serial, "class": class_name, "lfdi": lfdi}
    return ";".join(["KEDGE1", *(f"{name}={value}" for name, value in fields.items() if value)])


def register_handlers(room: Room) -> Mapping[type[Command], Handler]:
    """The handlers of the register and of the fleet for one keyroom."""
    inquiries = Inquiries(room)
    return {
        RecordStatements: Registrar(room).record,
        CheckImport: Imports(room).check,
        QueryFleet: inquiries.query,
        ShowLabel: inquiries.label,
        ReadBaseline: Baselines(room).read,
    }
