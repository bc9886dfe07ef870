"""Anti-rollback counter updates: raising a floor, which nothing takes back. Its own ceremony, its own two keys."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from ceremonies.errors import KeyroomError
from ceremonies.hardware import class_profile, release_rule
from ceremonies.orders import Sealed
from ceremonies.plans import CounterPlan, read_plan, write_plan
from ceremonies.policy import ReleasePolicy
from ceremonies.procedures import Action, Item
from ceremonies.quorums import StepOutdated
from ceremonies.receipts import Facts, newest_receipts
from ceremonies.registered import find_gone
from ceremonies.rehearsals import rehearse_bundle
from ceremonies.room import Room
from ceremonies.store import Insert
from ceremonies.tables import CounterUpdateRow, DeviceRow
from ceremonies.trustsets import newest_set, signing_keys
from pki.drafts import Draft
from pki.trust.cose import parse_sign
from pki.trust.counters import CounterUpdate, FloorRaise, check_limits, draft_counter_update
from pki.trust.errors import LimitExceeded
from pki.trust.rehearsal import Bundle
from pki.trust.sets import Domain, RoleId, TrustSet
from pki.trust.targets import Target


class FloorRefused(KeyroomError):
    """The floor cannot be raised to this value now. `details["rule"]` names why."""

    code = "floor-refused"


def prepare_counter(room: Room, data: bytes) -> dict[str, Any]:
    """A floor that every device already satisfies and that the hardware can count to."""
    plan: CounterPlan = read_plan(data, CounterPlan)
    check_floor(room, plan)
    return {"content": write_plan(plan)}


def check_floor(room: Room, plan: CounterPlan) -> None:
    """Whether a floor may be raised now. Raises FloorRefused.

    1. The class keeps a floor for the domain. 2. Inside the step and the maximum of the newest set. 3. Not into the
    reserve of the hardware. 4. Above every floor published before. 5. S6 and D11: every device of the class, the silent
    ones included, has confirmed slots at or above it, as many as the plan demands.
    """
    rule = release_rule(room.door.require_governing().policy, plan.class_name)
    if plan.domain != rule.component:  # 1
        raise _refuse("domain", plan.domain, f"{rule.component}, the one that the class keeps")
    try:
        check_limits(newest_set(room.store), build_update(room, rule, plan, newest_set(room.store), 0))  # 2
    except LimitExceeded as error:
        raise _refuse("limits", f"{plan.floor_from} to {plan.floor_to}", error.message) from error
    most = class_profile(room.door.require_governing().policy, plan.class_name).counters[Domain(plan.domain)].highest
    if plan.floor_to > most:  # 3
        raise _refuse("capacity-reserve", plan.floor_to, f"at most {most}")
    rows = room.store.list(CounterUpdateRow, "sequence", class_name=plan.class_name, domain=plan.domain)
    published = max((row["floor"] for row in rows), default=0)
    if plan.floor_to <= published:  # 4
        raise _refuse("floor-increases", plan.floor_to, f"above {published}")
    latest, now_us = newest_receipts(room.store), room.surroundings.now_us()
    gone = find_gone(room.store, room.ledger.replay.register, now_us)
    for device in room.store.list(DeviceRow, "serial", class_name=plan.class_name):
        if device["serial"] in gone:
            continue
        check_device(plan, device["serial"], latest.get(device["ueid"]))  # 5


def check_device(plan: CounterPlan, serial: str, facts: Facts | None) -> None:
    """A device of the class can take the raise and boots after it. A device that was never heard can not."""
    if facts is None:
        raise _refuse("device-silent", serial, "a receipt of every device of the class")
    if facts.alarm:
        raise _refuse("device-alarm", f"{serial}: {facts.alarm}", "a device whose receipts follow one another")
    floor = facts.floors.get(str(plan.domain), 0)
    if floor > plan.floor_from:
        raise _refuse("floor-from", f"{serial} at floor {floor}", f"at most {plan.floor_from}, where the raise starts")
    versions = [slot.security_version for slot in facts.slots if slot.confirmed]
    lowest = min(versions, default=-1)
    if lowest < plan.floor_to:
        raise _refuse("lowest-confirmed", f"{serial} at {lowest}", f"at least {plan.floor_to} in every confirmed slot")
    if len(versions) < plan.confirmed:
        raise _refuse("confirmed-slots", f"{serial} with {len(versions)}", f"at least {plan.confirmed}")


def _refuse(rule: str, found: object, expected: object) -> FloorRefused:
    details = {"rule": rule, "found": str(found), "expected": str(expected)}
    hint = "a floor above what devices can boot bricks them; move them first"
    return FloorRefused(f"{rule}: found {found}, expected {expected}", hint=hint, details=details)


def draw_counter(room: Room, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The next sequence number."""
    rows = room.store.list(CounterUpdateRow, "sequence")
    return {"sequence": max((row["sequence"] for row in rows), default=0) + 1}


def build_update(room: Room, rule: ReleasePolicy, plan: CounterPlan, newest: TrustSet, sequence: int) -> CounterUpdate:
    """The update that a plan describes."""
    fleet = room.door.require_governing().policy.fleet
    return CounterUpdate(
        fleet=newest.fleet,
        sequence=sequence,
        set_ref=newest.ref,
        target=Target(fleet.vendor_id, fleet.class_id(plan.class_name), rule.hardware),
        raises=(FloorRaise(Domain(plan.domain), plan.floor_from, plan.floor_to, plan.confirmed),),
        soak=plan.soak,
    )


def draft_counter(room: Room, shown: Mapping[str, Any], recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The counter update, signed by the class's counter keys under the newest set.

    It is made when the results are opened and again when they are executed; each time the floor is checked anew.
    """
    plan, newest = msgspec.convert(shown["content"], CounterPlan), newest_set(room.store)
    rule = release_rule(room.door.require_governing().policy, plan.class_name)
    update = build_update(room, rule, plan, newest, recipe["sequence"])
    group = newest.group(RoleId.COUNTER, class_id=update.target.class_id, domain=Domain(plan.domain))
    draft: Draft = draft_counter_update(newest, update, signing_keys(room.store, room.door.keyring, group))
    published = find_payload(room, update.sequence)
    if published is None:
        check_floor(room, plan)
    elif published != draft.payload:
        raise StepOutdated(f"counter update {update.sequence} was published meanwhile", hint="propose a new ceremony")

    def changes(sealed: Sealed) -> list[Insert]:
        row = {"class_name": plan.class_name, "domain": plan.domain, "floor": plan.floor_to}
        return [Insert(CounterUpdateRow, {**row, "sequence": update.sequence, "document": sealed.sha256})]

    def inspect(document: bytes) -> int:
        bundle = Bundle(counter_updates=(document,), soak=plan.soak)
        return rehearse_bundle(room, rule, newest.index, bundle)

    return [Item(f"counter-update-{update.sequence}", draft, changes, inspect=inspect)]


def find_payload(room: Room, sequence: int) -> bytes | None:
    """The payload of the counter update with this number, if it was published."""
    row = room.store.find(CounterUpdateRow, sequence=sequence)
    return parse_sign(room.store.blob(row["document"]) or b"").payload if row is not None else None


COUNTER_ACTION = Action(prepare=prepare_counter, kinds=("counter-update",), draw=draw_counter, draft=draft_counter)
