"""Device rules, part A."""

from typing import Any

import msgspec
import pytest

from pki.errors import PkiError
from pki.formats.errors import ImageDigestMismatch, ImageKeyRefused, ImageMalformed, ImageSignatureUnknown
from pki.trust.device import Device
from pki.trust.device_boot import boots, check_slot, image_keys, manifest_of
from pki.trust.device_errors import BootloaderMismatch, FloorNotMet, ImageDenied, SlotEmpty, TargetMismatch
from pki.trust.device_memory import GOLDEN, Memory, Slot, Trial
from pki.trust.sets import Dates, Domain
from pki.trust.targets import SHA256, Digest, Range
from tests.pki.trust.devices import (
    GENESIS,
    NEW_IMAGE,
    NEXT_MESSAGE,
    PROFILE,
    TRANSITION,
    born,
    image,
    release,
)
from tests.pki.trust.fleets import IMAGE, MANIFEST, OTHER_CLASS, STRANGER, following, sign, target
from tests.pki.trust.messages import deny_list


def with_memory(device: Device, **changes: Any) -> Device:
    memory: Memory = msgspec.structs.replace(device.memory, **changes)
    return Device(device.hardware.profile, device.hardware.identity, memory)


def with_slots(first: Slot, second: Slot | None = None, **changes: Any) -> Device:
    return with_memory(born(), slots=(first, second or Slot()), **changes)


GOOD, OTHER = Slot(image(IMAGE)), Slot(image(IMAGE, version=(2, 4, 0, 0)))
BAD = Slot(image(STRANGER))


@pytest.mark.parametrize(
    ("slots", "active", "trial", "runs"),
    [
        ((GOOD, OTHER), 0, None, 0),
        ((GOOD, OTHER), 1, None, 1),
        ((GOOD, OTHER), 0, Trial(1, 1), 1),
        ((GOOD, OTHER), 0, Trial(1, 0), 0),
        ((GOOD, BAD), 0, Trial(1, 2), 0),
        ((BAD, GOOD), 0, None, 1),
        ((BAD, GOOD), 0, Trial(1, 0), 1),
        ((BAD, BAD), 0, None, GOLDEN),
        ((Slot(), Slot()), 0, Trial(1, 1), GOLDEN),
    ],
)
def test_a3_a5_a6_candidates_in_order(slots: tuple[Slot, Slot], active: int, trial: Trial | None, runs: int) -> None:
    device = with_slots(*slots, active=active, trial=trial)
    assert device.boot() == runs == device.running


def test_a5_a_trial_is_counted_before_the_jump() -> None:
    device = with_slots(GOOD, OTHER, trial=Trial(1, 2))
    tries = []
    for _ in range(4):
        running = device.boot()
        assert device.memory.trial is not None
        tries.append((running, device.memory.trial.tries))
    assert tries == [(1, 1), (1, 0), (0, 0), (0, 0)]
    assert device.memory.boots == born().memory.boots + 4


def test_a2_without_a_valid_bank_only_golden_runs() -> None:
    device = with_memory(born(), banks=(b"", b"garbage", b""))
    assert device.boot() == GOLDEN


def test_a1_a_set_below_the_floor_is_no_valid_set() -> None:
    assert with_memory(born(), counters=(7, 0, 0, 0, 0)).boot() == 0
    assert with_memory(born(), counters=(8, 0, 0, 0, 0)).boot() == GOLDEN


@pytest.mark.parametrize(
    ("slot", "kind"),
    [
        (Slot(), SlotEmpty),
        (Slot(b"garbage"), ImageMalformed),
        (Slot(image(STRANGER)), ImageSignatureUnknown),
        (Slot(image(MANIFEST)), ImageSignatureUnknown),
        (Slot(image(IMAGE, class_id=OTHER_CLASS)), TargetMismatch),
        (Slot(image(IMAGE)[:50] + b"X" + image(IMAGE)[51:]), ImageDigestMismatch),
    ],
    ids=["empty", "garbage", "stranger", "key of another role", "another class", "changed"],
)
def test_a4_what_an_image_must_be(slot: Slot, kind: type[PkiError]) -> None:
    with pytest.raises(kind):
        check_slot(with_slots(slot).view, 0)


def test_a4_the_role_decides_by_class() -> None:
    elsewhere = msgspec.structs.replace(PROFILE, class_id=OTHER_CLASS)
    assert image_keys(PROFILE, None, [GENESIS]) == {IMAGE.spki: IMAGE.kid}
    assert image_keys(elsewhere, None, [GENESIS]) == {}
    device = Device(elsewhere, born().hardware.identity, with_slots(Slot(image(IMAGE, class_id=OTHER_CLASS))).memory)
    with pytest.raises(ImageKeyRefused):
        check_slot(device.view, 0)


@pytest.mark.req("RO-6")
def test_a4_security_version_and_floor() -> None:
    counters = (0, 0, 2 * 8 + 7, 0, 0)
    with pytest.raises(FloorNotMet):
        check_slot(with_slots(GOOD, counters=counters).view, 0)
    assert boots(with_slots(Slot(image(IMAGE, security=2)), counters=counters).view, 0)


def test_a4_hardware_revision_and_bootloader_range_narrow() -> None:
    for changes, kind in (
        ({"target": target(revisions=((4, 9), (0, 2)))}, TargetMismatch),
        ({"bootloader": Range((1, 3), None)}, BootloaderMismatch),
        ({"bootloader": Range((1,), (1, 1, 9))}, BootloaderMismatch),
    ):
        made = release(GENESIS, IMAGE, **changes)
        with pytest.raises(kind):
            check_slot(with_slots(Slot(made.image, made.manifest)).view, 0)
        assert boots(with_slots(Slot(image(IMAGE, version=(2, 9, 0, 0)), made.manifest)).view, 0), "a foreign manifest"


def test_a4_a_denied_image_does_not_boot() -> None:
    device = with_slots(GOOD, OTHER)
    bootable = check_slot(device.view, 0)
    device.receive_denials(sign(deny_list(digests=(Digest(SHA256, bootable.image.digest),)), MANIFEST))
    with pytest.raises(ImageDenied):
        check_slot(device.view, 0)
    assert device.boot() == 1


def test_a4_says_which_keys_verify() -> None:
    device = born()
    assert check_slot(device.view, 0).kids == (IMAGE.kid,)
    device.receive_sets([NEXT_MESSAGE])
    dual = with_memory(device, slots=(Slot(TRANSITION.image, TRANSITION.manifest), GOOD))
    assert check_slot(dual.view, 0).kids == (NEW_IMAGE.kid, IMAGE.kid)
    assert check_slot(dual.view, 1).kids == (IMAGE.kid,)
    assert check_slot(dual.view, 0, [GENESIS]).kids == (IMAGE.kid,)


def test_a_manifest_belongs_to_its_image() -> None:
    made = release(GENESIS, IMAGE)
    found = manifest_of(Slot(made.image, made.manifest))
    assert found is not None
    assert found.component.security_version == 1
    assert manifest_of(Slot(made.image + b"x", made.manifest)) is None
    assert manifest_of(Slot(made.image, b"garbage")) is None
    assert manifest_of(Slot(made.image)) is None


@pytest.mark.parametrize("dates", [Dates(0, 1), Dates(1 << 40)])
def test_d15_old_and_future_sets_boot_alike(dates: Dates) -> None:
    from pki.trust.device_memory import blank
    from tests.pki.trust.fleets import ROOTS

    dated = following(GENESIS, dates=dates)
    memory = msgspec.structs.replace(blank(PROFILE), banks=(sign(dated, *ROOTS), b"", b""), slots=(GOOD, Slot()))
    assert Device(PROFILE, born().hardware.identity, memory).boot() == 0


def test_the_floor_of_a_missing_domain_is_zero() -> None:
    assert born().view.floor(Domain.CONFIG) == 0
