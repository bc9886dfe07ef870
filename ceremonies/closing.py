"""The end of a work order: nothing more is issued, and what was never confirmed is revoked unless it is excused."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from ceremonies import entries
from ceremonies.claims import WorkOrderClosed
from ceremonies.issuance import load_order
from ceremonies.journal import RESTORE, JournalForked, Placed
from ceremonies.plans import ClosePlan, PlanMalformed, WorkOrder, read_plan, write_plan
from ceremonies.procedures import Action, Closing, LastWords
from ceremonies.register import list_units, read_certificates
from ceremonies.revocations import Grounds, revoke_changes
from ceremonies.room import Room
from ceremonies.standing import end_permits
from ceremonies.store import Change, Row
from ceremonies.unit_tables import ConfirmationRow, ReplacedDeviceRow
from ceremonies.units import tally_rows
from ceremonies.withdrawals import read_withdrawn
from pki.jcs import jcs

QUOTA_CLOSE: Final = "quota.close"


def prepare_close(room: Room, data: bytes) -> dict[str, Any]:
    """What officers see: the plan, and how many units would be revoked now. Raises PlanMalformed, WorkOrderClosed."""
    plan: ClosePlan = read_plan(data, ClosePlan)
    shown = {"content": write_plan(plan)}
    guard_close(room, shown)
    order = load_order(room, plan.work_order)
    unconfirmed = list_unconfirmed(room, order)
    if unknown := sorted(set(plan.excused) - {row["serial"] for row in unconfirmed}):
        raise PlanMalformed(
            f"{unknown[0]} is no unconfirmed unit of {order.id}", hint="excuse only what is unconfirmed"
        )
    figures = room.ledger.replay.units.orders[order.id]
    counted = {"confirmed": figures.built, "issued": figures.issued, "scrapped": figures.scrapped.count}
    return {**shown, "now": {**counted, "revoked": len(unconfirmed) - len(plan.excused)}}


def guard_close(room: Room, shown: Mapping[str, Any]) -> None:
    """The order is there and open, at the opening and at the execution. Raises WorkOrderUnknown, WorkOrderClosed."""
    name = shown["content"]["work_order"]
    load_order(room, name)
    if room.ledger.replay.units.orders[name].closed is not None:
        raise WorkOrderClosed(f"work order {name} was closed before", hint="look at its report")


def close_order(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """Close the order and revoke, in one commit. Writer's thread: no request is under way. Raises JournalForked."""
    document = jcs(shown["content"])
    plan: ClosePlan = read_plan(document, ClosePlan)
    guard_close(room, shown)
    order = load_order(room, plan.work_order)
    revoked = [row for row in list_unconfirmed(room, order) if row["serial"] not in set(plan.excused)]
    withdrawn = read_withdrawn(room, read_certificates(room.store, revoked))
    grounds = Grounds("cessationOfOperation", f"never confirmed: {plan.reason}", {"work_order": order.id})
    words = revoke_changes(room, withdrawn, grounds, closing.by, closing.context)
    what = {
        "document": hashlib.sha256(document).hexdigest(), "excused": len(plan.excused), "reason": plan.reason,
        "revoked": len(revoked), "work_order": order.id,
    }  # fmt: skip
    closed = entries.event(QUOTA_CLOSE, closing.by, what, **closing.context)
    permits = room.ledger.replay.units.permits.values()
    ended = end_permits(room, [permit for permit in permits if permit.work_order == order.id])

    def follow(placed: Sequence[Placed]) -> Sequence[Change]:
        return [*ended(placed[0]), *words.changes(placed[1 : 1 + len(words.drafts)])]

    return LastWords([closed, *words.drafts], follow, [document])


def list_unconfirmed(room: Room, order: WorkOrder) -> list[Row]:
    """The devices of an order whose certificate was never confirmed and that were not scrapped, by serial.

    Raises JournalForked when the rows of its devices and confirmations are not what the journal says.
    """
    devices = list(list_units(room.store, order))
    confirmed = set(check_units(room, order, devices))
    scrapped = room.ledger.replay.units.scrapped
    open_still = [row for row in devices if (row["serial"], row["certificate"]) not in confirmed]
    return [row for row in open_still if row["serial"] not in scrapped]


def check_units(room: Room, order: WorkOrder, devices: Sequence[Row]) -> list[tuple[str, str]]:
    """Compare the rows of an order's units with the journal. Serial and certificate of each confirmation."""
    figures = room.ledger.replay.units.orders[order.id]
    store = room.store
    replaced = [(row["serial"], row["certificate"]) for row in list_units(store, order, ReplacedDeviceRow)]
    certified = [*((row["serial"], row["certificate"]) for row in devices), *replaced]
    known = set(certified)
    rows = ((row["serial"], row["certificate"]) for row in list_units(store, order, ConfirmationRow))
    confirmed = [pair for pair in rows if pair in known]
    read = (tally_rows(certified), tally_rows(replaced), tally_rows(confirmed))
    if read != (figures.certified, figures.replaced, figures.confirmed):
        raise JournalForked(f"units of {order.id}: the rows are not what the journal says", hint=RESTORE)
    return confirmed


CLOSE_ACTION = Action(prepare=prepare_close, kinds=("work-order",), close=close_order, guard=guard_close)
