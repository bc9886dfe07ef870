"""Enrolment over Secure Transport (RFC 7030): a request names its device, and the work order is found here."""

from collections.abc import Awaitable, Callable

from ceremonies.commands import DeviceIssued, EnrolDevice, IssueDevice
from ceremonies.desk import Caller
from ceremonies.errors import BindingMismatch, KeyroomError
from ceremonies.issuance import Line, SerialNotInOrder, load_line
from ceremonies.room import Room

LARGEST = 4096
"""Work orders that are looked at, newest first."""


class WorkOrderAmbiguous(KeyroomError):
    """Several open work orders name this serial."""

    code = "work-order-ambiguous"


class Est:
    """Issues device certificates whose work order is found by the serial."""

    def __init__(self, room: Room, issue: Callable[[IssueDevice, Caller], Awaitable[DeviceIssued]]) -> None:
        self._room = room
        self._issue = issue

    async def enrol(self, command: EnrolDevice, caller: Caller) -> DeviceIssued:
        """As the single request under the order that was found. Raises SerialNotInOrder, WorkOrderAmbiguous."""
        found = await self._room.act(lambda: self._find_orders(command, caller))
        if not found:
            raise SerialNotInOrder(
                f"no work order of {command.authority} that this station works on names serial {command.serial}",
                hint="call the supervisor: an order must be opened",
            )
        if len(found) > 1:
            raise WorkOrderAmbiguous(
                f"serial {command.serial} stands in {len(found)} orders: {', '.join(found[:4])}",
                hint="name the order: PUT /v1/work-orders/{order}/devices/{serial}",
            )
        return await self._issue(IssueDevice(found[0], command.serial, command.csr), caller)

    def _find_orders(self, command: EnrolDevice, caller: Caller) -> list[str]:
        """Those that are open; when none is, those that were: a repeated request gets its answer. Writer's thread."""
        now = self._room.surroundings.now_us() // 1_000_000
        lines = [line for name in self._newest() if (line := self._read(name)) and fits(line, command, caller)]
        within = [line for line in lines if line.order.valid_from <= now < line.order.valid_to]
        return [line.order.id for line in within or lines]

    def _newest(self) -> list[str]:
        return list(reversed(self._room.ledger.replay.orders))[:LARGEST]

    def _read(self, name: str) -> Line | None:
        """An order that can be worked on; one whose CA is suspended is none."""
        try:
            return self._room.cached(("line", name), lambda: load_line(self._room, name))
        except KeyroomError:
            return None


def fits(line: Line, command: EnrolDevice, caller: Caller) -> bool:
    """Whether an order of this CA names the serial, and is the station's business."""
    if line.authority != command.authority or not line.order.covers(command.serial):
        return False
    try:
        caller.require("plant", line.order.plant)
        caller.require("class", line.order.class_name)
    except BindingMismatch:
        return False
    return True
