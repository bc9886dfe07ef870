"""The means of the invariants: forks of a device, the sets that really count, messages bent in flight."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import msgspec

from pki.errors import PkiError
from pki.trust import cbor
from pki.trust.cose import Signature, SignMessage, encode_sign, parse_sign
from pki.trust.device import Device
from pki.trust.device_errors import BankPinned
from pki.trust.device_memory import Memory, Slot
from pki.trust.device_profile import BankProtection
from pki.trust.device_receive import choose_place
from pki.trust.rehearsal import Bundle, follow
from pki.trust.sets import Domain

if TYPE_CHECKING:
    from tests.scenarios.device_history import History
    from tests.scenarios.device_world import SignedSet


def fork(history: History, *, running: bool = False) -> Device:
    """A second device in the same state; with `running`, in the middle of the same run."""
    hardware = history.device.hardware
    device = Device(hardware.profile, hardware.identity, hardware.memory)
    if running:
        device.hardware.running, device.hardware.uptime = hardware.running, hardware.uptime
    return device


def replaced(memory: Memory, **changes: Any) -> Memory:
    return msgspec.structs.replace(memory, **changes)


def with_slot(device: Device, number: int, slot: Slot) -> Device:
    slots = tuple(slot if place == number else old for place, old in enumerate(device.memory.slots))
    return Device(device.hardware.profile, device.hardware.identity, replaced(device.memory, slots=slots))


def oracle_sets(history: History) -> list[SignedSet]:
    """The legitimate sets in banks that count, read from raw memory."""
    memory, profile = history.device.memory, history.profile
    model = profile.counters[Domain.TRUST]
    found = []
    for place, stored in enumerate(memory.banks):
        message = stored[32:] if profile.bank_protection is BankProtection.DEVICE_MAC else stored
        held = profile.bank_protection is not BankProtection.HELD_DIGEST or (
            memory.held[place] == hashlib.sha256(stored).digest()
        )
        known = history.world.sets.get(message)
        if known and known.legitimate and held:
            count = model.base + model.stride * (known.trust_set.index + 1)
            if memory.counters[Domain.TRUST] < count:
                found.append(known)
    return found


def outcome(device: Device, name: str, *arguments: Any, **options: Any) -> str:
    """The refusal's code, "" for acceptance."""
    try:
        getattr(device, name)(*arguments, **options)
    except PkiError as refusal:
        return refusal.code
    return ""


def compare(history: History, name: str, message: Any) -> tuple[str, Any]:
    """The verdict on a message in the present state, and what it leads to."""
    device = fork(history, running=True)
    verdict = outcome(device, name, message)
    return verdict, (device.view.sets, device.memory.counters, device.memory.slots)


def bent(message: Any, bend: Any) -> Any:
    return [bend(item) for item in message] if isinstance(message, list) else bend(message)


def write_cose(message: SignMessage, signatures: Iterable[Signature]) -> bytes:
    """A COSE_Sign with any signatures in kid order, repeated ones too, which the encoder refuses to write."""
    signers: list[cbor.Value] = [[item.protected, {}, item.value] for item in sorted(signatures)]
    return b"\xd8\x62" + cbor.encode([cbor.encode({16: message.typ}), {}, message.payload, signers])


def repeat_signatures(message: bytes) -> bytes:
    parsed = parse_sign(message)
    return write_cose(parsed, parsed.signatures * 3)


def add_garbage(message: bytes) -> bytes:
    parsed = parse_sign(message)
    return write_cose(
        parsed, (*parsed.signatures, Signature(b"\0" * 32, -7, b"x" * 64), Signature(b"\xff" * 32, -8, b""))
    )


def drop_signature(message: bytes) -> bytes:
    parsed = parse_sign(message)
    kept = parsed.signatures[1:] or (Signature(b"\0" * 32, -7, b"x" * 64),)
    return encode_sign(SignMessage(parsed.payload, parsed.typ, kept))


def home(device: Device, bundle: Bundle) -> str:
    try:
        follow(device, bundle)
    except PkiError as refusal:
        return f"{refusal.code}: {refusal.message}"
    return ""


def can_reach(device: Device, goal: SignedSet) -> bool:
    """Whether an honest server would send the head at once: no pending set in the way that a slot depends on."""
    try:
        choose_place(device.view, goal.trust_set)
    except BankPinned:
        return goal.trust_set in device.view.sets
    return True


def highest_floor(history: History) -> int:
    return history.device.view.floor(Domain.APP)
