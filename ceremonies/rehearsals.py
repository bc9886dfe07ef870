"""The service runs its own output on the device model before anything is published (invariant S4)."""

from contextlib import suppress

import msgspec

from ceremonies.errors import KeyroomError
from ceremonies.fleet import ClassUnknown
from ceremonies.policy import Policy, ReleasePolicy
from ceremonies.room import Room
from ceremonies.store import Row, Store
from ceremonies.tables import ReleaseRow
from ceremonies.trustsets import load_sets, newest_set
from pki.errors import PkiError
from pki.formats.mcuboot_verify import verify_image
from pki.trust.device import Device
from pki.trust.device_memory import GOLDEN
from pki.trust.device_profile import ATECC608B, LPC55_CFPA, SOFT, TPM_NV, ClassProfile, CounterModel, Identity
from pki.trust.rehearsal import Bundle, Release, Start, follow, rehearse
from pki.trust.sets import Domain

HARDWARE: dict[str, CounterModel] = {
    "stm32h7-atecc608b": ATECC608B,
    "lpc55s69": LPC55_CFPA,
    "imx8m-tpm": TPM_NV,
    "tms570": SOFT,
}
"""Counter hardware by the name that the policy gives a class (device rules, counters by class)."""

_UEID = b"\x01" + bytes(32)


class RehearsalFailed(KeyroomError):
    """A device would refuse this, or would no longer start. Nothing of it is published."""

    code = "rehearsal-failed"


def class_profile(policy: Policy, class_name: str, rule: ReleasePolicy | None = None) -> ClassProfile:
    """How a class of devices behaves: from the policy's hardware name and a release rule, by default the class's first.

    Raises ClassUnknown.
    """
    fleet, rule = policy.fleet, rule or release_rule(policy, class_name)
    model = HARDWARE.get(fleet.device_class(class_name).hardware)
    if model is None:
        known = ", ".join(sorted(HARDWARE))
        raise ClassUnknown(f"class {class_name} has hardware that no model knows", hint=f"known: {known}")
    return ClassProfile(
        fleet=fleet.fleet_id,
        vendor_id=fleet.vendor_id,
        class_id=fleet.class_id(class_name),
        hardware_revision=rule.hardware[0][0],
        bootloader=(1, 0, 0),
        counters={Domain.TRUST: model, Domain(rule.component): model},
        verify_image=verify_image,
        domain=Domain(rule.component),
        slot_size=rule.slot_bytes,
    )


def release_rule(policy: Policy, class_name: str) -> ReleasePolicy:
    """The first release rule of a class. Raises ClassUnknown."""
    for rule in policy.releases:
        if rule.class_name == class_name:
            return rule
    raise ClassUnknown(f"the policy allows no release for class {class_name}")


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
