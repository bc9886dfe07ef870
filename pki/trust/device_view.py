"""What a device derives from its memory: floors, valid banks, current and newest set (device rules A.1, A.2)."""

import hashlib
import hmac
from functools import cached_property, lru_cache

import msgspec

from pki.trust.cose import parse_sign
from pki.trust.denials import DenyList
from pki.trust.device_errors import SetMissing
from pki.trust.device_memory import BANKS, Hardware, Memory
from pki.trust.device_profile import BankProtection, ClassProfile, Identity
from pki.trust.errors import TrustError
from pki.trust.links import parse_set
from pki.trust.sets import Domain, TrustSet

_TAG = 32


class Bank(msgspec.Struct, frozen=True):
    """A valid bank: its place, 0 to 2, and the set in it."""

    place: int
    trust_set: TrustSet


class View(msgspec.Struct, frozen=True, dict=True):
    """A state of a device, interpreted. Nothing in it is stored: everything is derived from profile and memory."""

    profile: ClassProfile
    identity: Identity
    memory: Memory

    @property
    def floors(self) -> dict[Domain, int]:
        """A.1: the logical value of each counter of the class."""
        return {domain: model.value_of(self.memory.counters[domain]) for domain, model in self.profile.counters.items()}

    def floor(self, domain: Domain) -> int:
        """A.1: the logical value of one counter; 0 for a domain that the class does not have."""
        model = self.profile.counters.get(domain)
        return model.value_of(self.memory.counters[domain]) if model else 0

    @cached_property
    def banks(self) -> tuple[Bank, ...]:
        """A.2: authentic, parsed, of this fleet, index at or above the floor of counter 0; lowest index first."""
        floor = self.floor(Domain.TRUST)
        found = []
        for place in range(BANKS):
            message = self._open_bank(place)
            trust_set = _parse(message) if message else None
            if trust_set and trust_set.fleet == self.profile.fleet and trust_set.index >= floor:
                found.append(Bank(place, trust_set))
        return tuple(sorted(found, key=lambda bank: (bank.trust_set.index, bank.place)))

    @cached_property
    def sets(self) -> tuple[TrustSet, ...]:
        """The sets of the valid banks, lowest index first."""
        return tuple(bank.trust_set for bank in self.banks)

    @property
    def current(self) -> TrustSet:
        """The lowest valid set. Raises SetMissing."""
        return self._one(0)

    @property
    def newest(self) -> TrustSet:
        """The highest valid set, under which alone new installations are checked. Raises SetMissing."""
        return self._one(-1)

    @property
    def committed(self) -> TrustSet | None:
        """The set whose index the counter has; None while a commit is unfinished."""
        current = self.current
        return current if current.index == self.floor(Domain.TRUST) else None

    @cached_property
    def denied(self) -> frozenset[bytes]:
        """Digests that must not run; the list was verified when it was stored."""
        return _parse_denials(self.memory.denials) if self.memory.denials else frozenset()

    def _one(self, place: int) -> TrustSet:
        if not self.sets:
            raise SetMissing("no bank holds a valid trust set", hint="send the chain of sets to the golden image")
        return self.sets[place]

    def _open_bank(self, place: int) -> bytes:
        """The message in a bank; b"" when it is erased or not authentic."""
        stored = self.memory.banks[place]
        match self.profile.bank_protection:
            case BankProtection.BOOTLOADER_FLASH:
                return stored
            case BankProtection.HELD_DIGEST:
                return stored if hashlib.sha256(stored).digest() == self.memory.held[place] else b""
            case BankProtection.DEVICE_MAC:
                message = stored[_TAG:]
                return message if hmac.compare_digest(_tag(self.identity, place, message), stored[:_TAG]) else b""


def view(hardware: Hardware) -> View:
    """Interpret the present memory."""
    return View(hardware.profile, hardware.identity, hardware.memory)


def store_set(hardware: Hardware, place: int, message: bytes) -> None:
    """B.10: erase, write; the digest that secure element or TPM holds comes last and makes the bank valid.

    A cut leaves the bank invalid, or written: Boot sees the other banks either way.
    """
    protection = hardware.profile.bank_protection
    stored = _tag(hardware.identity, place, message) + message if protection is BankProtection.DEVICE_MAC else message
    hardware.write_bank(place, b"")
    hardware.write_bank(place, stored)
    if protection is BankProtection.HELD_DIGEST:
        hardware.write_held(place, hashlib.sha256(stored).digest())


def _tag(identity: Identity, place: int, message: bytes) -> bytes:
    """HMAC-SHA256 under the device-unique key; the place is covered, so that a bank cannot be copied to another."""
    return hmac.digest(identity.bank_key, bytes([place]) + message, "sha256")


def _parse(message: bytes) -> TrustSet | None:
    try:
        return parse_set(message)[0]
    except TrustError:
        return None


@lru_cache(maxsize=64)
def _parse_denials(message: bytes) -> frozenset[bytes]:
    digests = DenyList.from_payload(parse_sign(message).payload).digests
    return frozenset(digest.value for digest in digests)
