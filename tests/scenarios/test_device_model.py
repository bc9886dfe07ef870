"""The device model in random histories: every invariant D1 to D19 of the rotation rules, after every step.

KEDGE_HISTORIES says how many (1,000 unless told); `make soak` runs more. A failing history names its number, and is
the same in every run. The second half takes one rule away at a time and sees devices brick: the checks can fail.
"""

import os
from collections.abc import Callable

import pytest

from pki.trust import device_commit, device_floors, device_receive, links
from pki.trust.device import Device
from pki.trust.device_errors import BankPinned, FallbackMissing, SlotsUnready
from pki.trust.device_memory import GOLDEN
from pki.trust.device_profile import CounterModel
from tests.pki.trust.devices import (
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
    floor_raise,
    planned,
    release,
)
from tests.pki.trust.fleets import ROOTS, following, sign, soft_key
from tests.scenarios.device_checks import Checks
from tests.scenarios.device_history import History
from tests.scenarios.remembering import remember

HISTORIES = max(1, int(os.environ.get("KEDGE_HISTORIES", "1000")))
CHUNK = 100
INVARIANTS = {f"D{number}" for number in range(1, 20)}


@pytest.fixture(autouse=True)
def _remember_signatures(monkeypatch: pytest.MonkeyPatch) -> None:
    remember(monkeypatch)


def run(number: int, checks: Checks) -> None:
    try:
        History(number, checks).run()
    except AssertionError as broken:
        raise AssertionError(f"history {number}: {broken}") from broken


@pytest.mark.req("RO-1", "RO-6", "RO-7", "RO-10", "T34")
@pytest.mark.parametrize("first", range(0, HISTORIES, CHUNK))
def test_d1_to_d19_hold_in_random_histories(first: int) -> None:
    checks = Checks()
    for number in range(first, min(first + CHUNK, HISTORIES)):
        run(number, checks)
    if first + CHUNK <= HISTORIES:
        assert set(checks.done) == INVARIANTS, "an invariant was never put to the test"


# Each rule in turn is taken away; the histories must notice.


def nothing(*_: object) -> None:
    """A rule that always agrees."""


def no_slots(*_: object) -> list[int]:
    """A pin rule that pins nothing."""
    return []


MUTATIONS: dict[str, tuple[object, str, Callable[..., object], set[str]]] = {
    "the pin rule": (device_receive, "slots_depending_on", no_slots, {"D1", "D18"}),
    "the running image before the counter": (device_commit, "check_slot", nothing, {"D1", "D11"}),
    "the fallback before the counter": (device_commit, "prepare_other_slot", nothing, {"D1"}),
    "the minimum rule": (device_floors, "check_confirmed_slots", nothing, {"D1", "D11"}),
    "the reserve": (CounterModel, "check_reachable", nothing, {"D12"}),
    "the thresholds": (links, "require", nothing, {"D4"}),
}


@pytest.mark.parametrize("rule", MUTATIONS)
def test_without_a_rule_histories_break(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, instead, expected = MUTATIONS[rule]
    monkeypatch.setattr(owner, name, instead)
    for number in range(400):
        try:
            History(number, Checks()).run()
        except AssertionError as broken:
            assert str(broken).split()[0] in expected
            return
    pytest.fail(f"without {rule} 400 histories went well")


# The same by hand, so that a reader sees how a device bricks.


def both_slots_on_the_pending_set() -> Device:
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    alone = release(NEXT, NEW_IMAGE, version=(2, 4, 0, 0), sequence=2)
    device.install(alone.manifest, alone.image)
    device.boot()
    device.confirm()
    device.install(alone.manifest, alone.image, fallback=True)
    return device


@pytest.mark.parametrize("kept", [True, False], ids=["same image key", "another image key"])
def test_without_the_pin_rule_a_device_bricks(monkeypatch: pytest.MonkeyPatch, kept: bool) -> None:
    """Even when the new set has the same image key: the power fails while the bank is erased."""
    third = following(NEXT) if kept else planned(NEXT, soft_key(133))
    message = sign(third, *ROOTS)
    device = both_slots_on_the_pending_set()
    with pytest.raises(BankPinned):
        device.receive_sets([message])
    monkeypatch.setattr(device_receive, "slots_depending_on", no_slots)
    cut_after(device, 1 if kept else 2)
    if kept:
        with pytest.raises(PowerCutError):
            device.receive_sets([message])
    else:
        device.receive_sets([message])
    assert Device(PROFILE, IDENTITY, device.memory).boot() == GOLDEN


def test_a_counter_raised_before_the_fallback_leaves_one_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then one failed update, or one bad block, is a brick (Pixel, MCUboot)."""
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    device.install(TRANSITION.manifest, TRANSITION.image)
    device.boot()
    device.confirm()
    with pytest.raises(FallbackMissing):
        device.commit()
    assert Checks().bootable(device) == {0, 1}
    monkeypatch.setattr(device_commit, "prepare_other_slot", nothing)
    device.commit()
    assert Checks().bootable(device) == {1}


def test_without_the_minimum_rule_a_floor_bricks(monkeypatch: pytest.MonkeyPatch) -> None:
    device, message = born(), floor_raise(GENESIS, 0, 4)
    with pytest.raises(SlotsUnready):
        device.counter_update(message)
    monkeypatch.setattr(device_floors, "check_confirmed_slots", nothing)
    device.counter_update(message)
    assert device.boot() == GOLDEN
