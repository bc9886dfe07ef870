"""Rehearsal: the service runs its own output on the device model before it is signed or published (invariant S4).

From every given state, with the power cut after every single write, each device must start an image whenever it could
before, and an honest gateway that simply sends the bundle again must bring it to the head.
"""

from collections.abc import Sequence
from contextlib import suppress

import msgspec

from pki.errors import PkiError
from pki.trust.device import Device
from pki.trust.device_boot import boots
from pki.trust.device_errors import BankPinned, FallbackNotNeeded
from pki.trust.device_memory import GOLDEN, Memory
from pki.trust.device_profile import ClassProfile, Identity
from pki.trust.links import parse_set


class Release(msgspec.Struct, frozen=True):
    """A signed manifest and its image."""

    manifest: bytes
    image: bytes


class Bundle(msgspec.Struct, frozen=True):
    """What a device is sent, in the order of the device rules: sets, the image to try, the fallback beside it, updates.

    A planned rotation needs a fallback; it may be the active release once more. soak: seconds that a device waits
    before the counter updates.
    """

    sets: tuple[bytes, ...] = ()
    active: Release | None = None
    fallback: Release | None = None
    counter_updates: tuple[bytes, ...] = ()
    soak: int = 0


class Start(msgspec.Struct, frozen=True):
    """A device as its last receipt shows it."""

    identity: Identity
    memory: Memory


class Finding(msgspec.Struct, frozen=True):
    """What went wrong: from which start, after how many writes the power was cut, and the refusal or fault."""

    start: int
    writes: int
    reason: str


class Verdict(msgspec.Struct, frozen=True):
    """How many cut points were tried, and what was found; sound when that is nothing and something was tried."""

    tried: int
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether the bundle may be published as far as this rehearsal goes."""
        return self.tried > 0 and not self.findings


def rehearse(profile: ClassProfile, starts: Sequence[Start], bundle: Bundle) -> Verdict:
    """Send the bundle to a device in each state and cut its power after each write."""
    tried = 0
    findings: list[Finding] = []
    for number, start in enumerate(starts):
        trace = _record_writes(profile, start, bundle)
        alive = Device(profile, start.identity, start.memory).boot() != GOLDEN
        for writes, memory in enumerate(trace):
            tried += 1
            reason = _resume(Device(profile, start.identity, memory), bundle, alive)
            if reason:
                findings.append(Finding(number, writes, reason))
    return Verdict(tried, tuple(findings))


def follow(device: Device, bundle: Bundle) -> None:
    """What an honest gateway does with a bundle, from whatever state the device is in; what is done is passed over.

    Raises the PkiError leaf of the first refusal that sending it again cannot mend.
    """
    device.boot()
    settle(device)
    if bundle.sets:
        _send_sets(device, bundle.sets)
    if bundle.active and not runs(device, bundle.active.image):
        device.install(bundle.active.manifest, bundle.active.image)
        device.boot()
    device.confirm()
    if bundle.fallback:
        with suppress(FallbackNotNeeded):
            device.install(bundle.fallback.manifest, bundle.fallback.image, fallback=True)
    device.commit()
    device.run(bundle.soak)
    for update in bundle.counter_updates:
        device.counter_update(update)


def runs(device: Device, image: bytes) -> bool:
    """Whether one of the two slots runs exactly this image."""
    return device.running in (0, 1) and device.memory.slots[device.running].image == image


def settle(device: Device) -> None:
    """End a trial: confirm what can be confirmed, and let the rest run out."""
    for _ in range(device.hardware.profile.max_trials + 1):
        trial = device.memory.trial
        if trial is None or trial.slot != device.running:
            return
        try:
            device.confirm()
        except PkiError:
            device.boot()


def _send_sets(device: Device, sets: Sequence[bytes]) -> None:
    try:
        device.receive_sets(sets)
    except BankPinned:  # the pending set can be committed, then its bank is the current one
        device.commit()
        device.receive_sets(sets)


def _record_writes(profile: ClassProfile, start: Start, bundle: Bundle) -> list[Memory]:
    """The memory before the first write and after each one: where a power cut can leave the device."""
    trace = [start.memory]

    def record(_before: Memory, after: Memory) -> Memory:
        trace.append(after)
        return after

    with suppress(PkiError):  # met again, and reported, from the entries of the trace
        follow(Device(profile, start.identity, start.memory, record), bundle)
    return trace


def _resume(device: Device, bundle: Bundle, alive: bool) -> str:
    """Power comes back: boot, send the bundle again. Returns what is wrong, "" for nothing."""
    if device.boot() == GOLDEN and alive:
        return "boots the golden image only"
    try:
        follow(device, bundle)
    except PkiError as refusal:
        return f"{refusal.code}: {refusal.message}"
    now = device.view
    head = parse_set(bundle.sets[-1])[0] if bundle.sets else now.newest
    if now.committed != head:
        return "does not reach the head"
    if device.boot() == GOLDEN or not boots(now, device.hardware.memory.active, [head]):
        return "does not boot at the head"
    return ""
