"""The opening of a work order: a ceremony, after which stations may use it up."""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

from ceremonies import entries
from ceremonies.plans import PlanMalformed, WorkOrder, read_plan, write_plan
from ceremonies.procedures import Action, Closing, LastWords
from ceremonies.room import Room
from ceremonies.store import Insert
from ceremonies.tables import WorkOrderRow
from ceremonies.unit_tables import ReworkQuotaRow
from pki.jcs import jcs
from pki.x509.profiles import IDEVID, IEEE2030_5_DEVICE, find_profile

QUOTA_OPEN: Final = "quota.open"


def prepare_order(room: Room, data: bytes) -> dict[str, Any]:
    """A work order for a class and profile that exist."""
    order: WorkOrder = read_plan(data, WorkOrder)
    device_class = room.door.require_governing().policy.fleet.device_class(order.class_name)
    profile = find_profile(order.profile)
    if profile not in (IDEVID, IEEE2030_5_DEVICE):
        raise PlanMalformed(f"work order: profile {order.profile} is not for work orders")
    if profile is IEEE2030_5_DEVICE and not device_class.hw_type:
        hint = "the policy gives the class an OID under the fleet's arc (`hw_type`)"
        raise PlanMalformed(f"work order: class {order.class_name} has no hardware type", hint=hint)
    shown = {"content": write_plan(order)}
    guard_order(room, shown)
    return shown


def guard_order(room: Room, shown: Mapping[str, Any]) -> None:
    """No order of this id, at the opening and at the execution. Raises PlanMalformed."""
    if room.store.find(WorkOrderRow, id=shown["content"]["id"]) is not None:
        raise PlanMalformed(f"work order {shown['content']['id']} exists", hint="choose another id")


def open_order(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """Open the order: from now on stations may use it up."""
    document = jcs(shown["content"])
    order: WorkOrder = read_plan(document, WorkOrder)
    digest = hashlib.sha256(document).hexdigest()
    what = {"document": digest, "quantity": order.quantity, "work_order": order.id}
    row = {"id": order.id, "document": digest, "quantity": order.quantity, "issued": 0}
    rework = []
    if order.rework_quantity:
        what["rework_quantity"] = order.rework_quantity
        rework.append(Insert(ReworkQuotaRow, {"work_order": order.id, "quantity": order.rework_quantity, "opened": 0}))
    opened = entries.event(QUOTA_OPEN, closing.by, what, **closing.context)
    rows = [Insert(WorkOrderRow, row), *rework]
    return LastWords([opened], lambda _: rows, [document])


WORK_ORDER_ACTION = Action(prepare=prepare_order, kinds=("work-order",), close=open_order, guard=guard_order)
