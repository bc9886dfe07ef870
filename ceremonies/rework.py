"""Rework and scrap: what a supervisor of the plant (role operator) says of a single unit."""

from typing import Any, Final

import msgspec

from ceremonies import entries
from ceremonies.certified import Issued, find_by_serial
from ceremonies.claims import WorkOrderClosed
from ceremonies.commands import DeviceScrapped, PermitRework, ReworkPermitted, ScrapDevice
from ceremonies.confirmation import KIND as CONFIRM
from ceremonies.desk import Caller
from ceremonies.errors import DeviceUnknown, KeyroomError
from ceremonies.issuance import load_order
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.plans import WorkOrder
from ceremonies.revocations import Grounds, list_resting, revoke_changes
from ceremonies.room import Room
from ceremonies.settled import find_accepted
from ceremonies.standing import UnitScrapped, end_permits, is_begun
from ceremonies.store import Insert, Row, Update
from ceremonies.tables import DeviceRow
from ceremonies.unit_tables import ConfirmationRow, ReworkQuotaRow, ScrapRow

REWORK: Final = "quota.rework"
SCRAP: Final = "device.scrap"


class ReworkExhausted(KeyroomError):
    """The work order has no permits for rework left."""

    code = "rework-exhausted"


class Unit(msgspec.Struct, frozen=True):
    """A unit of an order, or of one before it: its row; as the journal has it, its certificate, the station that had it
    issued, and whether it is confirmed.
    """

    order: WorkOrder
    device: Row
    issued: Issued
    station: str
    confirmed: bool

    @property
    def what(self) -> dict[str, Any]:
        """The facts for the journal."""
        named = {"serial": self.device["serial"], "spki": self.device["spki"], "work_order": self.order.id}
        before = {} if self.device["work_order"] == self.order.id else {"before": self.device["work_order"]}
        made = {"certificate": self.device["certificate"], "station": self.station}
        return {**made, "confirmed": self.confirmed, **named, **before}


class Rework:
    """Permits and scraps, each decided and written in one task of the writer's thread."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def permit(self, command: PermitRework, caller: Caller) -> ReworkPermitted:
        """Open a permit. While one is open for the serial, the answer is that one."""
        return await self._room.act(lambda: self._permit(command, caller))

    async def scrap(self, command: ScrapDevice, caller: Caller) -> DeviceScrapped:
        """Scrap a unit: it is revoked in the same commit."""
        return await self._room.act(lambda: self._scrap(command, caller))

    def _permit(self, command: PermitRework, caller: Caller) -> ReworkPermitted:
        unit = self._find_unit(command, caller)
        units = self._room.ledger.replay.units
        figures = units.orders[unit.order.id]
        if command.serial in units.scrapped:
            raise UnitScrapped(f"unit {command.serial} was scrapped", hint="quarantine the unit")
        if figures.closed is not None:
            hint = "officers open another order for the serial, with a rework quantity: ask for the permit there"
            raise WorkOrderClosed(f"work order {unit.order.id} was closed", hint=hint)
        permit = units.permits.get(command.serial)
        if permit is not None and not is_begun(self._room, permit):
            left = figures.rework - figures.reworked
            return ReworkPermitted(unit.order.id, command.serial, permit.seq, left, replayed=True)
        if figures.reworked >= figures.rework:
            raise ReworkExhausted(
                f"work order {unit.order.id} allows {figures.rework} reworked units", hint="ask for another work order"
            )
        draft = entries.event(REWORK, caller.actor, {**unit.what, "reason": command.reason})
        spent = Update(ReworkQuotaRow, {"work_order": unit.order.id}, {"opened": figures.reworked + 1})
        ended = end_permits(self._room, [permit] if permit else [])
        (placed,) = self._room.ledger.commit(
            lambda _: [draft], lambda at: ([spent, *ended(at[0])], ()), settles=self._room.ledger.settled
        )
        return ReworkPermitted(
            unit.order.id, command.serial, placed.seq, figures.rework - figures.reworked, replayed=False
        )

    def _scrap(self, command: ScrapDevice, caller: Caller) -> DeviceScrapped:
        room, ledger = self._room, self._room.ledger
        unit = self._find_unit(command, caller)
        if command.serial in ledger.replay.units.scrapped:
            row = room.store.find(ScrapRow, serial=command.serial)
            return DeviceScrapped(unit.order.id, command.serial, row["seq"] if row else 0, replayed=True)
        permit = ledger.replay.units.permits.get(command.serial)
        ended = end_permits(room, [permit] if permit else [])
        draft = entries.event(SCRAP, caller.actor, {**unit.what, "reason": command.reason})
        grounds = Grounds("cessationOfOperation", f"scrapped: {command.reason}", {"work_order": unit.order.id})
        words = revoke_changes(room, [unit.issued, *list_resting(room, [unit.issued])], grounds, caller.actor)
        placed = ledger.commit(
            lambda _: [draft, *words.drafts],
            lambda at: (
                [Insert(ScrapRow, {"serial": command.serial, "seq": at[0].seq}), *ended(at[0]), *words.changes(at[1:])],
                (),
            ),
            settles=ledger.settled,
        )
        return DeviceScrapped(unit.order.id, command.serial, placed[0].seq, replayed=False)

    def _find_unit(self, command: PermitRework | ScrapDevice, caller: Caller) -> Unit:
        """A unit of a plant that the caller speaks for. Raises WorkOrderUnknown, BindingMismatch, DeviceUnknown."""
        order = load_order(self._room, command.work_order)
        caller.require("plant", order.plant)
        device = self._room.store.find(DeviceRow, serial=command.serial)
        mine = device is not None and device["work_order"] == order.id
        if device is None or not (mine or (isinstance(command, PermitRework) and self._takes_over(order, device))):
            raise DeviceUnknown(f"{command.serial} has no certificate under {order.id}", hint="check the serial")
        return Unit(order, device, *read_present(self._room, device), is_confirmed(self._room, device))

    def _takes_over(self, order: WorkOrder, device: Row) -> bool:
        """Whether an order may rework a unit of another, closed one: both are alike, and this one names the unit."""
        before = load_order(self._room, device["work_order"])
        alike = (before.plant, before.class_name, before.profile) == (order.plant, order.class_name, order.profile)
        closed = self._room.ledger.replay.units.orders[before.id].closed is not None
        return closed and alike and order.covers(device["serial"])


def read_present(room: Room, device: Row) -> tuple[Issued, str]:
    """A device's certificate, the last that its serial got, and the station that had it issued.

    Raises JournalForked when the journal says otherwise.
    """
    issued = find_by_serial(room, device["serial"])
    if "/" in device["work_order"]:  # a site box's: the row was compared with its settlement
        return issued, ""
    _, leaf = room.ledger.read_entry(issued.seq)
    what = (leaf.op and leaf.op.what) or {}
    said = (issued.document, what.get("subject_spki"), what.get("work_order"), what.get("class"))
    replaced = room.ledger.replay.units.replaced.get(device["spki"]) == device["serial"]
    if replaced or said != tuple(device[name] for name in ("certificate", "spki", "work_order", "class_name")):
        raise JournalForked(f"device {device['serial']}: its row is not what the journal says", hint=RESTORE)
    return issued, (leaf.actor and leaf.actor.sub) or ""


def is_confirmed(room: Room, device: Row) -> bool:
    """Whether a device's certificate is confirmed: here, or at the site box that issued it.

    Raises JournalForked when a row says so and the journal does not.
    """
    if "/" in device["work_order"]:
        accepted = find_accepted(room, certificate=device["certificate"])
        return accepted is not None and accepted.confirmed
    named = {"serial": device["serial"], "certificate": device["certificate"]}
    row = room.store.find(ConfirmationRow, **named)
    if row is None:
        return False
    _, leaf = room.ledger.read_entry(row["seq"])
    what = (leaf.op and leaf.op.what) or {}
    if leaf.type != CONFIRM or leaf.out or not named.items() <= what.items():
        raise JournalForked(f"confirmation of {device['serial']}: its row is not what the journal says", hint=RESTORE)
    return True
