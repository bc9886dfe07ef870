"""Receiving trust sets and deny lists: device rules, part B."""

from collections.abc import Sequence
from itertools import takewhile

from msgspec.structs import replace

from pki.trust.cose import parse_sign
from pki.trust.denials import DenyList, verify_deny_list
from pki.trust.device_boot import boots
from pki.trust.device_errors import (
    BankPinned,
    ChainDetached,
    ImageDenied,
    SequenceStale,
    SetOutranked,
    TargetMismatch,
    WriteFailed,
)
from pki.trust.device_memory import BANKS, GOLDEN, Hardware
from pki.trust.device_view import Bank, View, store_set, view
from pki.trust.errors import FleetMismatch, SetMalformed
from pki.trust.links import MAX_CHAIN, parse_set, verify_chain, verify_genesis
from pki.trust.sets import Domain, Kind, TrustSet


def receive_sets(hardware: Hardware, messages: Sequence[bytes]) -> TrustSet:
    """Verify a chain of sets and store its last one; returns the newest set that the device then holds.

    1. Size of messages and chain. 2. Strict CBOR, typ, fleet. 3. Start from the stored set that the first new link
    follows; the newest of several. 4 to 7. Each link (`pki.trust.links.verify_link`). 8. Any failure raises and the
    state is as before. 9. The bank, by generation and the pin rule. 10. Erase, write, read back.
    Sets that the device has, or has left behind, are passed over; a chain with nothing new changes nothing.
    """
    now = view(hardware)
    if len(messages) > MAX_CHAIN:  # 1
        raise SetMalformed(f"chain has {len(messages)} sets, {MAX_CHAIN} are allowed")
    parsed = [parse_set(message)[0] for message in messages]  # 1, 2
    if any(trust_set.fleet != hardware.profile.fleet for trust_set in parsed):
        raise FleetMismatch("trust set is for another fleet")
    known = _count_known(now, parsed)
    if known == len(parsed):
        return now.newest
    new = _verify_new(now, parsed[known], messages[known:])  # 3 to 8
    if now.sets and new.index <= now.newest.index:
        if new in now.sets:
            return now.newest
        raise SetOutranked(f"set ({new.generation}, {new.epoch}) is not above the newest stored set")
    hardware.profile.counters[Domain.TRUST].check_reachable(new.index)
    store_set(hardware, choose_place(now, new), messages[-1])  # 9, 10
    if view(hardware).newest != new:
        raise WriteFailed("the trust set does not read back", hint="send the chain again")
    return new


def choose_place(now: View, new: TrustSet) -> int:
    """B.9: a bank for a new set, so that one bank stays free for a recovery generation.

    A free bank when there are two, or when the set opens a generation; else the bank of the set that it supersedes.
    Raises BankPinned when a slot depends on that one.
    """
    free = [place for place in range(BANKS) if place not in {bank.place for bank in now.banks}]
    if free and (len(now.banks) <= 1 or new.generation > now.newest.generation):
        return free[0]
    later = now.banks[1:]
    for bank in [bank for bank in later if bank.trust_set.generation == new.generation] or later:
        if not slots_depending_on(now, bank):
            return bank.place
    raise BankPinned("a slot depends on the pending set", hint="commit it, or install another image, then send again")


def slots_depending_on(now: View, bank: Bank) -> list[int]:
    """The pin rule: slots that boot now and would not while this bank is erased."""
    others = [other.trust_set for other in now.banks if other != bank]
    return [slot for slot in range(GOLDEN) if boots(now, slot) and not boots(now, slot, others)]


def receive_denials(hardware: Hardware, message: bytes) -> DenyList:
    """Verify a deny list under the newest set and store it in place of the one before.

    One that would leave the device without a slot is refused: install another image first.
    """
    now = view(hardware)
    denials = verify_deny_list(now.newest, message, class_id=hardware.profile.class_id)
    last = now.memory.denials
    if last:
        before = DenyList.from_payload(parse_sign(last).payload)
        if (denials.set_ref.index, denials.sequence) <= (before.set_ref.index, before.sequence):
            raise SequenceStale(f"deny list {denials.sequence} is not above the stored one")
    after = View(now.profile, now.identity, replace(now.memory, denials=message))
    if any(boots(now, slot) for slot in range(GOLDEN)) and not any(boots(after, slot) for slot in range(GOLDEN)):
        raise ImageDenied("the list denies every image that this device could start", hint="install another one first")
    hardware.write(denials=message)
    return denials


def _count_known(now: View, sets: Sequence[TrustSet]) -> int:
    """How many sets at the head of a chain are passed over: up to the last one stored here, or those left behind."""
    stored = [place for place, trust_set in enumerate(sets) if trust_set in now.sets]
    if stored:
        return stored[-1] + 1
    return sum(1 for _ in takewhile(lambda item: now.sets and item.index < now.current.index, sets))


def _verify_new(now: View, first: TrustSet, messages: Sequence[bytes]) -> TrustSet:
    if not now.sets:
        return _verify_from_genesis(now, messages)
    for start in reversed(now.sets):  # 3
        recovers = first.kind is Kind.RECOVERY and first.generation == start.generation + 1
        if recovers or first.previous == start.payload_sha256:
            return verify_chain(start, messages)  # 4 to 7
    raise ChainDetached(
        f"set ({first.generation}, {first.epoch}) follows none of the stored sets",
        hint="send the chain from further back",
    )


def _verify_from_genesis(now: View, messages: Sequence[bytes]) -> TrustSet:
    """Without a valid bank the golden image starts from the genesis set that the device was born with."""
    genesis = verify_genesis(messages[0])
    if genesis.payload_sha256 != now.identity.genesis:
        raise TargetMismatch("the chain starts at another genesis set", hint="send the chain of this fleet")
    new = verify_chain(genesis, messages[1:])
    if new.index < now.floor(Domain.TRUST):
        raise SetOutranked(f"set ({new.generation}, {new.epoch}) is below the floor", hint="send the whole chain")
    return new
