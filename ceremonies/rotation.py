"""Rotation of the trust anchor: the next planned set, and the transition release that carries a fleet there."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from ceremonies.errors import KeyroomError
from ceremonies.keyring import Keyring, check_plan
from ceremonies.plans import PlanMalformed, RotationPlan, TransitionPlan, read_plan, write_plan
from ceremonies.procedures import Action, Item
from ceremonies.quorums import StepOutdated
from ceremonies.rehearsals import read_release, rehearse_bundle, rehearse_set
from ceremonies.releases import TRANSITION
from ceremonies.room import Room
from ceremonies.store import Row
from ceremonies.tables import ReleaseRow
from ceremonies.trustsets import (
    ROLES,
    KeyBook,
    NoTrustSet,
    build_set,
    cose_key,
    load_sets,
    newest_set,
    rehearse_keys,
    set_changes,
    signing_keys,
)
from pki.trust.errors import RoleUndefined
from pki.trust.indexes import ClassRelease, TransitionIndex, draft_index
from pki.trust.links import check_well_formed, draft_trust_set
from pki.trust.rehearsal import Bundle
from pki.trust.sets import RoleId, TrustSet
from pki.trust.targets import Range

KEPT = ("journal", "recovery")


class ReleaseUnknown(KeyroomError):
    """There is no such release, or it was not made for a transition."""

    code = "release-unknown"


def prepare_rotation(room: Room, data: bytes) -> dict[str, Any]:
    """New keys by role and token; enough old roots that sign; a set that can be built (with throw-away keys).

    What is wrong is refused here, before a key is made for it.
    """
    plan: RotationPlan = read_plan(data, RotationPlan)
    check_keys(room, plan)
    rehearsed = rehearse_keys(plan.keys)
    keyring = Keyring([*room.door.keyring, *rehearsed.keyring])
    book = KeyBook(keyring, lambda spki: rehearsed.find(spki) or room.store.blob(spki))
    fleet = room.door.require_governing().policy.fleet
    newest = newest_set(room.store)
    check_set(room, book, newest, build_set(book, fleet, plan.trust_set, newest, 0))
    states = {"active": [key.label for key in plan.keys]}
    return {"content": write_plan(plan), "keys": [key.fields for key in plan.keys], "states": states}


def check_keys(room: Room, plan: RotationPlan) -> None:
    """New keys have labels of their own and live where the settings say; the old threshold signs, with live keys."""
    labels = [key.label for key in plan.keys]
    taken = {key.label for key in room.door.keyring}
    if len(set(labels)) != len(labels) or not taken.isdisjoint(labels):
        raise PlanMalformed("plan: two keys have one label", hint="give each new key a label of its own")
    for key in plan.keys:
        if key.role in KEPT:
            raise PlanMalformed(
                f"plan: key {key.label} is a {key.role} key, which a rotation does not make",
                hint="the keys of genesis stay: trust sets commit to recovery keys, readers pin the journal's key",
            )
        check_plan(key.role, key.algorithm)
        if not room.settings.may_hold(key.token, key.role):
            raise PlanMalformed(
                f"plan: key {key.label} is to live on {key.token}, the settings place {key.role} elsewhere"
            )
    root = newest_set(room.store).root
    members = {kid.hex() for kid in root.members}
    signers = {key.label: key for key in (room.door.keyring.labelled(label) for label in plan.signers)}
    if idle := [key.label for key in signers.values() if key.state != "active" or key.thumbprint not in members]:
        raise PlanMalformed(f"plan: signer {idle[0]} is no active key of the present oem-root")
    if len(signers) < root.threshold:
        raise PlanMalformed(
            f"plan: {root.threshold} keys of the present oem-root must sign", hint="name them in signers"
        )


def check_set(room: Room, book: KeyBook, old: TrustSet, new: TrustSet) -> None:
    """The set does not contradict itself, its keys live, and each class that has releases keeps whoever signs for it.

    Raises SetMalformed, PlanMalformed, RoleUndefined.
    """
    check_well_formed(new)
    for key in book.keyring:
        named = bytes.fromhex(key.thumbprint) in new.key_by_kid
        if named and key.state not in ("pre-activation", "active"):
            raise PlanMalformed(f"trust set: key {key.label} is {key.state}", hint="resume it, or name another")
    policy = room.door.require_governing().policy
    for rule in policy.releases:
        class_id = policy.fleet.class_id(rule.class_name)
        for role in (ROLES[rule.image_role], RoleId.MANIFEST_SIGNER, RoleId.COUNTER, RoleId.DIRECTOR):
            domain = None if role is RoleId.DIRECTOR else rule.component
            with suppress(RoleUndefined):
                old.group(role, class_id=class_id, domain=domain)
                check_kept(new, role, class_id, domain)


def check_kept(new: TrustSet, role: RoleId, class_id: bytes, domain: int | None) -> None:
    """Raises PlanMalformed when nobody signs in this role for a class any more."""
    try:
        new.group(role, class_id=class_id, domain=domain)
    except RoleUndefined as error:
        raise PlanMalformed(f"trust set: {error.message}", hint=error.hint) from error


def draw_rotation(room: Room, shown: Mapping[str, Any]) -> dict[str, Any]:
    """The time, and the set that is followed: another set in between makes the results void."""
    return {"now": room.surroundings.now_us() // 1_000_000, "previous": newest_set(room.store).index}


def draft_rotation(room: Room, shown: Mapping[str, Any], recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The new set, signed by the old threshold and by every new root; S1: one set for each index."""
    plan = msgspec.convert(shown["content"], RotationPlan)
    sets = {item.index: item for item, _ in load_sets(room.store)}
    previous = sets[recipe["previous"]]
    fleet = room.door.require_governing().policy.fleet
    new = build_set(KeyBook(room.door.keyring, room.store.blob), fleet, plan.trust_set, previous, recipe["now"])
    if max(sets) != previous.index and sets.get(new.index) != new:
        raise StepOutdated(f"another set followed index {previous.index} meanwhile", hint="propose a new ceremony")
    signers = [cose_key(room.store, room.door.keyring.labelled(label).spki) for label in plan.signers]
    draft = draft_trust_set(new, previous, signers)
    return [
        Item(
            f"set-{new.generation}-{new.epoch}",
            draft,
            lambda sealed: set_changes(new, sealed),
            inspect=lambda document: _inspect_set(room, previous, document),
        )
    ]


def _inspect_set(room: Room, previous: TrustSet, document: bytes) -> None:
    """On the writer's thread: nothing came in between, and devices that take it still boot (S1, S4)."""
    if newest_set(room.store) != previous:
        raise StepOutdated(f"another set followed index {previous.index} meanwhile", hint="propose a new ceremony")
    rehearse_set(room, document)


def prepare_transition(room: Room, data: bytes) -> dict[str, Any]:
    """A bridging release that exists, rehearsed from the start set to the newest."""
    plan: TransitionPlan = read_plan(data, TransitionPlan)
    rehearse_transition(room, plan)
    return {"content": write_plan(plan)}


def rehearse_transition(room: Room, plan: TransitionPlan) -> int:
    """A device at the start set takes the chain and the release, with power cuts, and ends at the head."""
    row = find_bridge(room, plan)
    sets = tuple(document for _, document in load_sets(room.store, plan.start + 1))
    if not sets:
        raise NoTrustSet(f"no set follows index {plan.start}", hint="publish the next set first")
    policy, release = room.door.require_governing().policy, read_release(room.store, row)
    rule = policy.release_policy(row["class_name"], row["channel"])
    return rehearse_bundle(room, rule, plan.start, Bundle(sets, release, release))


def find_bridge(room: Room, plan: TransitionPlan) -> Row:
    """The row of a release that was made for the transition to the newest set. Raises ReleaseUnknown."""
    row = room.store.find(ReleaseRow, id=plan.release, channel=TRANSITION)
    if row is None or row["set_index"] != newest_set(room.store).index:
        raise ReleaseUnknown(
            f"no release {plan.release} in the channel {TRANSITION} under the newest set",
            hint=f"have CI sign it in the channel `{TRANSITION}`",
        )
    return row


def draw_transition(room: Room, shown: Mapping[str, Any]) -> dict[str, Any]:
    """A campaign id."""
    return {"campaign": room.surroundings.entropy(16).hex(), "now": room.surroundings.now_us() // 1_000_000}


def draft_transition(room: Room, shown: Mapping[str, Any], recipe: Mapping[str, Any]) -> Sequence[Item]:
    """The transition index; active and fallback slot take the same dual-signed release."""
    plan = msgspec.convert(shown["content"], TransitionPlan)
    row = find_bridge(room, plan)
    sets = {item.index: item for item, _ in load_sets(room.store)}
    if plan.start not in sets:
        raise NoTrustSet(f"no set with index {plan.start}", hint="start at a set that was published")
    start, newest = sets[plan.start], sets[max(sets)]
    class_id = room.door.require_governing().policy.fleet.class_id(row["class_name"])
    manifest = bytes.fromhex(row["manifest_payload"])
    index = TransitionIndex(
        fleet=newest.fleet,
        campaign=bytes.fromhex(recipe["campaign"]),
        from_set=start.ref,
        to_set=newest.ref,
        sequence=newest.index,
        classes={class_id: ClassRelease(active=manifest, fallback=manifest, golden=None, bootloader=Range((0,)))},
    )
    signers = signing_keys(room.store, room.door.keyring, newest.group(RoleId.MANIFEST_SIGNER, class_id=class_id))
    return [Item("transition-index", draft_index(newest, index, signers))]


def guard_transition(room: Room, shown: Mapping[str, Any]) -> None:
    """The rehearsal once more: sets and releases may have come since the plan was opened."""
    rehearse_transition(room, msgspec.convert(shown["content"], TransitionPlan))


ROTATION_ACTION = Action(prepare=prepare_rotation, kinds=("key.generate",), draw=draw_rotation, draft=draft_rotation)
TRANSITION_ACTION = Action(
    prepare=prepare_transition,
    kinds=("transition-index",),
    draw=draw_transition,
    draft=draft_transition,
    guard=guard_transition,
)
