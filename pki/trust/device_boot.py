"""Boot: device rules, part A. The wall clock is never asked."""

import hashlib
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from pki.errors import PkiError
from pki.signatures import spki_sha256
from pki.trust.cose import parse_sign
from pki.trust.device_errors import BootloaderMismatch, FloorNotMet, ImageDenied, SlotEmpty, TargetMismatch
from pki.trust.device_memory import GOLDEN, Hardware, Slot, Trial
from pki.trust.device_profile import ClassProfile, VerifiedImage, spkis
from pki.trust.device_view import View, view
from pki.trust.errors import RoleUndefined, TrustError
from pki.trust.manifests import FirmwareManifest
from pki.trust.sets import Domain, RoleId, TrustSet

IMAGE_ROLES = {
    Domain.BOOT: RoleId.IMAGE_BOOT,
    Domain.APP: RoleId.IMAGE_APP,
    Domain.CONFIG: RoleId.IMAGE_CONFIG,
    Domain.GOLDEN: RoleId.IMAGE_GOLDEN,
}


class Bootable(msgspec.Struct, frozen=True):
    """An image that boots: what its container says, the kids of the accepted keys that verify, and its manifest."""

    image: VerifiedImage
    kids: tuple[bytes, ...]
    manifest: FirmwareManifest | None


def boot(hardware: Hardware) -> int:
    """Start an image and return which: slot 0 or 1, or GOLDEN.

    1. Read counters, compute floors. 2. Valid banks; none: golden. 3. Candidates: trial slot while tries remain,
    active slot, other slot. 4. `check_slot`. 5. The first that passes boots; a trial is counted before the jump.
    6. None: golden.
    """
    hardware.running, hardware.uptime = None, 0
    now = view(hardware)  # 1, 2
    chosen = next((slot for slot in _candidates(now) if boots(now, slot)), GOLDEN)  # 3, 4, 6
    trial = now.memory.trial
    if trial and trial.slot == chosen and trial.tries:
        trial = Trial(chosen, trial.tries - 1)
    hardware.write(boots=now.memory.boots + 1, trial=trial)  # 5: a cut after this costs one try, no more
    hardware.running = chosen
    return chosen


def boots(now: View, slot: int, sets: Iterable[TrustSet] | None = None) -> bool:
    """Whether a slot passes `check_slot` under these sets (all valid ones unless told)."""
    try:
        check_slot(now, slot, sets)
    except PkiError:
        return False
    return True


def check_slot(now: View, slot: int, sets: Iterable[TrustSet] | None = None) -> Bootable:
    """A.4 for one slot under these sets (all valid ones unless told). Raises a PkiError leaf."""
    if not now.memory.slots[slot].image:
        raise SlotEmpty(f"slot {slot} is empty")
    return check_image(now, now.memory.slots[slot], now.sets if sets is None else sets)


def check_image(now: View, slot: Slot, sets: Iterable[TrustSet]) -> Bootable:
    """A.4: container digest; an image signature by an accepted key whose role and class fit; deny list; security
    version at or above the floor; hardware revision; bootloader range.

    The last two are read from the manifest beside the image. It may be missing or foreign: it can narrow where an
    image boots, never widen it. Raises a PkiError leaf.
    """
    profile = now.profile
    keys = image_keys(profile, now.identity.site, sets)
    image = profile.verify_image(slot.image, spkis(keys))
    if (image.class_id, image.vendor_id) != (profile.class_id, profile.vendor_id):
        raise TargetMismatch("the image is for another class or vendor")
    if now.denied and not now.denied.isdisjoint((image.digest, hashlib.sha256(slot.image).digest())):
        raise ImageDenied("the image is on the deny list")
    floor = now.floor(profile.domain)
    if image.security_counter < floor:
        raise FloorNotMet(f"security version {image.security_counter} is below the floor {floor}")
    manifest = manifest_of(slot)
    if manifest:
        check_hardware(profile, manifest)
    kid_of = {spki_sha256(spki): kid for spki, kid in keys.items()}
    return Bootable(image, tuple(kid_of[key] for key in image.keys), manifest)


def image_keys(profile: ClassProfile, site: bytes | None, sets: Iterable[TrustSet]) -> dict[bytes, bytes]:
    """Accepted image keys, SPKI to kid: the union over the sets of the groups for the slot's role, class and domain.

    Empty when no set has such a group; a verifier with no key accepts nothing.
    """
    keys: dict[bytes, bytes] = {}
    for trust_set in sets:
        try:
            group = trust_set.group(
                IMAGE_ROLES[profile.domain], class_id=profile.class_id, domain=profile.domain, site=site
            )
        except RoleUndefined:
            continue
        keys |= {trust_set.key_by_kid[kid].to_spki(): kid for kid in group.members}
    return keys


def check_hardware(profile: ClassProfile, manifest: FirmwareManifest) -> None:
    """Hardware revision and bootloader range. Raises TargetMismatch, BootloaderMismatch."""
    if not any(low <= profile.hardware_revision <= high for low, high in manifest.target.revisions):
        raise TargetMismatch(f"hardware revision {profile.hardware_revision} is not in the manifest's ranges")
    if not manifest.bootloader.contains(profile.bootloader):
        raise BootloaderMismatch("the bootloader's version is outside the manifest's range")


def manifest_of(slot: Slot) -> FirmwareManifest | None:
    """The manifest beside an image, unverified; None when it does not parse or describes other bytes."""
    manifest = _parse(slot.manifest) if slot.manifest else None
    if manifest and manifest.component.digest.value == hashlib.sha256(slot.image).digest():
        return manifest
    return None


@lru_cache(maxsize=1024)
def _parse(message: bytes) -> FirmwareManifest | None:
    try:
        return FirmwareManifest.from_payload(parse_sign(message).payload)
    except TrustError:
        return None


def _candidates(now: View) -> list[int]:
    if not now.banks:
        return []
    trial, active = now.memory.trial, now.memory.active
    first = [trial.slot] if trial and trial.tries else []
    return [*first, active, 1 - active]
