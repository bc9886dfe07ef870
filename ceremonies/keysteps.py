"""What a ceremony's step does to keys: destroy, make, change states. Resumable: what is done is not done again."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ceremonies import keywork
from ceremonies.keyring import KeyEntry, KeyTransitionRefused
from ceremonies.orders import Actor, KeyPlan, StepRef
from ceremonies.quorums import StepOutdated
from ceremonies.room import Room


async def work_listed_keys(room: Room, shown: Mapping[str, Any], by: Actor, step: StepRef) -> None:
    """Destroy and make the keys that a plan lists, as far as that is not done.

    Raises LabelTaken for a label whose key this ceremony did not make, and what `ceremonies.keywork` raises.
    """
    for item in shown.get("destroy", []):
        if room.door.keyring.labelled(item["label"]).state != "destroyed":
            await room.act(partial(keywork.destroy_key, room.door, item["label"], by, step))
    for fields in shown.get("keys", []):
        plan = KeyPlan(**fields)
        if not any(is_made(room, key, plan, step.ceremony) for key in room.door.keyring):
            await room.act(partial(keywork.create_key, room.door, plan, by, step))


def is_made(room: Room, key: KeyEntry, plan: KeyPlan, ceremony: str) -> bool:
    """Whether a key is the one that this plan asks for, made by this ceremony, as the journal has it."""
    return key_plan(key) == plan and room.ledger.replay.makers.get(key.spki) == ceremony


def key_plan(key: KeyEntry) -> KeyPlan:
    """The plan that a key fulfils."""
    return KeyPlan(key.label, key.role, key.algorithm, key.token, key.scope)


async def change_listed_states(room: Room, shown: Mapping[str, Any], by: Actor, step: StepRef) -> None:
    """Bring keys to the states that the step lists, as far as they are not there.

    Raises StepOutdated, KeyTransitionRefused, and what `keywork.change_states` raises.
    """
    for state, labels in shown.get("states", {}).items():
        await room.act(partial(_change_listed, room, (state, labels), by, step))


def _change_listed(room: Room, listed: tuple[str, Sequence[str]], by: Actor, step: StepRef) -> None:
    """On the writer's thread: no suspension comes between the comparison and the change."""
    state, labels = listed
    waiting = [key for key in map(room.door.keyring.labelled, labels) if key.state != state]
    if not waiting:
        return
    mandate = room.door.mandate(step, f"key.{state}")
    for key in waiting:
        if state == "active":
            check_start(room, key, mandate.shown.get("suspended", {}))
    keywork.change_states(room.door, [key.label for key in waiting], state, by, step=step)


def check_start(room: Room, key: KeyEntry, suspended: Mapping[str, int]) -> None:
    """A new key starts; a suspended one only when the officers saw that very suspension, which only `resume` shows.

    suspended: by label, the entry that suspended the key. Raises StepOutdated, KeyTransitionRefused.
    """
    if key.state == "pre-activation":
        return
    if key.state != "suspended" or key.label not in suspended:
        raise KeyTransitionRefused(
            f"key {key.label} is {key.state}; this step starts new keys only", hint="hold a resume ceremony"
        )
    if room.ledger.replay.suspended.get(key.spki) != suspended[key.label]:
        raise StepOutdated(
            f"key {key.label} was suspended again after this step was opened", hint="propose a new ceremony"
        )
