"""The service runs its own output on the device model before anything is published (invariant S4)."""

from contextlib import suppress

import msgspec

from ceremonies.errors import KeyroomError
from ceremonies.hardware import class_profile
from ceremonies.policy import ReleasePolicy
from ceremonies.room import Room
from ceremonies.store import Row, Store
from ceremonies.tables import ReleaseRow
from ceremonies.trustsets import load_sets, newest_set
from pki.errors import PkiError
from pki.trust.device import Device
from pki.trust.device_memory import GOLDEN
from pki.trust.device_profile import ClassProfile, Identity
from pki.trust.rehearsal import Bundle, Release, Start, follow, rehearse

_UEID = b"\x01" + bytes(32)


class RehearsalFailed(KeyroomError):
    """A device would refuse this, or would no longer start. Nothing of it is published."""

    code = "rehearsal-failed"


def read_release(store: Store, row: Row) -> Release:
    """A published release."""
    return Release(store.blob(row["manifest"]) or b"", store.blob(row["image"]) or b"")


def replay_device(room: Room, rule: ReleasePolicy, until: int) -> tuple[ClassProfile, Device]:
    """A device that took every set up to index `until`, and under each the last release for the rule's slots.

    What it refuses on the way leaves it where it was, as in the field: a bundle is judged from there.
    """
    profile = class_profile(room.door.require_governing().policy, rule.class_name, rule)
    (genesis, message), *later = [item for item in load_sets(room.store) if item[0].index <= until]
    rows = room.store.list(ReleaseRow, "sequence", class_name=rule.class_name, component=rule.component)
    last = {row["set_index"]: row for row in rows}
    first = read_release(room.store, last[genesis.index]) if genesis.index in last else Release(b"", b"")
    identity = Identity(_UEID, genesis.payload_sha256)
    device = Device.birth(profile, identity, message, image=first.image, manifest=first.manifest)
    for item, _ in later:
        release = read_release(room.store, last[item.index]) if item.index in last else None
        with suppress(PkiError):
            follow(device, Bundle(_missing_sets(room, device, item.index), release, release))
    return profile, device


def _missing_sets(room: Room, device: Device, until: int) -> tuple[bytes, ...]:
    """The sets up to index `until` that the device does not hold."""
    held = device.view.newest.index
    return tuple(document for item, document in load_sets(room.store, held + 1) if item.index <= until)


def rehearse_bundle(room: Room, rule: ReleasePolicy, until: int, bundle: Bundle) -> int:
    """Send a bundle to a device at set `until` with the power cut after each write; how many cuts were tried.

    Sets up to `until` that the device does not hold yet go before those of the bundle. Raises RehearsalFailed with the
    first finding.
    """
    profile, device = replay_device(room, rule, until)
    bundle = msgspec.structs.replace(bundle, sets=_missing_sets(room, device, until) + bundle.sets)
    verdict = rehearse(profile, [Start(device.hardware.identity, device.memory)], bundle)
    if not verdict.sound:
        finding = verdict.findings[0].reason if verdict.findings else "nothing was tried"
        raise _failed(rule.class_name, finding)
    return verdict.tried


def rehearse_release(room: Room, rule: ReleasePolicy, release: Release) -> int:
    """A device at the newest set takes a release into both slots. Raises RehearsalFailed."""
    newest = newest_set(room.store)
    return rehearse_bundle(room, rule, newest.index, Bundle(active=release, fallback=release))


def rehearse_set(room: Room, message: bytes) -> int:
    """A device of each class takes a new set and still boots; how many did.

    Whether it can leave the old set behind is for the transition release to show. Raises RehearsalFailed.
    """
    newest, tried = newest_set(room.store), 0
    rules = {(rule.class_name, rule.component): rule for rule in room.door.require_governing().policy.releases}
    for rule in rules.values():
        _, device = replay_device(room, rule, newest.index)
        before = device.boot()
        try:
            taken = device.receive_sets((*_missing_sets(room, device, newest.index), message))
        except PkiError as refusal:
            raise _failed(rule.class_name, f"{refusal.code}: {refusal.message}") from refusal
        if taken.index <= newest.index:
            raise _failed(rule.class_name, f"stays at set index {taken.index}")
        if device.boot() == GOLDEN and before != GOLDEN:
            raise _failed(rule.class_name, "boots the golden image only")
        tried += 1
    return tried


def _failed(class_name: str, finding: str) -> RehearsalFailed:
    return RehearsalFailed(f"class {class_name}: {finding}", hint="do not publish it; correct the plan and start anew")
