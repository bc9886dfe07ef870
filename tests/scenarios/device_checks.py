"""The invariants D1 to D19 of the rotation rules, each a function that carries its number.

The oracle reads banks and counters from raw memory and knows who signed what, because it signed everything; it shares
no rule with the device.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from pki.trust.device import Device
from pki.trust.device_boot import boots
from pki.trust.device_errors import BankPinned
from pki.trust.device_memory import BANKS, GOLDEN, Memory, Slot
from pki.trust.device_view import View
from pki.trust.rehearsal import Bundle
from pki.trust.sets import Domain, Kind
from tests.pki.trust.fleets import OTHER_CLASS, target
from tests.scenarios.device_oracle import (
    add_garbage,
    bent,
    can_reach,
    compare,
    drop_signature,
    fork,
    highest_floor,
    home,
    oracle_sets,
    outcome,
    repeat_signatures,
    replaced,
    with_slot,
)

if TYPE_CHECKING:
    from tests.scenarios.device_history import History
    from tests.scenarios.device_world import SignedSet


class Checks:
    """Raises AssertionError with the invariant's number; `done` counts how often each was put to the test."""

    def __init__(self) -> None:
        self.done: Counter[str] = Counter()

    def that(self, number: str, holds: bool, history: History, note: str = "") -> None:
        self.done[number] += 1
        assert holds, f"{number} {note}: {' '.join(history.trail[-30:])}"

    # When they are asked

    def standing(self, history: History) -> None:
        """After every step, in whatever state the device is."""
        self.d2_nothing_boots_on_leaving_keys_after_commit(history)
        self.d4_accepted_keys_come_from_linked_banks(history)
        self.d11_floor_is_satisfied_by_confirmed_slots(history)
        self.d12_the_reserve_is_not_consumed(history)
        self.d15_no_boot_verdict_depends_on_the_clock(history)
        self.d16_overshoot_does_not_invalidate_the_current_set(history)
        self.d17_recovery_commitment_needs_recovery_signatures(history)
        self.d19_only_accepted_keys_boot(history)

    def progress(self, history: History, name: str, before: Memory, slots: set[int]) -> None:
        """After an operation that began with memory `before`, when `slots` could boot."""
        self.d1_some_slot_boots(history, slots)
        self.d1_a_planned_commit_leaves_two_slots(history, before)
        self.d3_nothing_decreases(history, before)
        if name == "receive_sets":
            self.d18_no_slot_loses_its_set(history, slots)

    def accepted(self, history: History, name: str, arguments: tuple[Any, ...], options: dict[str, Any]) -> None:
        """After an operation that was accepted, uncut."""
        self.d6_replay_changes_nothing(history, name, arguments, options)

    def signatures(self, history: History, name: str, message: Any) -> None:
        """Before a signed message is sent."""
        self.d8_a_repeated_signature_changes_no_verdict(history, name, message)
        self.d9_fewer_signatures_never_help(history, name, message)

    def chunking(self, history: History, messages: list[bytes]) -> None:
        """Of a chain on the line that the device is on; on a thief's line the parts have nothing to follow."""
        line = [item.trust_set for item in history.world.chain]
        sets = history.device.view.sets
        if len(messages) > 1 and sets and all(item in line for item in sets):
            self.d5_chunking_changes_nothing(history, messages)

    def homecoming(self, history: History) -> None:
        """At the end of a history."""
        if history.world.root_stolen:
            self.d13_one_recovery_set_brings_home(history)
        else:
            self.d14_an_honest_server_brings_it_to_the_head(history)

    # D1 to D19

    def d1_some_slot_boots(self, history: History, slots: set[int]) -> None:
        """No operation and no power cut leaves a device that could start a slot with the golden image alone."""
        if slots:
            self.that("D1", fork(history).boot() != GOLDEN, history, "only golden boots")

    def d1_a_planned_commit_leaves_two_slots(self, history: History, before: Memory) -> None:
        """Counter 0 never rises before the fallback can boot, but in an emergency, which gives the other slot up."""
        device = history.device
        rose = before.counters[Domain.TRUST] < device.memory.counters[Domain.TRUST]
        if rose and device.view.newest.kind is Kind.PLANNED and not history.touched:
            self.that("D1", self.bootable(device) == {0, 1}, history, "committed without a fallback")

    def d2_nothing_boots_on_leaving_keys_after_commit(self, history: History) -> None:
        accepted = oracle_sets(history)
        if len(accepted) != 1:
            return
        kids = {accepted[0].keys.image.kid}
        for image in history.rng.sample(list(history.world.images), min(3, len(history.world.images))):
            now = with_slot(history.device, 0, Slot(image)).view
            known = history.world.images[image].kids & kids
            self.that("D2", bool(known) or not boots(now, 0), history, "boots on leaving keys")

    def d3_nothing_decreases(self, history: History, before: Memory) -> None:
        after = history.device.memory
        rises = all(a <= b for a, b in zip(before.counters, after.counters, strict=True))
        self.that("D3", rises and before.receipts <= after.receipts and before.boots <= after.boots, history)

    def d4_accepted_keys_come_from_linked_banks(self, history: History) -> None:
        oracle = {item.trust_set.payload_sha256 for item in oracle_sets(history)}
        found = history.device.view.sets
        linked = all(item.payload_sha256 in oracle for item in found)
        self.that("D4", linked and len(found) <= BANKS, history, "a bank is not linked to genesis")

    def d5_chunking_changes_nothing(self, history: History, messages: list[bytes]) -> None:
        whole, parts = fork(history), fork(history)
        at = history.rng.randrange(1, len(messages))
        verdict = outcome(whole, "receive_sets", messages)
        verdicts = [outcome(parts, "receive_sets", messages[:at]), outcome(parts, "receive_sets", messages[at:])]
        if BankPinned.code in (verdict, *verdicts):
            return
        if verdict == "":
            self.that("D5", whole.view.newest == parts.view.newest, history, f"{verdicts}")

    def d6_replay_changes_nothing(
        self, history: History, name: str, arguments: tuple[Any, ...], options: dict[str, Any]
    ) -> None:
        again = fork(history, running=True)
        verdict = outcome(again, name, *arguments, **options)
        self.that("D6", again.memory == history.device.memory, history, f"{name} again: {verdict}")

    def d7_a_rejected_message_changes_nothing(self, history: History, before: Memory) -> None:
        self.that("D7", history.device.memory == before, history, "a refusal changed memory")

    def d8_a_repeated_signature_changes_no_verdict(self, history: History, name: str, message: Any) -> None:
        verdicts = [compare(history, name, changed) for changed in (message, bent(message, repeat_signatures))]
        self.that("D8", verdicts[0] == verdicts[1], history, f"{name}: {verdicts}")

    def d9_fewer_signatures_never_help(self, history: History, name: str, message: Any) -> None:
        plain = compare(history, name, message)
        noisy = compare(history, name, bent(message, add_garbage))
        self.that("D9", plain == noisy, history, "garbage changed a verdict")
        fewer = compare(history, name, bent(message, drop_signature))
        self.that("D9", not (plain[0] and not fewer[0]), history, "a removed signature made it acceptable")

    def d10_messages_for_others_change_nothing(self, history: History, before: Memory) -> None:
        self.that("D10", history.device.memory == before, history, "a message for others was taken")

    def foreign_targets(self) -> list[dict[str, Any]]:
        """Changes that address a manifest to somebody else."""
        return [
            {"target": target(class_id=OTHER_CLASS)},
            {"target": target(vendor=b"x" * 16)},
            {"target": target(revisions=((4, 9),))},
            {"target": target(devices=(b"\1" * 33,))},
            {"target": target(sites=(b"y" * 16,))},
            {"target": target(regions=("US",))},
            {"fleet": b"z" * 16},
        ]

    def d11_floor_is_satisfied_by_confirmed_slots(self, history: History) -> None:
        """But for slots that an adversary has written since."""
        model = history.profile.counters[Domain.APP]
        floor = (history.device.memory.counters[Domain.APP] - model.base) // model.stride
        for number, slot in enumerate(history.device.memory.slots):
            if slot.confirmed and slot.image and number not in history.touched:
                made = history.world.images.get(slot.image)
                kept = made is not None and made.security >= floor
                self.that("D11", kept, history, f"confirmed slot {number} is left behind")

    def d12_the_reserve_is_not_consumed(self, history: History) -> None:
        model = history.profile.counters[Domain.APP]
        values = (model.capacity - model.base) // model.stride
        used = (history.device.memory.counters[Domain.APP] - model.base) // model.stride
        self.that("D12", used <= values * 3 // 4, history, f"{used} of {values} used")

    def d13_one_recovery_set_brings_home(self, history: History) -> None:
        world = history.world
        recovery = world.rotate(Kind.RECOVERY)
        release = world.release(recovery, recovery.keys.image, security=highest_floor(history))
        sets = tuple(item.message for item in world.chain)
        device = fork(history)
        reason = home(device, Bundle(sets if not device.view.sets else sets[-1:], release, release))
        arrived = not reason and device.view.committed == recovery.trust_set and device.boot() != GOLDEN
        self.that("D13", arrived, history, f"did not come home: {reason}")

    def d14_an_honest_server_brings_it_to_the_head(self, history: History) -> None:
        world, device = history.world, fork(history)
        reasons = []
        for _ in range(2):
            under = history.on_device() if device.memory.boots == 0 else self._newest_of(history, device)
            goal = world.head if can_reach(device, world.head) else under
            release = world.release(goal, goal.keys.image, security=highest_floor(history))
            place = next(number for number, item in enumerate(world.chain) if item.trust_set == goal.trust_set)
            sets = tuple(item.message for item in world.chain[: place + 1])
            reasons.append(home(device, Bundle(sets, release, release)))
        arrived = device.view.committed == world.head.trust_set and device.boot() != GOLDEN
        self.that("D14", arrived, history, f"two rounds: {reasons}")

    def d15_no_boot_verdict_depends_on_the_clock(self, history: History) -> None:
        """Boot has no clock to ask; sets are issued in 1970 and in the year 36812 (`World`), and uptime is no input."""
        device = fork(history)
        first = device.boot()
        device.run(1 << 40)
        self.that("D15", device.boot() == first or device.memory.trial is not None, history)

    def d16_overshoot_does_not_invalidate_the_current_set(self, history: History) -> None:
        device, model = history.device, history.profile.counters[Domain.TRUST]
        raw = device.memory.counters[Domain.TRUST]
        room = model.stride - 1 - (raw - model.base) % model.stride
        counters = (raw + room, *device.memory.counters[1:])
        after = View(device.hardware.profile, device.hardware.identity, replaced(device.memory, counters=counters))
        self.that("D16", after.sets == device.view.sets, history, "overshoot invalidates a set")

    def d17_recovery_commitment_needs_recovery_signatures(self, history: History) -> None:
        honest = {item.trust_set.generation: item.trust_set.recovery for item in history.world.chain}
        kept = all(item.recovery == honest[item.generation] for item in history.device.view.sets)
        self.that("D17", kept, history, "the recovery commitment was evicted")

    def d18_no_slot_loses_its_set(self, history: History, slots: set[int]) -> None:
        self.that("D18", slots <= self.bootable(history.device), history, "a slot lost the set it depends on")

    def d19_only_accepted_keys_boot(self, history: History) -> None:
        device = fork(history)
        running = device.boot()
        if running == GOLDEN:
            return
        kids = {item.keys.image.kid for item in oracle_sets(history)}
        made = history.world.images.get(device.memory.slots[running].image)
        self.that(
            "D19", made is not None and bool(kids & made.kids), history, "an image outside the accepted keys boots"
        )

    def bootable(self, device: Device) -> set[int]:
        return {number for number in range(GOLDEN) if boots(device.view, number)}

    def _newest_of(self, history: History, device: Device) -> SignedSet:
        sets = device.view.sets
        return next(
            (item for item in history.world.sets.values() if sets and item.trust_set == sets[-1]), history.world.head
        )
