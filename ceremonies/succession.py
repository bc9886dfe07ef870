"""The journal gets a new key. For an overlap the old and the new one sign every checkpoint; then the old one retires.

Two ceremonies. `log-key-rotate`: the plan makes the key; the results show it to the officers, whose approval lets it
sign. `log-key-retire` ends the overlap. Each writes `log.key.rotate` and the key's new state in one transaction: which
keys sign a checkpoint, the entries before it say.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from ceremonies import entries
from ceremonies.errors import KeyroomError
from ceremonies.keyring import KeyEntry, check_transition
from ceremonies.keysteps import is_made
from ceremonies.keywork import adopt_log_key, check_change, log_vkey
from ceremonies.orders import KeyPlan
from ceremonies.plans import LogKeyEndPlan, LogKeyPlan, PlanMalformed, read_plan, write_plan
from ceremonies.procedures import Action, Closing, LastWords
from ceremonies.quorums import StepOutdated
from ceremonies.room import Room
from ceremonies.store import Update
from ceremonies.tables import KeyRow

ROTATE = "log.key.rotate"
JOURNAL = "journal"


class OverlapRefused(KeyroomError):
    """Two keys sign the journal already, or one alone: an overlap cannot begin, or has nothing to end."""

    code = "overlap-refused"


def prepare_rotate(room: Room, data: bytes) -> dict[str, Any]:
    """What officers see: the present key, and the new one's label and token. Raises PlanMalformed, OverlapRefused."""
    plan: LogKeyPlan = read_plan(data, LogKeyPlan)
    if any(key.label == plan.label for key in room.door.keyring):
        raise PlanMalformed(f"plan: a key {plan.label} exists already", hint="give the new key a label of its own")
    if not room.settings.may_hold(plan.token, JOURNAL):
        raise PlanMalformed(f"plan: the settings place no {JOURNAL} key on {plan.token}")
    present = find_single(room)
    return {
        "acts": ["key.active", ROTATE],
        "content": write_plan(plan),
        "keys": [key_plan(plan).fields],
        "present": {"label": present.label, "spki": present.spki, "vkey": vkey_of(room, present)},
    }


def guard_rotate(room: Room, shown: Mapping[str, Any]) -> None:
    """Raises OverlapRefused when another overlap has begun since."""
    find_single(room)


def close_rotate(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """Both keys sign from here on. Raises OverlapRefused, StepOutdated, KeyTransitionRefused."""
    plan = msgspec.convert(shown["content"], LogKeyPlan)
    old, new = find_single(room), room.door.keyring.labelled(plan.label)
    if not is_made(room, new, key_plan(plan), closing.ceremony):
        raise StepOutdated(f"key {plan.label} was not made by {closing.ceremony}", hint="propose a new ceremony")
    if old.spki != shown["present"]["spki"]:
        raise StepOutdated("the journal's key is another than the officers saw", hint="propose a new ceremony")
    check_transition(new, "active")
    if new.state != "pre-activation":
        raise OverlapRefused(f"key {plan.label} is {new.state}, not new", hint="hold a resume ceremony")
    return change_signers(room, ("begin", old, new), (new, "active"), plan.reason, closing)


def prepare_retire(room: Room, data: bytes) -> dict[str, Any]:
    """What officers see: the key that signs no more, and the one that stays. Raises OverlapRefused, KeyUnknown."""
    plan: LogKeyEndPlan = read_plan(data, LogKeyEndPlan)
    leaving, staying = find_pair(room, plan.label)
    told = {name: {"label": key.label, "spki": key.spki} for name, key in (("leaves", leaving), ("stays", staying))}
    return {"content": write_plan(plan), **told}


def close_retire(room: Room, shown: Mapping[str, Any], closing: Closing) -> LastWords:
    """Only the other key signs from here on. Raises OverlapRefused, StepOutdated, JournalKeyNeeded."""
    plan = msgspec.convert(shown["content"], LogKeyEndPlan)
    leaving, staying = find_pair(room, plan.label)
    if (leaving.spki, staying.spki) != (shown["leaves"]["spki"], shown["stays"]["spki"]):
        raise StepOutdated("the journal's keys are others than the officers saw", hint="propose a new ceremony")
    check_change(room.door, [leaving], "deactivated")
    return change_signers(room, ("end", leaving, staying), (leaving, "deactivated"), plan.reason, closing)


def change_signers(
    room: Room,
    pair: tuple[str, KeyEntry, KeyEntry],
    change: tuple[KeyEntry, str],
    reason: str,
    closing: Closing,
) -> LastWords:
    """The entries: pair = (begin or end, old key, new key) with the approvals, and the changed key's state.

    One transaction with the ceremony's close. A crash before it changes nothing; after it the start reads from the
    entries who signs, and the anchor by the keys of before counts all the same.
    """
    (act, old, new), (key, state) = pair, change
    what = {"act": act, "new": vkey_of(room, new), "old": vkey_of(room, old), "reason": reason}
    # The last checkpoint of both keys: who reads the journal only later follows from one to the other by it.
    kept = [room.ledger.sign_checkpoint()] if act == "end" else []
    if kept:
        what["checkpoint"] = hashlib.sha256(kept[0]).hexdigest()
    rotate = {**entries.event(ROTATE, closing.by, what, **closing.approved), "keys": [old.fields, new.fields]}
    moved = entries.key_state(key, state, closing.by, reason, closing.approved)
    row = Update(KeyRow, {"spki": key.spki}, {"state": state})
    return LastWords([rotate, moved], lambda _: [row], kept)


def follow(room: Room, shown: Mapping[str, Any]) -> None:
    """The keyring and the signer of checkpoints follow what was committed, then the anchor. Writer's thread."""
    key = room.door.keyring.labelled(shown["content"]["label"])
    room.door.keyring.put(room.ledger.replay.keys[key.spki])
    adopt_log_key(room.door)
    room.ledger.anchor()


def find_single(room: Room) -> KeyEntry:
    """The one key that signs the journal. Raises OverlapRefused."""
    active = room.door.keyring.active(JOURNAL)
    if len(active) != 1:
        raise OverlapRefused(f"{len(active)} keys sign the journal", hint="end the present overlap: log-key-retire")
    return active[0]


def find_pair(room: Room, label: str) -> tuple[KeyEntry, KeyEntry]:
    """The key of this label, which signs the journal, and the other one. Raises OverlapRefused, KeyUnknown."""
    key = room.door.keyring.labelled(label)
    others = [item for item in room.door.keyring.active(JOURNAL) if item != key]
    if key.role != JOURNAL or key.state != "active" or len(others) != 1:
        raise OverlapRefused(
            f"key {label} is not one of two that sign the journal",
            hint="only an overlap can be ended; see `kedge key list`",
        )
    return key, others[0]


def key_plan(plan: LogKeyPlan) -> KeyPlan:
    """The new key, as every plan lists keys."""
    return KeyPlan(plan.label, JOURNAL, "ed25519", plan.token, "")


def vkey_of(room: Room, key: KeyEntry) -> str:
    """A journal key as auditors and witnesses write it."""
    return log_vkey(room.ledger, key).encode()


LOG_KEY_ROTATE_ACTION = Action(
    prepare=prepare_rotate,
    kinds=("key.generate", ROTATE),
    draft=lambda *_: (),
    guard=guard_rotate,
    close=close_rotate,
    after=follow,
)
LOG_KEY_RETIRE_ACTION = Action(prepare=prepare_retire, kinds=(ROTATE,), close=close_retire, after=follow)
