"""Device rules, part C."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from pki.errors import PkiError
from pki.formats.errors import ImageSignatureUnknown
from pki.trust.device import Device
from pki.trust.device_errors import (
    BootloaderMismatch,
    CounterUnreachable,
    DependencyUnmet,
    FallbackNotNeeded,
    FloorNotMet,
    ImageMismatch,
    NotConfirmed,
    SequenceStale,
    SetMissing,
    TargetMismatch,
    WriteFailed,
)
from pki.trust.device_install import last_sequence
from pki.trust.device_memory import GOLDEN, Memory, Slot, Trial
from pki.trust.device_profile import CounterModel
from pki.trust.errors import FleetMismatch, SetRefMismatch, ThresholdNotMet
from pki.trust.manifests import Dependency, Segment
from pki.trust.rehearsal import Release
from pki.trust.sets import Domain
from pki.trust.targets import SHA256, Digest, Range
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
    refused,
    release,
)
from tests.pki.trust.fleets import CLASS, IMAGE, OTHER_CLASS, STRANGER, target

UPDATE = release(GENESIS, IMAGE, version=(2, 4, 0, 0), sequence=2)


def update(*keys: Any, **changes: Any) -> Release:
    plain: dict[str, Any] = {"version": (2, 4, 0, 0), "sequence": 2}
    return release(GENESIS, *(keys or (IMAGE,)), **(plain | changes))


def send(device: Device, made: Release, **options: Any) -> Callable[[], object]:
    return lambda: device.install(made.manifest, made.image, **options)


def test_c6_c7_the_other_slot_is_written_and_tried() -> None:
    device = born()
    send(device, UPDATE)()
    assert device.memory.slots == (Slot(FIRST.image, FIRST.manifest, True), Slot(UPDATE.image, UPDATE.manifest, False))
    assert device.memory.trial == Trial(1, 3)
    assert device.boot() == 1


@pytest.mark.parametrize(
    ("made", "kind"),
    [
        (update(by=(STRANGER,)), ThresholdNotMet),
        (update(by=(IMAGE,)), ThresholdNotMet),
        (release(NEXT, IMAGE, sequence=2), SetRefMismatch),
        (update(fleet=b"z" * 16), FleetMismatch),
        (update(target=target(vendor=b"x" * 16)), TargetMismatch),
        (update(target=target(class_id=OTHER_CLASS)), TargetMismatch),
        (update(target=target(revisions=((0, 2), (4, 9)))), TargetMismatch),
        (update(target=target(devices=(b"\1" * 33,))), TargetMismatch),
        (update(target=target(sites=(b"y" * 16,))), TargetMismatch),
        (update(target=target(regions=("US", "JP"))), TargetMismatch),
        (update(component_component=Domain.BOOT), TargetMismatch),
        (update(bootloader=Range((2, 0), None)), BootloaderMismatch),
        (update(sequence=1), SequenceStale),
        (update(dependencies=(Dependency(OTHER_CLASS, Domain.APP, Range((1,), None)),)), DependencyUnmet),
        (update(security=9_999_999), CounterUnreachable),
        (update(component_size=1, component_segments=(Segment(0, 1, Digest(SHA256, b"h" * 32)),)), ImageMismatch),
        (update(component_digest=Digest(SHA256, b"h" * 32)), ImageMismatch),
        (update(component_security_version=2), ImageMismatch),
        (update(component_image_keys=(NEW_IMAGE.kid,)), ImageMismatch),
        (update(STRANGER), ImageSignatureUnknown),
        (update(NEW_IMAGE), ImageSignatureUnknown),
    ],
    ids=["signer", "signer of another role", "set", "fleet", "vendor", "class", "revision", "device", "site", "region",
         "component", "bootloader", "sequence", "dependency", "counter", "size", "digest", "security version",
         "image keys", "stranger's image", "key of the next set"],
)  # fmt: skip
def test_c1_to_c6_refusals_before_the_first_write(made: Release, kind: type[PkiError]) -> None:
    device = born()
    refused(device, kind, send(device, made))


def test_c2_a_message_for_this_device_site_and_region() -> None:
    chosen = target(devices=(IDENTITY.ueid,), sites=(IDENTITY.site,), regions=("EU",))
    assert send(born(), update(target=chosen))()


def test_c2_dependencies_that_are_met() -> None:
    wanted = (
        Dependency(CLASS, Domain.APP, Range((2, 3), (2, 3)), 1),
        Dependency(CLASS, Domain.BOOT, Range((1, 2), None)),
    )
    assert send(born(), update(dependencies=wanted))()
    device = born()
    unmet = update(dependencies=(Dependency(CLASS, Domain.APP, Range((2, 3), None), 2),))
    refused(device, DependencyUnmet, send(device, unmet))


def test_c6_segments_are_checked_one_by_one() -> None:
    half = len(UPDATE.image) // 2
    wrong = (
        Segment(0, half, Digest(SHA256, b"h" * 32)),
        Segment(half, len(UPDATE.image) - half, Digest(SHA256, b"h" * 32)),
    )
    device = born()
    refused(device, ImageMismatch, send(device, update(component_segments=wrong)))
    refused(device, ImageMismatch, send(device, Release(UPDATE.manifest, UPDATE.image[:-1] + b"X")))


def test_c6_an_image_larger_than_the_slot() -> None:
    device = born(msgspec.structs.replace(PROFILE, slot_size=100))
    refused(device, ImageMismatch, send(device, UPDATE))


def test_c4_the_index_must_stay_reachable_too() -> None:
    counters = {Domain.TRUST: CounterModel(capacity=0), Domain.APP: CounterModel(capacity=8)}
    device = born(msgspec.structs.replace(PROFILE, counters=counters))
    assert send(device, update(security=6))()
    refused(device, CounterUnreachable, send(device, update(security=7)))


def test_installs_are_checked_under_the_newest_set_alone() -> None:
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    refused(device, SetRefMismatch, send(device, UPDATE))
    refused(device, ImageSignatureUnknown, send(device, release(NEXT, IMAGE, sequence=2)))
    assert send(device, TRANSITION)()


@pytest.mark.req("RO-6")
def test_below_the_floor_nothing_is_installed() -> None:
    memory = msgspec.structs.replace(born().memory, counters=(0, 0, 8, 0, 0))
    device = Device(PROFILE, IDENTITY, memory)
    assert device.boot() == 0
    refused(device, FloorNotMet, send(device, update(security=0)))


def test_d6_the_same_again_changes_nothing() -> None:
    device = born()
    send(device, UPDATE)()
    memory = device.memory
    send(device, UPDATE)()
    assert device.memory == memory
    device.boot()
    device.confirm()
    refused(device, SequenceStale, send(device, UPDATE))


def test_on_trial_nothing_else_is_installed() -> None:
    device = born()
    send(device, UPDATE)()
    device.boot()
    refused(device, NotConfirmed, send(device, update(sequence=3)))
    refused(device, NotConfirmed, send(device, update(sequence=3), fallback=True))


def test_after_a_failed_trial_the_same_release_may_be_tried_again() -> None:
    device = born()
    send(device, UPDATE)()
    for _ in range(4):
        device.boot()
    assert device.running == 0
    assert last_sequence(device.view) == 1
    send(device, UPDATE)()
    assert device.boot() == 1


def test_a_trial_gets_what_set_and_class_allow() -> None:
    device = born(msgspec.structs.replace(PROFILE, max_trials=2))
    send(device, UPDATE)()
    assert device.memory.trial == Trial(1, 2)


def test_off_no_installation() -> None:
    device = Device(PROFILE, IDENTITY, born().memory)
    refused(device, NotConfirmed, send(device, UPDATE))


def test_from_the_golden_image_an_empty_device_is_filled() -> None:
    memory = msgspec.structs.replace(born().memory, slots=(Slot(), Slot()))
    device = Device(PROFILE, IDENTITY, memory)
    assert device.boot() == GOLDEN
    refused(device, NotConfirmed, send(device, UPDATE, fallback=True))
    send(device, UPDATE)()
    assert device.boot() == 1
    device.confirm()
    send(device, UPDATE, fallback=True)()
    assert device.memory.slots[0].confirmed


def test_a_broken_active_slot_is_replaced_beside_the_running_one() -> None:
    """A failed trial must go back to the slot that ran, not to the one on trial."""
    device = born()
    send(device, UPDATE, fallback=True)()
    device.hardware.memory = msgspec.structs.replace(device.memory, slots=(Slot(b"garbage"), device.memory.slots[1]))
    assert device.boot() == 1
    send(device, update(sequence=3, version=(2, 5, 0, 0)))()
    assert (device.memory.active, device.memory.trial) == (1, Trial(0, 3))
    assert [device.boot() for _ in range(4)] == [0, 0, 0, 1]


def test_a_cut_beside_an_exhausted_trial_leaves_no_trial_behind() -> None:
    """Else the device would be on trial for ever, and take nothing any more."""
    device = born()
    send(device, UPDATE)()
    slots = (Slot(b"garbage"), device.memory.slots[1])
    memory = msgspec.structs.replace(device.memory, slots=slots, trial=Trial(1, 0))
    device = Device(PROFILE, IDENTITY, memory)
    assert device.boot() == 1
    cut_after(device, 3)
    with pytest.raises(PowerCutError):
        send(device, update(sequence=3, version=(2, 5, 0, 0)))()
    again = Device(PROFILE, IDENTITY, device.memory)
    assert again.boot() == 1
    assert (again.memory.active, again.memory.trial) == (1, None)
    send(again, update(sequence=3, version=(2, 5, 0, 0)))()


def test_a_running_slot_that_was_changed_is_not_relied_on() -> None:
    device = born()
    spoilt = (Slot(b"garbage", confirmed=True), Slot())
    device.hardware.memory = msgspec.structs.replace(device.memory, slots=spoilt)
    with pytest.raises(PkiError):
        send(device, UPDATE)()
    assert device.memory.slots == spoilt


def test_without_a_set_nothing_is_installed() -> None:
    device = Device(PROFILE, IDENTITY, msgspec.structs.replace(born().memory, banks=(b"",) * 3))
    device.boot()
    refused(device, SetMissing, send(device, UPDATE))


def test_a_fallback_is_installed_when_it_is_needed_and_is_not_tried() -> None:
    device = born()
    refused(device, SequenceStale, send(device, FIRST))
    send(device, FIRST, fallback=True)()
    assert device.memory.slots[0] == device.memory.slots[1]
    assert device.memory.trial is None
    refused(device, FallbackNotNeeded, send(device, FIRST, fallback=True))


def test_another_image_as_fallback_is_not_confirmed() -> None:
    device = born()
    send(device, UPDATE, fallback=True)()
    assert not device.memory.slots[1].confirmed


@pytest.mark.parametrize("writes", range(4))
def test_c6_a_cut_leaves_the_running_image(writes: int) -> None:
    device = born()
    cut_after(device, writes)
    with pytest.raises(PowerCutError):
        send(device, UPDATE)()
    again = Device(PROFILE, IDENTITY, device.memory)
    assert again.boot() == 0
    send(again, UPDATE)()
    assert again.boot() == 1


def test_c6_worn_flash_is_noticed() -> None:
    device = born()

    def worn(before: Memory, _after: Memory) -> Memory:
        return before

    device.hardware.store = worn
    with pytest.raises(WriteFailed):
        send(device, UPDATE)()
