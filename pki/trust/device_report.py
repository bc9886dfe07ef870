"""What a device says of itself: device rules, part F. The identity key signs it outside the model."""

import enum
import hashlib

from pki.errors import PkiError
from pki.trust.challenges import Challenge, verify_challenge
from pki.trust.cose import parse_sign
from pki.trust.device_boot import check_slot
from pki.trust.device_memory import GOLDEN, Hardware
from pki.trust.device_view import View, view
from pki.trust.errors import TrustError
from pki.trust.manifests import verify_manifest
from pki.trust.receipts import (
    CampaignReport,
    Canary,
    CounterReading,
    ReceiptClaims,
    SlotReport,
    State,
    TrustReport,
)
from pki.trust.sets import Domain

PROFILE = "tag:kedge,2026:receipt"
_DEBUG_DISABLED = 3  # disabled-permanently (RFC 9711 section 4.2.9)


class SlotState(enum.IntEnum):
    """What a receipt says of a slot."""

    CONFIRMED = 0
    TRIAL = 1
    UNPROVEN = 2
    REFUSED = 3


def report(hardware: Hardware, message: bytes) -> ReceiptClaims:
    """Answer a director's challenge with claims, each naming the receipt before it.

    The one write comes first: a cut after it costs a number in the sequence, and no two receipts share one.
    """
    now = view(hardware)
    challenge = verify_challenge(now.newest, message, class_id=now.profile.class_id)
    memory = now.memory
    claims = ReceiptClaims(
        nonce=challenge.nonce,
        ueid=now.identity.ueid,
        oemid=now.profile.vendor_id,
        hwmodel=now.profile.class_id,
        hwversion=str(now.profile.hardware_revision),
        dbgstat=_DEBUG_DISABLED,
        profile=PROFILE,
        bootcount=memory.boots,
        trust=_report_trust(hardware, now),
        counters=_report_counters(now),
        slots=_report_slots(now),
        campaign=CampaignReport(challenge.campaign, memory.receipts + 1, 0, previous=memory.last_receipt or None),
        canary=_try_canary(now, challenge),
    )
    hardware.write(receipts=memory.receipts + 1, last_receipt=claims.payload_sha256)
    return claims


def _report_trust(hardware: Hardware, now: View) -> TrustReport:
    current, newest, trial = now.current, now.newest, now.memory.trial
    if hardware.running in (None, GOLDEN):
        state = State.FAILED
    elif trial and trial.slot == hardware.running:
        state = State.TRIAL_RUNNING
    else:
        state = State.STABLE if newest == now.committed else State.PENDING
    return TrustReport(current.ref, state, newest.ref if newest != current else None, current.recovery_hash)


def _report_counters(now: View) -> dict[Domain, CounterReading]:
    counts, models = now.memory.counters, now.profile.counters
    return {
        domain: CounterReading(now.floor(domain), counts[domain], models[domain].left(counts[domain]))
        for domain in models
    }


def _report_slots(now: View) -> tuple[SlotReport, ...]:
    golden = SlotReport(GOLDEN, now.identity.golden, 0, (), int(SlotState.CONFIRMED))
    return (*(_report_slot(now, number) for number in range(GOLDEN) if now.memory.slots[number].image), golden)


def _report_slot(now: View, number: int) -> SlotReport:
    slot, trial = now.memory.slots[number], now.memory.trial
    image_sha256 = hashlib.sha256(slot.image).digest()
    try:
        found = check_slot(now, number)
    except PkiError:
        return SlotReport(number, image_sha256, 0, (), int(SlotState.REFUSED))
    state = SlotState.CONFIRMED if slot.confirmed else SlotState.UNPROVEN
    return SlotReport(
        number,
        image_sha256,
        found.image.security_counter,
        found.kids,
        int(SlotState.TRIAL if trial and trial.slot == number else state),
        version=found.image.version,
        manifest_id=found.manifest.manifest_id if found.manifest else None,
    )


def _try_canary(now: View, challenge: Challenge) -> Canary | None:
    """C.1 on a manifest that the leaving keys signed: it should be rejected, and is never installed."""
    if challenge.canary is None:
        return None
    digest = hashlib.sha256(parse_sign(challenge.canary).payload).digest()
    try:
        verify_manifest(now.newest, challenge.canary)
    except TrustError:
        return Canary(digest, rejected=True)
    return Canary(digest, rejected=False)
