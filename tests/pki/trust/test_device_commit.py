"""Device rules, part D."""

import msgspec
import pytest

from pki.formats.errors import ImageSignatureUnknown
from pki.trust.device import Device
from pki.trust.device_errors import FallbackMissing, NotConfirmed, SelfTestFailed
from pki.trust.device_memory import GOLDEN, Memory, Slot
from pki.trust.sets import Domain, Kind, Transition
from tests.pki.trust.devices import (
    FIRST,
    GENESIS,
    IDENTITY,
    NEW_IMAGE,
    NEXT,
    NEXT_MESSAGE,
    PROFILE,
    TRANSITION,
    PowerCutError,
    born,
    cut_after,
    planned,
    refused,
    release,
)
from tests.pki.trust.fleets import IMAGE, ROOTS, sign

ALONE = Transition(both_slots=False, max_trial_boots=3, operator_cosign=False)


def on_transition(kind: Kind = Kind.PLANNED) -> Device:
    """Runs the dual-signed image under the pending set; slot 0 holds an image by the leaving key."""
    pending = NEXT if kind is Kind.PLANNED else planned(GENESIS, NEW_IMAGE, kind=kind, transition=ALONE)
    device = born()
    device.receive_sets([sign(pending, *ROOTS)])
    made = release(pending, NEW_IMAGE, IMAGE, version=(2, 4, 0, 0), sequence=2)
    device.install(made.manifest, made.image)
    assert device.boot() == 1
    return device


def test_d1_confirm_keeps_the_running_image() -> None:
    device = on_transition()
    device.confirm()
    assert (device.memory.active, device.memory.trial, device.memory.slots[1].confirmed) == (1, None, True)
    memory = device.memory
    device.confirm()
    assert device.memory == memory
    assert device.boot() == 1


def test_d1_a_failed_self_test_lets_the_trial_run_out() -> None:
    device = on_transition()
    refused(device, SelfTestFailed, lambda: device.confirm(self_test=False))
    assert [device.boot() for _ in range(3)] == [1, 1, 0]


def test_d1_what_the_newest_set_does_not_verify_is_not_confirmed() -> None:
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    refused(device, ImageSignatureUnknown, device.confirm)
    off = Device(PROFILE, IDENTITY, device.memory)
    refused(off, NotConfirmed, off.confirm)


def test_d1_on_trial_nothing_is_committed() -> None:
    device = on_transition()
    refused(device, NotConfirmed, device.commit)


@pytest.mark.req("RO-3")
def test_d1_no_device_revokes_the_key_that_booted_it() -> None:
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    refused(device, ImageSignatureUnknown, device.commit)


def test_d2_planned_the_fallback_comes_first() -> None:
    device = on_transition()
    device.confirm()
    refused(device, FallbackMissing, device.commit)
    device.install(TRANSITION.manifest, TRANSITION.image, fallback=True)
    assert device.commit() == NEXT


def test_d2_emergency_the_other_slot_is_given_up() -> None:
    device = on_transition(Kind.EMERGENCY)
    device.confirm()
    device.commit()
    assert device.memory.slots[0] == Slot()
    assert device.boot() == 1


def test_d2_an_emergency_set_may_ask_for_both_slots() -> None:
    device = born()
    asking = planned(GENESIS, NEW_IMAGE, kind=Kind.EMERGENCY)
    device.receive_sets([sign(asking, *ROOTS)])
    made = release(asking, NEW_IMAGE, sequence=2)
    device.install(made.manifest, made.image)
    device.boot()
    device.confirm()
    refused(device, FallbackMissing, device.commit)


def committed() -> Device:
    device = on_transition()
    device.confirm()
    device.install(TRANSITION.manifest, TRANSITION.image, fallback=True)
    device.commit()
    return device


def test_d3_d4_counter_zero_has_the_index_and_older_banks_are_erased() -> None:
    device = committed()
    assert device.memory.counters[Domain.TRUST] == 8
    assert device.view.sets == (NEXT,)
    assert device.view.committed == NEXT
    assert [bool(bank) for bank in device.memory.banks].count(True) == 1
    memory = device.memory
    device.commit()
    assert device.memory == memory


def test_d2_after_the_commit_the_leaving_key_boots_nothing() -> None:
    device = committed()
    old = (Slot(FIRST.image, FIRST.manifest, True),) * 2
    assert Device(PROFILE, IDENTITY, msgspec.structs.replace(device.memory, slots=old)).boot() == GOLDEN


@pytest.mark.parametrize("writes", range(9))
def test_d3_a_cut_resumes(writes: int) -> None:
    device = on_transition()
    device.confirm()
    device.install(TRANSITION.manifest, TRANSITION.image, fallback=True)
    cut_after(device, writes)
    with pytest.raises(PowerCutError):
        device.commit()
    again = Device(PROFILE, IDENTITY, device.memory)
    assert again.boot() == 1
    assert again.commit() == NEXT
    assert again.memory.counters[Domain.TRUST] == 8


def test_d16_skipped_counts_are_not_made_up_for() -> None:
    device = on_transition()
    device.confirm()
    device.install(TRANSITION.manifest, TRANSITION.image, fallback=True)

    def skipping(before: Memory, after: Memory) -> Memory:
        if before.counters == after.counters:
            return after
        return msgspec.structs.replace(after, counters=(after.counters[0] + 6, *after.counters[1:]))

    device.hardware.store = skipping
    assert device.commit() == NEXT
    assert device.memory.counters[Domain.TRUST] == 14
    assert device.view.committed == NEXT


def test_d1_a_cut_confirmation_goes_on() -> None:
    device = on_transition()
    cut_after(device, 1)
    with pytest.raises(PowerCutError):
        device.confirm()
    again = Device(PROFILE, IDENTITY, device.memory)
    assert again.boot() == 1
    assert [slot.confirmed for slot in again.memory.slots] == [True, False]
    again.confirm()
    assert [slot.confirmed for slot in again.memory.slots] == [True, True]
    assert again.memory.trial is None
