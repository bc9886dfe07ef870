import msgspec
import pytest

from pki.trust.device import LOG_SIZE, Device
from pki.trust.device_errors import TargetMismatch
from pki.trust.device_memory import GOLDEN
from pki.trust.errors import CoseInvalid, ThresholdNotMet
from tests.pki.trust.devices import (
    GENESIS,
    GENESIS_MESSAGE,
    IDENTITY,
    NEXT,
    NEXT_MESSAGE,
    PROFILE,
    TRANSITION,
    born,
    floor_raise,
    refused,
)
from tests.pki.trust.fleets import ROOTS, genesis, sign


def test_birth_with_and_without_an_image() -> None:
    assert born().running == 0
    bare = Device.birth(PROFILE, IDENTITY, GENESIS_MESSAGE)
    assert bare.running == GOLDEN
    assert bare.view.committed == GENESIS


def test_birth_checks_the_genesis_set() -> None:
    with pytest.raises(TargetMismatch):
        Device.birth(PROFILE, IDENTITY, sign(genesis(limits={}), *ROOTS))
    with pytest.raises(ThresholdNotMet):
        Device.birth(PROFILE, IDENTITY, sign(GENESIS, *ROOTS[:2]))


@pytest.mark.req("RO-2")
def test_a_device_moves_to_the_next_set() -> None:
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    device.install(TRANSITION.manifest, TRANSITION.image)
    assert device.boot() == 1
    device.confirm()
    device.install(TRANSITION.manifest, TRANSITION.image, fallback=True)
    assert device.commit() == NEXT
    device.counter_update(floor_raise(NEXT, 0, 1))
    assert device.boot() == 1
    assert device.log == []


def test_memory_is_a_value() -> None:
    device = born()
    before = device.memory
    fork = Device(PROFILE, IDENTITY, before)
    device.receive_sets([NEXT_MESSAGE])
    assert fork.memory == before != device.memory
    assert fork.running is None


def test_refusals_are_logged_up_to_a_limit() -> None:
    device = born()
    for _ in range(LOG_SIZE + 10):
        refused_once = len(device.log) < LOG_SIZE
        if refused_once:
            refused(device, CoseInvalid, lambda: device.receive_sets([b"garbage"]))
        else:
            with pytest.raises(CoseInvalid):
                device.receive_sets([b"garbage"])
    assert device.log == [("receive-sets", "cose-invalid")] * LOG_SIZE


def test_uptime_ends_with_a_boot() -> None:
    device = born()
    device.run(10)
    device.run(5)
    assert device.hardware.uptime == 15
    device.boot()
    assert device.hardware.uptime == 0
    assert msgspec.structs.replace(device.memory, boots=0) == msgspec.structs.replace(born().memory, boots=0)
