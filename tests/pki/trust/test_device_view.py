"""Device rules A.1 and A.2, and the protection of banks."""

import msgspec
import pytest

from pki.trust.device import Device
from pki.trust.device_errors import SetMissing
from pki.trust.device_profile import BankProtection, CounterModel
from pki.trust.device_view import View
from pki.trust.sets import Domain
from pki.trust.targets import SHA256, Digest
from tests.pki.trust.devices import (
    GENESIS,
    GENESIS_MESSAGE,
    IDENTITY,
    NEXT,
    NEXT_MESSAGE,
    PROFILE,
    PowerCutError,
    born,
    cut_after,
)
from tests.pki.trust.fleets import MANIFEST, ROOTS, genesis, sign
from tests.pki.trust.messages import deny_list

PROTECTIONS = list(BankProtection)


def device_with(protection: BankProtection) -> Device:
    return born(msgspec.structs.replace(PROFILE, bank_protection=protection))


def with_banks(device: Device, *banks: bytes) -> View:
    memory = msgspec.structs.replace(device.memory, banks=(*banks, b"", b"", b"")[:3])
    return View(device.hardware.profile, device.hardware.identity, memory)


@pytest.mark.parametrize("protection", PROTECTIONS)
def test_a2_what_was_stored_is_authentic(protection: BankProtection) -> None:
    device = device_with(protection)
    device.receive_sets([NEXT_MESSAGE])
    assert device.view.sets == (GENESIS, NEXT)


@pytest.mark.req("RO-10")
@pytest.mark.parametrize("protection", [BankProtection.DEVICE_MAC, BankProtection.HELD_DIGEST])
def test_a2_what_an_adversary_writes_is_not(protection: BankProtection) -> None:
    device = device_with(protection)
    stored = device.memory.banks[0]
    for bank in (NEXT_MESSAGE, b"t" * 32 + NEXT_MESSAGE, stored[:-1], stored + b"\0", b"", b"\0"):
        assert with_banks(device, bank).sets == ()
    assert with_banks(device, stored, NEXT_MESSAGE, b"t" * 32 + NEXT_MESSAGE).sets == (GENESIS,)
    assert with_banks(device, b"", stored).sets == (), "a bank is authentic in its own place"


@pytest.mark.parametrize("protection", PROTECTIONS)
@pytest.mark.parametrize("writes", range(3))
def test_a2_a_torn_bank_is_not_valid(protection: BankProtection, writes: int) -> None:
    device = device_with(protection)
    cut_after(device, writes)
    try:
        device.receive_sets([NEXT_MESSAGE])
    except PowerCutError:
        again = Device(device.hardware.profile, IDENTITY, device.memory)
        done = protection is not BankProtection.HELD_DIGEST and writes == 2
        assert again.view.sets == ((GENESIS, NEXT) if done else (GENESIS,))
    else:
        assert writes == 2
        assert protection is not BankProtection.HELD_DIGEST


def test_a2_a_set_of_another_fleet_or_no_set_at_all() -> None:
    foreign = sign(genesis(fleet=b"z" * 16), *ROOTS)
    assert with_banks(born(), foreign, b"garbage", GENESIS_MESSAGE).sets == (GENESIS,)


def test_without_a_set_there_is_no_newest() -> None:
    lost = with_banks(born())
    for name in ("newest", "current", "committed"):
        with pytest.raises(SetMissing):
            getattr(lost, name)


def test_a1_stride_and_base_are_taken_off() -> None:
    counters = {Domain.TRUST: CounterModel(capacity=9000, stride=8, base=7), Domain.APP: CounterModel(capacity=9)}
    device = born(msgspec.structs.replace(PROFILE, counters=counters))
    raised = msgspec.structs.replace(device.memory, counters=(7 + 8 + 7, 0, 3, 0, 0))
    now = View(device.hardware.profile, IDENTITY, raised)
    assert now.floors == {Domain.TRUST: 1, Domain.APP: 3}
    assert now.sets == ()


def test_a_commit_that_is_unfinished() -> None:
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    assert device.view.committed == GENESIS
    emptied = with_banks(device, NEXT_MESSAGE)
    assert emptied.current == NEXT
    assert emptied.committed is None


def test_the_deny_list_is_read_from_memory() -> None:
    device = born()
    assert device.view.denied == frozenset()
    device.receive_denials(sign(deny_list(digests=(Digest(SHA256, b"h" * 32),)), MANIFEST))
    assert device.view.denied == {b"h" * 32}
