"""Installing an image: device rules, part C."""

import hashlib

import msgspec

from pki.trust.device_boot import Bootable, boots, check_hardware, check_image, check_slot
from pki.trust.device_conditions import Conditions, check_conditions, check_dependencies
from pki.trust.device_errors import (
    FallbackNotNeeded,
    ImageMismatch,
    NotConfirmed,
    SequenceStale,
    TargetMismatch,
    WriteFailed,
)
from pki.trust.device_memory import GOLDEN, Hardware, Slot, Trial
from pki.trust.device_view import View, view
from pki.trust.errors import TrustError
from pki.trust.manifests import Component, FirmwareManifest, verify_manifest
from pki.trust.sets import Domain
from pki.trust.targets import SHA256, Digest, Target


def install(
    hardware: Hardware, manifest: bytes, image: bytes, *, fallback: bool = False, conditions: Conditions | None = None
) -> FirmwareManifest:
    """Write an image into the slot that does not run, and try it at the next boot.

    1. Manifest under the newest set. 2. Target, range, sequence, dependencies, deny list. 3. Site authorisation.
    4. Counter possible. 5. Apply policy. 6. Write; segments, whole digest, signature as Boot will check it. 7. Trial.
    A `fallback` is not tried: it goes beside a confirmed image when the other slot does not verify under the newest
    set (D.2), so it needs no higher sequence; often it is the running release once more.
    Every check is made before the first write, and an image that still boots runs beside the slot that is written.
    """
    now = view(hardware)
    verified = verify_manifest(now.newest, manifest)  # 1
    check_target(now, verified.target)  # 2
    check_hardware(now.profile, verified)
    component = verified.component
    if component.component != now.profile.domain:
        raise TargetMismatch(f"component {component.component.name.lower()} is not what the slots of this class hold")
    place = _choose_slot(hardware, now)
    if fallback:
        _check_fallback(hardware, now, place)
    else:
        _check_sequence(now, verified)
    # The running slot is checked again: it may have been changed in flash since it was started.
    running = None if hardware.running == GOLDEN else check_slot(now, 1 - place).image
    check_dependencies(now, verified, running)
    check_conditions(now, verified, conditions or Conditions())  # 3, 5
    now.profile.counters[Domain.TRUST].check_reachable(now.newest.index)  # 4
    now.profile.counters[now.profile.domain].check_reachable(component.security_version)
    slot = Slot(image, manifest)
    if not fallback and _waits(now, place, slot):
        return verified
    bootable = _check_payload(now, component, slot)  # 6
    if now.memory.active == place:  # it did not boot, so the other one runs: that is what a failed trial goes back to
        hardware.write(active=1 - place, trial=None)
    hardware.write_slot(place, Slot())  # a cut from here leaves the running image and an empty or unproven slot
    hardware.write_slot(place, Slot(image))
    hardware.write_slot(place, msgspec.structs.replace(slot, confirmed=fallback and _is_running(hardware, bootable)))
    if not boots(view(hardware), place, [now.newest]):
        raise WriteFailed("the image does not read back as it was sent", hint="send it again")
    if not fallback:
        tries = max(1, min(now.profile.max_trials, now.newest.transition.max_trial_boots))
        hardware.write(trial=Trial(place, tries))  # 7
    return verified


def check_target(now: View, target: Target) -> None:
    """C.2: vendor, class, device, site and region. Raises TargetMismatch."""
    profile, identity = now.profile, now.identity
    if (target.vendor, target.class_id) != (profile.vendor_id, profile.class_id):
        raise TargetMismatch("message is for another vendor or class")
    if not any(low <= profile.hardware_revision <= high for low, high in target.revisions):
        raise TargetMismatch(f"hardware revision {profile.hardware_revision} is not in the message's ranges")
    for name, own, wanted in (
        ("device", identity.ueid, target.devices),
        ("site", identity.site, target.sites),
        ("region", identity.region, target.regions),
    ):
        if wanted is not None and own not in wanted:
            raise TargetMismatch(f"message is for another {name}")


def last_sequence(now: View) -> int:
    """The highest sequence among the manifests of the slots that were confirmed, under the newest set; -1 for none.

    Manifests under older sets count for nothing, because (set index, sequence) is compared in this order; one that was
    installed and never confirmed may be tried again.
    """
    found = [-1]
    for number, slot in enumerate(now.memory.slots):
        if not slot.confirmed and number != now.memory.active:
            continue
        try:
            manifest = verify_manifest(now.newest, slot.manifest)
        except TrustError:
            continue
        if manifest.component.digest == Digest(SHA256, hashlib.sha256(slot.image).digest()):
            found.append(manifest.sequence)
    return max(found)


def is_confirmed(hardware: Hardware) -> bool:
    """Whether one of the two slots runs, and is the one confirmed last."""
    running, trial = hardware.running, hardware.memory.trial
    return running != GOLDEN and running == hardware.memory.active and not (trial and trial.slot == running)


def check_confirmed(hardware: Hardware) -> int:
    """The number of the running slot, which is confirmed. Raises NotConfirmed."""
    if hardware.running is None or not is_confirmed(hardware):
        raise NotConfirmed("the running image is not a confirmed one", hint="confirm it first")
    return hardware.running


def _choose_slot(hardware: Hardware, now: View) -> int:
    """The slot that does not run; while the running image is unproven, only if that slot does not boot anyway."""
    if hardware.running is None:
        raise NotConfirmed("the device does not run")
    place = 1 - (now.memory.active if hardware.running == GOLDEN else hardware.running)
    if not is_confirmed(hardware) and boots(now, place):
        raise NotConfirmed("the running image is on trial", hint="confirm it, or let the trial run out")
    return place


def _waits(now: View, place: int, slot: Slot) -> bool:
    """Whether exactly this installation waits for its first boot already."""
    trial = now.memory.trial
    return trial is not None and trial.slot == place and trial.tries > 0 and now.memory.slots[place] == slot


def _check_fallback(hardware: Hardware, now: View, place: int) -> None:
    check_confirmed(hardware)
    if boots(now, place, [now.newest]):
        raise FallbackNotNeeded("the other slot verifies under the newest set already")


def _check_sequence(now: View, manifest: FirmwareManifest) -> None:
    last = last_sequence(now)
    if manifest.sequence <= last:
        raise SequenceStale(f"manifest sequence {manifest.sequence} is not above {last}")


def _check_payload(now: View, component: Component, slot: Slot) -> Bootable:
    """C.6: size, segments, digest; as Boot, under the newest set alone; what manifest and image both state."""
    data = slot.image
    if len(data) != component.size or len(data) > now.profile.slot_size:
        raise ImageMismatch(f"image has {len(data)} bytes, the manifest says {component.size}")
    parts = [(data[s.offset : s.offset + s.size], s.digest) for s in component.segments]
    for part, digest in (*parts, (data, component.digest)):
        if digest.alg != SHA256 or hashlib.sha256(part).digest() != digest.value:
            raise ImageMismatch("the image's digest is not the manifest's")
    bootable = check_image(now, slot, [now.newest])
    if bootable.image.security_counter != component.security_version:
        raise ImageMismatch("image and manifest state different security versions")
    if not set(bootable.kids) & set(component.image_keys):
        raise ImageMismatch("the image is not signed by a key that the manifest names")
    return bootable


def _is_running(hardware: Hardware, bootable: Bootable) -> bool:
    """Whether a fallback is the confirmed image once more, which its self-test stands for."""
    running = check_slot(view(hardware), check_confirmed(hardware))
    return running.image.digest == bootable.image.digest
