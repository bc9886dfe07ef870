"""Keys leave, or come back from suspension. A leaving key is destroyed only when the gate of its rotation holds, a CA's
only when no living certificate needs its lists.

The denominator is the register of issued devices; a device that was never heard has not moved. Those that were
decommissioned before the ceremony was opened are left out, unless they were heard since; returned ones are not. So are
those that the plan waives, which a quorum approved with a reason and an expiry.
"""

import datetime
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from itertools import islice
from typing import Any, Final

import msgspec

from ceremonies.certified import Issued, walk_authority
from ceremonies.errors import KeyroomError
from ceremonies.keyring import KeyEntry
from ceremonies.plans import DestroyPlan, PlanMalformed, ResumePlan, Waiver, read_plan, write_plan
from ceremonies.procedures import Action
from ceremonies.receipts import Facts, find_canary, newest_receipts
from ceremonies.registered import find_gone
from ceremonies.revocations import find_revoked, list_pending
from ceremonies.room import Room
from ceremonies.tables import DeviceRow
from ceremonies.trustsets import load_sets
from pki.trust.receipts import State
from pki.trust.sets import TrustSet

SHOWN_BLOCKERS = 20
AT_ONCE = 50_000
"""Certificates of a CA that are compared with its revocations in one task of the writer."""
RESPONDER: Final = "certificate.ocsp-responder"
"""Nobody asks whether it is revoked (id-pkix-ocsp-nocheck)."""


class GateClosed(KeyroomError):
    """Something may still depend on the key. `details["devices"]` lists the first such devices with their reasons."""

    code = "gate-closed"


def prepare_destroy(room: Room, data: bytes) -> dict[str, Any]:
    """The keys to destroy, named by label and SPKI. Raises GateClosed while a device may still depend on one."""
    plan: DestroyPlan = read_plan(data, DestroyPlan)
    keys, now_us = [room.door.keyring.labelled(label) for label in plan.labels], room.surroundings.now_us()
    gone = check_gate(room, keys, now_us, plan.waived)
    shown = {"content": write_plan(plan), "destroy": [{"label": key.label, "spki": key.spki} for key in keys]}
    return shown | {"decommissioned": {"before_us": now_us, "count": len(gone), "first": gone[:SHOWN_BLOCKERS]}}


def guard_destroy(room: Room, shown: Mapping[str, Any]) -> None:
    """The gate, asked when the ceremony is opened and again when it is executed. Raises GateClosed."""
    plan = msgspec.convert(shown["content"], DestroyPlan)
    keys = [room.door.keyring.labelled(label) for label in plan.labels]
    check_gate(room, keys, shown.get("decommissioned", {}).get("before_us", 0), plan.waived)


def check_gate(room: Room, keys: list[KeyEntry], before_us: int, waived: Sequence[Waiver] = ()) -> list[str]:
    """S2: keys that trust sets name are destroyed only when no device of the register can depend on them.

    1. The newest set names none of them, and the journal needs none. 2. No living certificate needs the lists of one
    that is a CA's (`check_dependants`). 3. Every device has moved (see `find_blocker`), or was decommissioned before
    `before_us`, where officers see it, and was not heard since, or is waived at this time. The serials of those
    decommissioned that did not move and are left out. Raises GateClosed.
    """
    sets = [item for item, _ in load_sets(room.store)]
    for key in keys:
        if key.role == "journal" and key.state == "active":
            raise GateClosed(f"key {key.label} signs the journal's checkpoints", hint="nothing works without it")
        if sets and _names(sets[-1], key):
            raise GateClosed(f"key {key.label} is named by the newest trust set", hint="publish a set without it first")
    leaving = [key.label for key in keys if any(_names(item, key) for item in sets)]
    authorities = [key for key in keys if key.spki in room.ledger.replay.generations.known]
    if not leaving and not authorities:
        return []
    gone = find_gone(room.store, room.ledger.replay.register, before_us)
    now_us = room.surroundings.now_us()
    excused = {item.serial for item in waived if item.until * 1_000_000 > now_us}
    for key in authorities:
        check_dependants(room, key, gone | excused)
    if not leaving:
        return []
    latest, newest, canary = newest_receipts(room.store), sets[-1], find_canary(room.store, sets[-1].index)
    left_out: list[str] = []
    blockers: dict[str, str] = {}
    for device in room.store.list(DeviceRow, "serial"):
        why = find_blocker(latest.get(device["ueid"]), newest, canary["manifest_payload"] if canary else "")
        if why and device["serial"] in gone:
            left_out.append(str(device["serial"]))
        elif why and device["serial"] not in excused:
            blockers[device["serial"]] = why
    if blockers:
        first = dict(list(blockers.items())[:SHOWN_BLOCKERS])
        serial, why = next(iter(first.items()))
        raise GateClosed(
            f"{len(blockers)} devices may still depend on key {leaving[0]}, {serial}: {why}",
            hint="move them, and take their receipts",
            details={"blockers": len(blockers), "devices": first},
        )
    return left_out


def check_dependants(room: Room, key: KeyEntry, excused: Collection[str]) -> None:
    """Verifiers ask for a fresh list, or an answer, for each certificate of a CA until it ends: those that have not
    ended, are not revoked, and are of no excused serial keep the CA's key. A CA whose own certificate was revoked by
    the one above it has none: all below it is refused. Raises GateClosed.
    """
    now, own = room.door.now(), room.ledger.replay.generations.known[key.spki]
    if own.ca != key.spki and room.writer.run_now(lambda: find_revoked(room, own)) is not None:
        return
    issued = walk_authority(room.store, key.spki, room.ledger.journal.size)
    living = (item for item in issued if item.serial not in excused and item.kind != RESPONDER)
    lasting = (item for item in living if datetime.datetime.fromisoformat(item.not_after) > now)
    while part := list(islice(lasting, AT_ONCE)):
        needing: list[Issued] = room.writer.run_now(partial(_list_pending, room, part))
        if needing:
            first = [f"{item.number} {item.serial or item.subject}" for item in needing[:SHOWN_BLOCKERS]]
            raise GateClosed(
                f"{len(needing)} certificates or more need the lists of {key.label}: {first[0]}",
                hint="they end, or are revoked, before the CA's key is destroyed",
                details={"certificates": first, "needing": len(needing)},
            )


def _list_pending(room: Room, certificates: Sequence[Issued]) -> list[Issued]:
    return list(list_pending(room, certificates))


def _names(trust_set: TrustSet, key: KeyEntry) -> bool:
    kid = bytes.fromhex(key.thumbprint)
    return kid in trust_set.key_by_kid or kid in trust_set.recovery.thumbprints


def find_blocker(facts: Facts | None, newest: TrustSet, canary: str) -> str:
    """Why a device has not moved; empty when it has.

    It has when its last receipt, with nothing wrong after it, names exactly the newest set, is stable, has no slot that
    boots by leaving keys alone, and rejected the canary: the last manifest under an older set.
    """
    if facts is None:
        return "never heard"
    if facts.alarm:
        return f"alarm: {facts.alarm}"
    if (facts.set_index, facts.set_hash) != (newest.index, newest.payload_sha256.hex()):
        return f"at set index {facts.set_index}"
    if facts.state != State.STABLE:
        return f"in state {State(facts.state).name.lower()}"
    kept = {key.thumbprint.hex() for key in newest.keys}
    if any(slot.keys and not kept & set(slot.keys) for slot in facts.slots):
        return "a slot depends on leaving keys"
    return "" if canary and facts.canary == canary else "no canary was rejected"


def prepare_resume(room: Room, data: bytes) -> dict[str, Any]:
    """Suspended keys that shall be active again, each with the entry that suspended it: a later suspension stands."""
    plan: ResumePlan = read_plan(data, ResumePlan)
    suspended = {}
    for label in plan.labels:
        key = room.door.keyring.labelled(label)
        seq = room.ledger.replay.suspended.get(key.spki)
        if key.state != "suspended" or seq is None:
            raise PlanMalformed(f"key {label} is not suspended")
        suspended[label] = seq
    return {"content": write_plan(plan), "states": {"active": list(plan.labels)}, "suspended": suspended}


DESTROY_ACTION = Action(prepare=prepare_destroy, kinds=("key.destroy",), guard=guard_destroy)
RESUME_ACTION = Action(prepare=prepare_resume, kinds=("key.active",))
