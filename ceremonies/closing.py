"""The end of a work order: nothing more is issued, and what was never confirmed is revoked unless it is excused.

Small orders are done with in the commit that closes them. Of a larger one that commit says how many certificates are
left to be revoked; `ceremonies.remainders` does it, in parts. Rows are read beside the writer, as of one moment.
"""

import copy
import hashlib
from collections.abc import Mapping, Sequence, Set
from contextlib import ExitStack
from typing import Any, Final

from sqlalchemy import Connection, select
from sqlmodel import SQLModel

from ceremonies import entries
from ceremonies.claims import WorkOrderClosed
from ceremonies.issuance import load_order
from ceremonies.journal import RESTORE, JournalForked, Placed
from ceremonies.plans import ClosePlan, PlanMalformed, WorkOrder, read_plan, write_plan
from ceremonies.procedures import Action, Closing, LastWords
from ceremonies.register import PAGE, Pair, list_units, read_certificates
from ceremonies.revocations import Grounds, revoke_changes
from ceremonies.room import Room
from ceremonies.standing import end_permits
from ceremonies.statements import select_in
from ceremonies.store import Change, Source, View, table_of
from ceremonies.tables import DeviceRow, HeadRow
from ceremonies.unit_tables import ConfirmationRow, ReplacedDeviceRow
from ceremonies.units import Figures, tally_rows
from ceremonies.withdrawals import read_withdrawn
from pki.jcs import jcs

QUOTA_CLOSE: Final = "quota.close"
REASON: Final = "cessationOfOperation"
AT_ONCE: Final = 1000
"""Certificates of an order that is closed and done with in one commit."""
ROWS_EACH: Final = 20_000
"""Revoked certificates of before that one commit reads beside its own: a large fleet has a million."""


def prepare_close(room: Room, data: bytes) -> dict[str, Any]:
    """What officers see: the plan, and how many units would be revoked now. Raises PlanMalformed, WorkOrderClosed."""
    plan: ClosePlan = read_plan(data, ClosePlan)
    order = room.writer.run_now(lambda: find_open(room, plan.work_order))
    unconfirmed = {serial for serial, _ in read_unconfirmed(room, order)}
    if unknown := sorted(set(plan.excused) - unconfirmed):
        raise PlanMalformed(
            f"{unknown[0]} is no unconfirmed unit of {order.id}", hint="excuse only what is unconfirmed"
        )
    figures = room.ledger.replay.units.orders[order.id]
    counted = {"confirmed": figures.built, "issued": figures.issued, "scrapped": figures.scrapped.count}
    return {"content": write_plan(plan), "now": {**counted, "revoked": len(unconfirmed) - len(plan.excused)}}


def find_open(room: Room, name: str) -> WorkOrder:
    """The order is there and open. Writer's thread. Raises WorkOrderUnknown, WorkOrderClosed."""
    order = load_order(room, name)
    if room.ledger.replay.units.orders[name].closed is not None:
        raise WorkOrderClosed(f"work order {name} was closed before", hint="look at its report")
    return order


def guard_close(room: Room, shown: Mapping[str, Any]) -> None:
    """The order is open still, and its rows are what the journal says.

    Raises WorkOrderUnknown, WorkOrderClosed, JournalForked.
    """
    read_unconfirmed(room, room.writer.run_now(lambda: find_open(room, shown["content"]["work_order"])))


def close_order(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """Close the order, in one commit. Writer's thread: no request is under way. Raises JournalForked."""
    document = jcs(shown["content"])
    plan: ClosePlan = read_plan(document, ClosePlan)
    order = find_open(room, plan.work_order)
    replay, words = room.ledger.replay, LastWords()
    figures = replay.units.orders[order.id]
    if figures.certified.count > AT_ONCE or replay.revoked.count > ROWS_EACH:
        counts = {"left": figures.unconfirmed - count_excused(room, plan.excused), "revoked": 0}
    else:
        pairs = list_unconfirmed(room.store, order, figures, replay.units.scrapped)
        revoked = [pair for pair in pairs if pair[0] not in set(plan.excused)]
        withdrawn = read_withdrawn(room, read_certificates(room.store, revoked))
        grounds = Grounds(REASON, explain(plan.reason), {"work_order": order.id})
        words, counts = revoke_changes(room, withdrawn, grounds, closing.by, closing.context), {"revoked": len(revoked)}
    what = {
        "document": hashlib.sha256(document).hexdigest(), "excused": len(plan.excused), "reason": plan.reason,
        "work_order": order.id, **counts,
    }  # fmt: skip
    closed = entries.event(QUOTA_CLOSE, closing.by, what, **closing.context)
    permits = replay.units.permits.values()
    ended = end_permits(room, [permit for permit in permits if permit.work_order == order.id])

    def follow(placed: Sequence[Placed]) -> Sequence[Change]:
        return [*ended(placed[0]), *words.changes(placed[1 : 1 + len(words.drafts)])]

    return LastWords([closed, *words.drafts], follow, [document])


def explain(reason: str) -> str:
    """Why a certificate is revoked, in the words of the entry."""
    return f"never confirmed: {reason}"


def count_excused(room: Room, excused: Sequence[str]) -> int:
    """How many of the excused are unconfirmed still, by their rows. Writer's thread."""
    devices, confirmed = (find_pairs(room, model, excused) for model in (DeviceRow, ConfirmationRow))
    return sum(serial not in room.ledger.replay.units.scrapped for serial, _ in devices - confirmed)


def find_pairs(room: Room, model: type[SQLModel], serials: Sequence[str]) -> set[Pair]:
    """Serials and certificates of some serials' rows."""
    found: set[Pair] = set()
    with room.store.read() as connection:
        for start in range(0, len(serials), PAGE):
            rows = select_in(connection, model, "serial", serials[start : start + PAGE])
            found |= {(row["serial"], row["certificate"]) for row in rows}
    return found


def read_unconfirmed(room: Room, order: WorkOrder) -> list[Pair]:
    """As `list_unconfirmed`, beside the writer, which goes on: rows and journal as they are together at one moment."""
    with ExitStack() as reading:

        def begin() -> tuple[Connection, Figures]:
            connection = reading.enter_context(room.store.read())
            connection.execute(select(table_of(HeadRow).c.size)).scalar()
            return connection, copy.deepcopy(room.ledger.replay.units.orders[order.id])

        connection, figures = room.writer.run_now(begin)
        return list_unconfirmed(View(connection), order, figures, room.ledger.replay.units.scrapped)


def list_unconfirmed(source: Source, order: WorkOrder, figures: Figures, scrapped: Set[str]) -> list[Pair]:
    """The units of an order whose certificate was never confirmed and that were not scrapped, by serial.

    Raises JournalForked when the rows of its devices and confirmations are not what the journal says.
    """
    devices = list_pairs(source, order, DeviceRow)
    replaced = list_pairs(source, order, ReplacedDeviceRow)
    certified = [*devices, *replaced]
    own = set(certified)
    confirmed = [pair for pair in list_pairs(source, order, ConfirmationRow) if pair in own]
    read = (tally_rows(certified), tally_rows(replaced), tally_rows(confirmed))
    if read != (figures.certified, figures.replaced, figures.confirmed):
        raise JournalForked(f"units of {order.id}: the rows are not what the journal says", hint=RESTORE)
    done = set(confirmed)
    return [pair for pair in devices if pair not in done and pair[0] not in scrapped]


def list_pairs(source: Source, order: WorkOrder, model: type[SQLModel]) -> list[Pair]:
    """Serials and certificates of an order's rows."""
    return [(row["serial"], row["certificate"]) for row in list_units(source, order, model)]


CLOSE_ACTION = Action(prepare=prepare_close, kinds=("work-order",), close=close_order, guard=guard_close)
