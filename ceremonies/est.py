"""Enrolment over Secure Transport (RFC 7030): a request names its device, and the work order is found here."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from ceremonies.commands import DeviceIssued, EnrolDevice, IssueDevice
from ceremonies.desk import Caller
from ceremonies.errors import BindingMismatch, KeyroomError
from ceremonies.issuance import Line, SerialNotInOrder, WorkOrderUnknown, check_business, load_line, load_order
from ceremonies.owners import Owners
from ceremonies.plans import WorkOrder
from ceremonies.room import Room

LARGEST = 4096
"""Work orders that are looked at, newest first."""
AT_ONCE = 20
"""Work orders that are read in one task of the writer."""

Issue = Callable[[IssueDevice, Caller], Awaitable[DeviceIssued]]


class WorkOrderAmbiguous(KeyroomError):
    """Several open work orders name this serial."""

    code = "work-order-ambiguous"


class Est:
    """Issues device certificates whose work order is found by the serial."""

    def __init__(self, room: Room, issue: Issue, owners: Owners) -> None:
        self._room = room
        self._issue = issue
        self._owners = owners
        self._orders: dict[str, WorkOrder] = {}

    async def enrol(self, command: EnrolDevice, caller: Caller) -> DeviceIssued:
        """As the single request under the order that was found; a device itself gets an LDevID.

        Raises SerialNotInOrder, WorkOrderAmbiguous; WorkOrderUnknown when another CA serves the order and
        AuthorityUnavailable when none does: that is no fault of the station's.
        """
        if caller.actor.role == "device":
            return await self._owners.enrol(command, caller)
        orders = [order for order in await self._list_orders() if fits(order, command.serial, caller)]
        if not orders:
            raise SerialNotInOrder(
                f"no work order that this station works on names serial {command.serial}",
                hint="call the supervisor: an order must be opened",
            )
        lines = await self._room.act(lambda: [self._read_line(order) for order in orders])
        found = self._choose([line.order for line in lines if self._serves(line, command.authority)])
        if not found:
            raise WorkOrderUnknown(
                f"{command.authority} serves no work order that names serial {command.serial}",
                hint=f"ask under the label {lines[0].authority}",
            )
        if len(found) > 1:
            raise WorkOrderAmbiguous(
                f"serial {command.serial} stands in {len(found)} orders: {', '.join(found[:4])}",
                hint="name the order: PUT /v1/work-orders/{order}/devices/{serial}",
            )
        return await self._issue(IssueDevice(found[0], command.serial, command.csr, command.form), caller)

    def _choose(self, orders: Sequence[WorkOrder]) -> list[str]:
        """Those that are open; when none is, those that were: a repeated request gets its answer."""
        now, quotas = self._room.surroundings.now_us() // 1_000_000, self._room.ledger.replay.quotas
        within = [order for order in orders if order.valid_from <= now < order.valid_to]
        return [order.id for order in within if not quotas[order.id].closed] or [order.id for order in orders]

    async def _list_orders(self) -> list[WorkOrder]:
        """The newest orders. Each is read once: what officers opened never changes."""
        names = list(self._room.ledger.replay.orders)[-LARGEST:]
        missing = [name for name in names if name not in self._orders]
        for start in range(0, len(missing), AT_ONCE):
            self._orders |= await self._room.act(partial(self._load, missing[start : start + AT_ONCE]))
        return [self._orders[name] for name in names]

    def _load(self, names: Sequence[str]) -> dict[str, WorkOrder]:
        return {name: load_order(self._room, name) for name in names}

    def _serves(self, line: Line, label: str) -> bool:
        """Whether a label names the CA of a line. Every generation's does: no client need change at a switch."""
        named = [key.spki for key in self._room.door.keyring if key.label == label]
        same = self._room.ledger.replay.generations.is_same
        return any(same(spki, line.place.issuer.spki) for spki in named)

    def _read_line(self, order: WorkOrder) -> Line:
        return self._room.cached(("line", order.id), lambda: load_line(self._room, order.id))


def fits(order: WorkOrder, serial: str, caller: Caller) -> bool:
    """Whether an order names the serial, and is the station's business."""
    if not order.covers(serial):
        return False
    try:
        check_business(order, caller)
    except BindingMismatch:
        return False
    return True
