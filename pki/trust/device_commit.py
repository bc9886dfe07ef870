"""Confirming an image and committing a trust set: device rules, part D."""

from pki.trust.device_boot import boots, check_slot
from pki.trust.device_errors import FallbackMissing, NotConfirmed, SelfTestFailed
from pki.trust.device_install import check_confirmed
from pki.trust.device_memory import GOLDEN, Hardware, Slot
from pki.trust.device_view import View, view
from pki.trust.sets import Domain, Kind, TrustSet


def confirm(hardware: Hardware, *, self_test: bool) -> None:
    """D.1: keep the running image: it verifies under the newest set and its self-test passed.

    Two writes; a cut between them leaves an active slot without its flag, and the next confirmation sets it.
    """
    now, running = view(hardware), hardware.running
    if running is None or running == GOLDEN:
        raise NotConfirmed("none of the two slots runs")
    check_slot(now, running, [now.newest])
    if not self_test:
        raise SelfTestFailed("the self-test did not pass", hint="let the trial run out; the image before comes back")
    if now.memory.active != running or now.memory.trial:
        hardware.write(active=running, trial=None)
    slot = now.memory.slots[running]
    if not slot.confirmed:
        hardware.write_slot(running, Slot(slot.image, slot.manifest, confirmed=True))


def commit(hardware: Hardware) -> TrustSet:
    """Leave every set before the newest behind, for good; returns the newest.

    1. The running, confirmed image verifies under the newest set. 2. Planned: the other slot does too; else it is
    erased. 3. Counter 0 rises to the index, one count at a time; the loop asks the counter, so a cut resumes.
    4. Older banks are invalid by definition and erased. (5. The receipt is the caller's.)
    A set under which the running image does not verify cannot be committed: no device revokes the key that booted it.
    """
    now = view(hardware)
    newest = now.newest
    running = check_confirmed(hardware)
    check_slot(now, running, [newest])  # 1
    prepare_other_slot(hardware, now, 1 - running)  # 2
    while view(hardware).floor(Domain.TRUST) < newest.index:  # 3
        hardware.count(Domain.TRUST)
    valid = {bank.place for bank in view(hardware).banks}
    for place, stored in enumerate(hardware.memory.banks):  # 4
        if stored and place not in valid:
            hardware.write_bank(place, b"")
    return newest


def prepare_other_slot(hardware: Hardware, now: View, other: int) -> None:
    """D.2. Raises FallbackMissing when a planned rotation would leave the other slot behind."""
    newest = now.newest
    if newest.index <= now.floor(Domain.TRUST) or boots(now, other, [newest]):
        return
    if newest.transition.both_slots or newest.kind in (Kind.GENESIS, Kind.PLANNED):
        raise FallbackMissing("the other slot does not verify under the newest set", hint="install the fallback first")
    if now.memory.slots[other] != Slot():
        hardware.write_slot(other, Slot())
