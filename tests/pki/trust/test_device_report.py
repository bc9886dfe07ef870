"""Device rules, part F."""

import hashlib
from typing import Any

import msgspec
import pytest

from pki.errors import SignatureInvalid
from pki.trust.challenges import Challenge
from pki.trust.device import Device
from pki.trust.device_errors import SetMissing
from pki.trust.device_memory import GOLDEN, Slot
from pki.trust.device_report import PROFILE as EAT_PROFILE
from pki.trust.device_report import SlotState
from pki.trust.errors import ThresholdNotMet
from pki.trust.receipts import CounterReading, ReceiptClaims, State, draft_receipt, verify_receipt
from pki.trust.sets import Domain
from tests.pki.trust.devices import (
    FIRST,
    GENESIS,
    IDENTITY,
    NEW_IMAGE,
    NEXT,
    NEXT_MESSAGE,
    PROFILE,
    TRANSITION,
    born,
    refused,
)
from tests.pki.trust.fleets import CAMPAIGN, DIRECTOR, FLEET, IMAGE, MANIFEST, STRANGER, finish, sign, sign1
from tests.pki.trust.messages import DEVICE, manifest


def challenge(**changes: Any) -> bytes:
    return sign1(msgspec.structs.replace(Challenge(FLEET, b"n" * 32, CAMPAIGN), **changes), DIRECTOR)


def moved() -> Device:
    device = born()
    device.receive_sets([NEXT_MESSAGE])
    device.install(TRANSITION.manifest, TRANSITION.image)
    device.boot()
    return device


def test_a_receipt_verifies_under_the_identity_key() -> None:
    claims = born().receipt(challenge())
    message = finish(draft_receipt(DEVICE.spki, claims), DEVICE)
    assert verify_receipt(DEVICE.spki, message, nonce=b"n" * 32) == claims
    assert ReceiptClaims.from_payload(claims.to_payload()) == claims


def test_what_a_stable_device_says() -> None:
    device = born()
    claims = device.receipt(challenge())
    assert (claims.trust.current, claims.trust.pending, claims.trust.state) == (GENESIS.ref, None, State.STABLE)
    assert claims.trust.recovery_hash == GENESIS.recovery_hash
    assert claims.counters == {
        Domain.TRUST: CounterReading(0, 0, 2_097_151),
        Domain.APP: CounterReading(0, 0, 2_097_151),
    }
    first, golden = claims.slots
    assert (first.slot, first.image_sha256) == (0, hashlib.sha256(FIRST.image).digest())
    assert (first.security_version, first.keys, first.state) == (1, (IMAGE.kid,), SlotState.CONFIRMED)
    assert (first.version, first.manifest_id) == ((2, 3, 0, 0), b"m" * 16)
    assert (golden.slot, golden.image_sha256, golden.state) == (GOLDEN, IDENTITY.golden, SlotState.CONFIRMED)
    assert (claims.ueid, claims.bootcount, claims.profile) == (IDENTITY.ueid, 1, EAT_PROFILE)
    assert claims.campaign.campaign == CAMPAIGN


def test_states_on_the_way() -> None:
    device = moved()
    trial = device.receipt(challenge())
    assert (trial.trust.state, trial.trust.pending) == (State.TRIAL_RUNNING, NEXT.ref)
    assert [(slot.state, slot.keys) for slot in trial.slots[:2]] == [
        (SlotState.CONFIRMED, (IMAGE.kid,)),
        (SlotState.TRIAL, (NEW_IMAGE.kid, IMAGE.kid)),
    ]
    device.confirm()
    assert device.receipt(challenge()).trust.state is State.PENDING
    device.install(TRANSITION.manifest, TRANSITION.image, fallback=True)
    device.commit()
    done = device.receipt(challenge())
    assert (done.trust.current, done.trust.state, done.trust.pending) == (NEXT.ref, State.STABLE, None)
    assert {slot.keys for slot in done.slots[:2]} == {(NEW_IMAGE.kid,)}, "no slot depends on the leaving key"


def test_a_broken_slot_and_a_device_on_golden() -> None:
    device = Device(PROFILE, IDENTITY, msgspec.structs.replace(born().memory, slots=(Slot(b"garbage"), Slot())))
    device.boot()
    claims = device.receipt(challenge())
    assert claims.trust.state is State.FAILED
    assert claims.slots[0].state == SlotState.REFUSED


def test_receipts_are_chained() -> None:
    device = born()
    first, second = device.receipt(challenge()), device.receipt(challenge())
    assert (first.campaign.sequence, first.campaign.previous) == (1, None)
    assert (second.campaign.sequence, second.campaign.previous) == (2, first.payload_sha256)


@pytest.mark.req("T35")
def test_only_the_director_asks() -> None:
    device = born()
    stranger = sign1(Challenge(FLEET, b"n" * 32, CAMPAIGN), STRANGER)
    refused(device, ThresholdNotMet, lambda: device.receipt(stranger))
    refused(device, SignatureInvalid, lambda: device.receipt(challenge()[:-64] + b"\1" * 64))
    lost = Device(PROFILE, IDENTITY, msgspec.structs.replace(device.memory, banks=(b"",) * 3))
    refused(lost, SetMissing, lambda: lost.receipt(challenge()))


@pytest.mark.parametrize(("signer", "rejected"), [(MANIFEST, False), (STRANGER, True)])
def test_the_canary_is_judged_and_not_installed(signer: Any, rejected: bool) -> None:
    device, payload = born(), manifest()
    slots = device.memory.slots
    claims = device.receipt(challenge(canary=sign(payload, signer)))
    assert claims.canary is not None
    assert (claims.canary.digest, claims.canary.rejected) == (payload.payload_sha256, rejected)
    assert device.memory.slots == slots
