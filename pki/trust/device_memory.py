"""A device's memory: the non-volatile state, changed one atomic write at a time, and the few volatile registers.

Every state is a value. A simulator passes `store` to see each write and to cut the power at it; whatever state that
leaves, Boot can interpret.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from pki.trust.device_profile import DOMAINS, ClassProfile, Identity
from pki.trust.sets import Domain

BANKS = 3
GOLDEN = 2  # the number of the golden image, after slots A (0) and B (1)


class Slot(msgspec.Struct, frozen=True):
    """An image and its manifest in external flash, and the bootloader's image_ok flag. No flag decides trust."""

    image: bytes = b""
    manifest: bytes = b""
    confirmed: bool = False


class Trial(msgspec.Struct, frozen=True):
    """The slot on trial and the boots that it still gets."""

    slot: int
    tries: int


class UpdateMark(msgspec.Struct, frozen=True):
    """The last counter update: set index and sequence, and the payload's hash, so that a cut one can go on."""

    index: int
    sequence: int
    hash: bytes


class Memory(msgspec.Struct, frozen=True):
    """All that survives a power cut. Slots lie in external flash, which an adversary may write; the rest is protected.

    banks: stored trust sets, b"" when erased. held: digests of the banks in secure element or TPM.
    counters: raw hardware counts by domain. active: the slot confirmed last. denials: the deny list's signed bytes.
    receipts: how many were made; last_receipt: SHA-256 of the last one's payload, b"" before the first.
    """

    banks: tuple[bytes, ...]
    held: tuple[bytes, ...]
    slots: tuple[Slot, ...]
    counters: tuple[int, ...]
    active: int = 0
    trial: Trial | None = None
    boots: int = 0
    denials: bytes = b""
    update: UpdateMark | None = None
    receipts: int = 0
    last_receipt: bytes = b""


_T = TypeVar("_T")
Store = Callable[[Memory, Memory], Memory]


def keep(_before: Memory, after: Memory) -> Memory:
    """The store of a device whose power does not fail: what was written is there."""
    return after


class Hardware:
    """Memory with its one way to write, and what the last boot left in RAM.

    running: 0, 1 or GOLDEN; None before the first boot. uptime: seconds since the running image was started.
    """

    def __init__(self, profile: ClassProfile, identity: Identity, memory: Memory, store: Store = keep) -> None:
        self.profile = profile
        self.identity = identity
        self.memory = memory
        self.store = store
        self.running: int | None = None
        self.uptime = 0

    def write(self, **changes: Any) -> None:
        """One atomic write. `store` may raise to cut the power, before or instead of it."""
        self.memory = self.store(self.memory, msgspec.structs.replace(self.memory, **changes))

    def write_bank(self, place: int, stored: bytes) -> None:
        """Write, or erase with b"", one bank."""
        self.write(banks=_with(self.memory.banks, place, stored))

    def write_held(self, place: int, digest: bytes) -> None:
        """Write the digest that secure element or TPM holds for one bank."""
        self.write(held=_with(self.memory.held, place, digest))

    def write_slot(self, number: int, slot: Slot) -> None:
        """Write, or erase with Slot(), one slot."""
        self.write(slots=_with(self.memory.slots, number, slot))

    def count(self, domain: Domain) -> None:
        """One count of a hardware counter; there is no way down."""
        self.write(counters=_with(self.memory.counters, domain, self.memory.counters[domain] + 1))


def blank(profile: ClassProfile) -> Memory:
    """The memory of a device before its birth: banks and slots erased, counters at their base."""
    bases = {domain: model.base for domain, model in profile.counters.items()}
    return Memory(
        banks=(b"",) * BANKS,
        held=(b"",) * BANKS,
        slots=(Slot(), Slot()),
        counters=tuple(bases.get(Domain(number), 0) for number in range(DOMAINS)),
    )


def _with(values: tuple[_T, ...], place: int, value: _T) -> tuple[_T, ...]:
    return (*values[:place], value, *values[place + 1 :])
