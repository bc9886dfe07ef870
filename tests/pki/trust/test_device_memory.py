import msgspec
import pytest

from pki.trust.device_memory import BANKS, Hardware, Memory, Slot, blank
from pki.trust.device_profile import CounterModel
from pki.trust.sets import Domain
from tests.pki.trust.devices import IDENTITY, PROFILE


def hardware() -> Hardware:
    return Hardware(PROFILE, IDENTITY, blank(PROFILE))


def test_a_blank_device_counts_from_its_bases() -> None:
    based = msgspec.structs.replace(PROFILE, counters={Domain.TRUST: CounterModel(capacity=100, base=7)})
    memory = blank(based)
    assert memory.counters == (7, 0, 0, 0, 0)
    assert memory.banks == memory.held == (b"",) * BANKS
    assert memory.slots == (Slot(), Slot())


def test_each_write_changes_one_thing() -> None:
    device = hardware()
    device.write_bank(1, b"set")
    device.write_held(2, b"digest")
    device.write_slot(1, Slot(b"image"))
    device.count(Domain.APP)
    assert device.memory.banks == (b"", b"set", b"")
    assert device.memory.held == (b"", b"", b"digest")
    assert device.memory.slots == (Slot(), Slot(b"image"))
    assert device.memory.counters == (0, 0, 1, 0, 0)


def test_a_write_passes_through_the_store() -> None:
    device, seen = hardware(), []

    def store(before: Memory, after: Memory) -> Memory:
        seen.append((before.boots, after.boots))
        return after

    device.store = store
    device.write(boots=1)
    device.write(boots=2)
    assert seen == [(0, 1), (1, 2)]


def test_a_store_that_raises_leaves_memory_as_it_was() -> None:
    device = hardware()

    def store(_before: Memory, _after: Memory) -> Memory:
        raise RuntimeError("power")

    device.store = store
    with pytest.raises(RuntimeError):
        device.write(boots=1)
    assert device.memory == blank(PROFILE)
