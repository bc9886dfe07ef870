"""Device rules, part E."""

from collections.abc import Callable

import msgspec
import pytest

from pki.errors import PkiError
from pki.trust.counters import CounterUpdate, FloorRaise
from pki.trust.device import Device
from pki.trust.device_errors import (
    CounterUnreachable,
    FloorFromExceeded,
    NotConfirmed,
    SequenceStale,
    SetMissing,
    SlotsUnready,
    SoakUnmet,
    TargetMismatch,
)
from pki.trust.device_memory import Slot
from pki.trust.device_profile import CounterModel
from pki.trust.errors import LimitExceeded, SetRefMismatch, ThresholdNotMet
from pki.trust.sets import Domain, Limits
from tests.pki.trust.devices import (
    GENESIS,
    IDENTITY,
    NEXT,
    NEXT_MESSAGE,
    PROFILE,
    PowerCutError,
    born,
    cut_after,
    floor_raise,
    refused,
    release,
)
from tests.pki.trust.fleets import CLASS, COUNTERS, FLEET, IMAGE, MANIFEST, ROOTS, following, sign, target

SECURE = release(GENESIS, IMAGE, security=4)
UPDATE = release(GENESIS, IMAGE, security=5, version=(2, 4, 0, 0), sequence=2)


def device_with(*, both: bool = False) -> Device:
    device = born(first=SECURE)
    if both:
        device.install(UPDATE.manifest, UPDATE.image)
        device.boot()
        device.confirm()
    return device


def send(device: Device, message: bytes) -> Callable[[], object]:
    return lambda: device.counter_update(message)


@pytest.mark.req("RO-6")
def test_e6_the_floor_rises() -> None:
    device = device_with()
    device.counter_update(floor_raise(GENESIS, 0, 4))
    assert device.view.floors == {Domain.TRUST: 0, Domain.APP: 4}
    assert device.memory.counters[Domain.APP] == 32
    assert device.boot() == 0


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        (floor_raise(GENESIS, 0, 4, by=COUNTERS[:1]), ThresholdNotMet),
        (floor_raise(GENESIS, 0, 4, by=(MANIFEST,)), ThresholdNotMet),
        (floor_raise(NEXT, 0, 4), SetRefMismatch),
        (floor_raise(GENESIS, 0, 5), LimitExceeded),
        (floor_raise(GENESIS, 1, 5), SlotsUnready),
        (floor_raise(GENESIS, 0, 4, slots=2), SlotsUnready),
        (floor_raise(GENESIS, 0, 4, soak=1), SoakUnmet),
        (
            sign(
                CounterUpdate(
                    FLEET, 1, GENESIS.ref, target(revisions=((4, 4),)), (FloorRaise(Domain.APP, 0, 1, 1),), 0
                ),
                *COUNTERS,
            ),
            TargetMismatch,
        ),
    ],
    ids=["one key", "another role", "set", "step", "no slot satisfies", "two slots wanted", "soak", "revision"],
)
def test_e1_to_e4_refusals(message: bytes, kind: type[PkiError]) -> None:
    device = device_with()
    refused(device, kind, send(device, message))


def test_e1_only_under_a_committed_set() -> None:
    device = device_with()
    device.receive_sets([NEXT_MESSAGE])
    refused(device, SetRefMismatch, send(device, floor_raise(NEXT, 0, 4)))
    assert send(device, floor_raise(GENESIS, 0, 4))()
    unfinished = Device(
        PROFILE,
        IDENTITY,
        msgspec.structs.replace(device.memory, banks=(NEXT_MESSAGE, b"", b""), slots=(Slot(), Slot())),
    )
    refused(unfinished, SetMissing, send(unfinished, floor_raise(NEXT, 0, 4)))


def test_e1_sequences_rise() -> None:
    device = device_with()
    device.counter_update(floor_raise(GENESIS, 0, 2, sequence=2))
    refused(device, SequenceStale, send(device, floor_raise(GENESIS, 2, 3, sequence=2)))
    refused(device, SequenceStale, send(device, floor_raise(GENESIS, 2, 3, sequence=1)))
    device.counter_update(floor_raise(GENESIS, 2, 3, sequence=3))


def test_d6_the_same_update_again_changes_nothing() -> None:
    device = device_with()
    message = floor_raise(GENESIS, 0, 2)
    device.counter_update(message)
    memory = device.memory
    device.counter_update(message)
    assert device.memory == memory


def test_e2_floor_from_bounds_the_present_floor() -> None:
    device = device_with()
    device.counter_update(floor_raise(GENESIS, 0, 3))
    refused(device, FloorFromExceeded, send(device, floor_raise(GENESIS, 2, 4, sequence=2)))
    device.counter_update(floor_raise(GENESIS, 3, 4, sequence=2))


def test_e3_on_trial_nothing_is_raised() -> None:
    device = device_with()
    device.install(UPDATE.manifest, UPDATE.image)
    device.boot()
    refused(device, NotConfirmed, send(device, floor_raise(GENESIS, 0, 1)))


def test_e3_the_minimum_rule() -> None:
    """A slot that would become unbootable is erased first; with two demanded nothing happens."""
    device = device_with(both=True)
    refused(device, SlotsUnready, send(device, floor_raise(GENESIS, 1, 5, slots=2)))
    device.counter_update(floor_raise(GENESIS, 0, 4, slots=2))
    assert all(slot.image for slot in device.memory.slots)
    device.counter_update(floor_raise(GENESIS, 4, 5, sequence=2))
    assert device.memory.slots[0] == Slot()
    assert device.boot() == 1


def test_e4_soak_is_uptime_of_the_confirmed_image() -> None:
    device, message = device_with(), floor_raise(GENESIS, 0, 1, soak=60)
    device.run(60)
    device.boot()
    refused(device, SoakUnmet, send(device, message))
    device.run(60)
    assert send(device, message)()


@pytest.mark.req("RO-6")
def test_e5_capacity_and_reserve() -> None:
    small = {Domain.TRUST: CounterModel(capacity=100), Domain.APP: CounterModel(capacity=4)}
    device = born(msgspec.structs.replace(PROFILE, counters=small), first=SECURE)
    refused(device, CounterUnreachable, send(device, floor_raise(GENESIS, 0, 4)))
    device.counter_update(floor_raise(GENESIS, 0, 3))


def test_e5_a_domain_that_the_slots_do_not_stand_for() -> None:
    limits = {CLASS: {Domain.BOOT: Limits(4, 100)}}
    other = following(GENESIS, limits=limits)
    device = born(first=SECURE)
    device.receive_sets([sign(other, *ROOTS)])
    made = release(other, IMAGE, security=4, sequence=2)
    device.install(made.manifest, made.image)
    device.boot()
    device.confirm()
    device.commit()
    message = CounterUpdate(FLEET, 1, other.ref, target(), (FloorRaise(Domain.BOOT, 0, 1, 1),), 0)
    refused(device, CounterUnreachable, send(device, sign(message, *COUNTERS)))


@pytest.mark.parametrize("writes", range(10))
def test_e6_a_cut_is_resumed_by_the_same_message(writes: int) -> None:
    device, message = device_with(both=True), floor_raise(GENESIS, 1, 5)
    cut_after(device, writes)
    with pytest.raises(PowerCutError):
        device.counter_update(message)
    again = Device(PROFILE, IDENTITY, device.memory)
    assert again.boot() == 1
    again.counter_update(message)
    assert again.view.floor(Domain.APP) == 5
    assert again.boot() == 1
