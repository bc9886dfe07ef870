import msgspec
import pytest

from pki.trust import device_commit
from pki.trust.device import Device
from pki.trust.device_memory import GOLDEN, Slot
from pki.trust.rehearsal import Bundle, Finding, Start, Verdict, follow, rehearse, runs, settle
from pki.trust.sets import RecoveryCommitment
from tests.pki.trust.devices import (
    GENESIS,
    IDENTITY,
    NEW_IMAGE,
    NEXT,
    NEXT_MESSAGE,
    PROFILE,
    TRANSITION,
    born,
    floor_raise,
    planned,
    release,
)
from tests.pki.trust.fleets import IMAGE, RECOVERY, ROOTS, STRANGER, recovering, sign, soft_key

BUNDLE = Bundle((NEXT_MESSAGE,), TRANSITION, TRANSITION, (floor_raise(NEXT, 0, 1, soak=60),), soak=60)


def starts() -> list[Start]:
    """Stable, with the set pending, on trial, confirmed, at the head, and with an empty flash."""
    states, device = [Start(IDENTITY, born().memory)], born()
    for step in (
        lambda: device.receive_sets([NEXT_MESSAGE]),
        lambda: device.install(TRANSITION.manifest, TRANSITION.image),
        device.boot,
        device.confirm,
        lambda: device.install(TRANSITION.manifest, TRANSITION.image, fallback=True),
        device.commit,
    ):
        step()
        states.append(Start(IDENTITY, device.memory))
    return [*states, Start(IDENTITY, Device.birth(PROFILE, IDENTITY, sign(GENESIS, *ROOTS)).memory)]


@pytest.mark.req("RO-5")
def test_s4_a_sound_bundle_from_every_state() -> None:
    verdict = rehearse(PROFILE, starts(), BUNDLE)
    assert verdict.findings == ()
    assert verdict.tried > 60
    assert verdict.sound


def test_s4_an_image_without_the_old_key_is_sound_too() -> None:
    """The pending set carries it; the pin rule keeps that set."""
    alone = release(NEXT, NEW_IMAGE, version=(2, 4, 0, 0), sequence=2)
    assert rehearse(PROFILE, [Start(IDENTITY, born().memory)], Bundle((NEXT_MESSAGE,), alone, alone)).sound


@pytest.mark.parametrize(
    ("bundle", "reason"),
    [
        (Bundle((NEXT_MESSAGE,), TRANSITION), "fallback-missing"),
        (Bundle((NEXT_MESSAGE,), release(NEXT, IMAGE, sequence=2), TRANSITION), "image-signature-unknown"),
        (Bundle((NEXT_MESSAGE,), release(NEXT, STRANGER, sequence=2), TRANSITION), "image-signature-unknown"),
        (Bundle((sign(NEXT, ROOTS[0]),), TRANSITION, TRANSITION), "threshold-not-met"),
        (msgspec.structs.replace(BUNDLE, counter_updates=(floor_raise(NEXT, 0, 2),)), "slots-unready"),
        (msgspec.structs.replace(BUNDLE, soak=0), "soak-unmet"),
    ],
    ids=["no fallback", "old key only", "stranger", "set", "floor", "soak"],
)
def test_s4_an_unsound_bundle_is_found(bundle: Bundle, reason: str) -> None:
    verdict = rehearse(PROFILE, [Start(IDENTITY, born().memory)], bundle)
    assert not verdict.sound
    assert verdict.findings[0].start == 0
    assert reason in verdict.findings[0].reason


def test_s4_a_brick_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rule book that raises the counter whatever the running image is signed with."""
    monkeypatch.setattr(device_commit, "check_slot", lambda *_: None)
    monkeypatch.setattr(device_commit, "prepare_other_slot", lambda *_: None)
    verdict = rehearse(PROFILE, [Start(IDENTITY, born().memory)], Bundle((NEXT_MESSAGE,)))
    assert any("golden" in finding.reason for finding in verdict.findings)


def test_a_rehearsal_of_nothing_proves_nothing() -> None:
    assert not rehearse(PROFILE, [], BUNDLE).sound
    assert not Verdict(1, (Finding(0, 0, "x"),)).sound


@pytest.mark.unmeasured
def test_recovery_from_a_pinned_device() -> None:
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    alone = release(NEXT, NEW_IMAGE, version=(2, 4, 0, 0), sequence=2)
    device.install(alone.manifest, alone.image)
    device.boot()
    fresh = recovering(GENESIS, recovery=RecoveryCommitment(1, (soft_key(118).kid,)))
    made = release(fresh, IMAGE, sequence=3)
    bundle = Bundle((sign(fresh, *ROOTS, *RECOVERY),), made, made)
    assert rehearse(PROFILE, [Start(IDENTITY, device.memory), Start(IDENTITY, born().memory)], bundle).sound


def test_follow_commits_a_pinned_set_first() -> None:
    device = born()
    follow(device, msgspec.structs.replace(BUNDLE, counter_updates=()))
    third = planned(NEXT, soft_key(133))
    device.receive_sets([sign(third, *ROOTS)])
    made = release(third, soft_key(133), sequence=3)
    for fallback in (False, True):
        device.install(made.manifest, made.image, fallback=fallback)
        device.boot()
        device.confirm()
    fourth = planned(third, soft_key(134))
    last = release(fourth, soft_key(134), sequence=4)
    follow(device, Bundle((sign(fourth, *ROOTS),), last, last))
    assert device.view.committed == fourth
    assert runs(device, last.image)


def test_settle_ends_a_trial() -> None:
    device = born()
    made = release(GENESIS, IMAGE, version=(2, 4, 0, 0), sequence=2)
    device.install(made.manifest, made.image)
    device.boot()
    settle(device)
    assert device.memory.active == 1
    stuck = born()
    stuck.install(made.manifest, made.image)
    stuck.receive_sets([NEXT_MESSAGE])
    stuck.boot()
    settle(stuck)
    assert stuck.running == 0


def test_runs_is_about_the_two_slots() -> None:
    device = Device(PROFILE, IDENTITY, msgspec.structs.replace(born().memory, slots=(Slot(), Slot())))
    device.boot()
    assert device.running == GOLDEN
    assert not runs(device, b"")
