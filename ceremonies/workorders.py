"""Work orders as people read them: figures by the journal, and each unit with its entries."""

import asyncio
from collections.abc import Iterator, Sequence
from itertools import islice

import msgspec

from ceremonies import entries
from ceremonies.commands import (
    ListWorkOrders,
    ReportUnits,
    ShowWorkOrder,
    UnitShown,
    UnitsReported,
    WorkOrderShown,
    WorkOrdersListed,
)
from ceremonies.desk import Caller
from ceremonies.issuance import load_order
from ceremonies.plans import WorkOrder
from ceremonies.register import list_units, read_entries
from ceremonies.room import Room
from ceremonies.standing import find_excused
from ceremonies.statements import select_in
from ceremonies.store import Row
from ceremonies.unit_tables import ConfirmationRow, ReplacedDeviceRow, ScrapRow

PAGE = 500


class Standing(msgspec.Struct, frozen=True):
    """What decides a unit's state beside its confirmation."""

    closed: bool
    scrapped: frozenset[str]
    excused: frozenset[str]

    def judge(self, serial: str, *, confirmed: bool) -> str:
        """The state of a unit."""
        if serial in self.scrapped:
            return "scrapped"
        if confirmed:
            return "confirmed"
        if not self.closed:
            return "unconfirmed"
        return "excused" if serial in self.excused else "revoked"


class WorkOrders:
    """Reads. An operator sees the orders of its own plants; every reading leaves an entry."""

    def __init__(self, room: Room) -> None:
        self._room = room

    async def list(self, command: ListWorkOrders, caller: Caller) -> WorkOrdersListed:
        """Every order that the caller may see, by id."""
        names = sorted(self._room.ledger.replay.orders)
        orders = await self._room.act(lambda: [self._load(name) for name in names])
        await self._record(caller, {"list": "work-orders"})
        return WorkOrdersListed(tuple(self._show(order) for order in orders if may_see(caller, order)))

    async def show(self, command: ShowWorkOrder, caller: Caller) -> WorkOrderShown:
        """One order. Raises WorkOrderUnknown, BindingMismatch."""
        order = await self._find(command.work_order, caller)
        await self._record(caller, {"read": "work order", "work_order": order.id})
        return self._show(order)

    async def report(self, command: ReportUnits, caller: Caller) -> UnitsReported:
        """Units by serial. Raises WorkOrderUnknown, BindingMismatch."""
        order = await self._find(command.work_order, caller)
        units = self._room.ledger.replay.units
        excused = await self._room.act(lambda: find_excused(self._room, order.id))
        standing = Standing(units.orders[order.id].closed is not None, frozenset(units.scrapped), excused)
        what = {"read": "units", "work_order": order.id, **({"after": command.after} if command.after else {})}
        await self._record(caller, what)
        return await asyncio.to_thread(self._report, order, command, standing)

    async def _find(self, name: str, caller: Caller) -> WorkOrder:
        order = await self._room.act(lambda: self._load(name))
        if caller.actor.role == "operator":
            caller.require("plant", order.plant)
        return order

    def _load(self, name: str) -> WorkOrder:
        """Writer's thread. Raises WorkOrderUnknown, JournalForked."""
        return self._room.cached(("order", name), lambda: load_order(self._room, name))

    def _show(self, order: WorkOrder) -> WorkOrderShown:
        replay = self._room.ledger.replay
        quota, figures = replay.quotas[order.id], replay.units.orders[order.id]
        return WorkOrderShown(
            work_order=order.id, profile=order.profile, class_name=order.class_name, plant=order.plant,
            lines=order.lines, stations=order.stations, state=self._judge(order), valid_from=order.valid_from,
            valid_to=order.valid_to, quantity=quota.quantity, used=quota.issued,
            remaining=quota.quantity - quota.issued, issued=figures.issued, confirmed=figures.built,
            unconfirmed=figures.unconfirmed, scrapped=figures.scrapped.count, replaced=figures.replaced.count,
            refused=figures.refused, duplicates=figures.duplicates, rework_quantity=figures.rework,
            reworked=figures.reworked, withdrawing=replay.units.withdrawing.get(order.id, 0),
        )  # fmt: skip

    def _judge(self, order: WorkOrder) -> str:
        now, closed = self._room.surroundings.now_us() // 1_000_000, self._room.ledger.replay.quotas[order.id].closed
        return tell_state(closed, order.valid_from, order.valid_to, now)

    def _report(self, order: WorkOrder, command: ReportUnits, standing: Standing) -> UnitsReported:
        rows = list_units(self._room.store, order, after=command.after)
        units = (unit for page in take_pages(rows) for unit in self._describe(page, standing))
        wanted = (unit for unit in units if command.state in ("", unit.state))
        found = tuple(islice(wanted, command.limit + 1))
        following = found[command.limit - 1].serial if len(found) > command.limit else ""
        return UnitsReported(order.id, found[: command.limit], following)

    def _describe(self, page: Sequence[Row], standing: Standing) -> Iterator[UnitShown]:
        serials = [row["serial"] for row in page]
        issued = read_entries(self._room.store, [row["certificate"] for row in page])
        with self._room.store.read() as connection:
            confirmed = {
                (row["serial"], row["certificate"]): row["seq"]
                for row in select_in(connection, ConfirmationRow, "serial", serials)
            }
            scrapped = {row["serial"]: row["seq"] for row in select_in(connection, ScrapRow, "serial", serials)}
            replaced = sorted(
                select_in(connection, ReplacedDeviceRow, "serial", serials), key=lambda row: int(row["seq"])
            )
        for row in page:
            serial, certificate = row["serial"], row["certificate"]
            seq = confirmed.get((serial, certificate))
            yield UnitShown(
                serial, standing.judge(serial, confirmed=seq is not None), certificate, row["ueid"],
                issued.get(certificate, 0), seq, scrapped.get(serial),
                tuple(old["certificate"] for old in replaced if old["serial"] == serial),
            )  # fmt: skip

    async def _record(self, caller: Caller, what: dict[str, str]) -> None:
        draft = entries.event("export", caller.actor, what)
        await self._room.act(lambda: self._room.ledger.record([draft]))


def tell_state(closed: bool, valid_from: int, valid_to: int, now: int) -> str:
    """The state of a work order. Times are seconds since 1970."""
    if closed:
        return "closed"
    if now < valid_from:
        return "waiting"
    return "open" if now < valid_to else "over"


def may_see(caller: Caller, order: WorkOrder) -> bool:
    """Whether an order is one of the caller's plants, where the caller has some."""
    if caller.actor.role != "operator" or caller.identity is None:
        return True
    return order.plant in caller.identity.bindings.get("plant", ())


def take_pages(rows: Iterator[Row]) -> Iterator[Sequence[Row]]:
    """Rows in parts, so that few statements describe many."""
    while page := list(islice(rows, PAGE)):
        yield page
