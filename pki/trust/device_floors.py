"""Raising anti-rollback floors: device rules, part E."""

from pki.errors import PkiError
from pki.trust.counters import CounterUpdate, FloorRaise, verify_counter_update
from pki.trust.device_boot import check_slot
from pki.trust.device_errors import (
    CounterUnreachable,
    FloorFromExceeded,
    SequenceStale,
    SetMissing,
    SlotsUnready,
    SoakUnmet,
)
from pki.trust.device_install import check_confirmed, check_target
from pki.trust.device_memory import GOLDEN, Hardware, Slot, UpdateMark
from pki.trust.device_view import View, view


def update_counters(hardware: Hardware, message: bytes) -> CounterUpdate:
    """Raise floors, for good.

    1. Two counter keys under the newest committed set, set-ref, target, sequence. 2. Inside the set's limits; the floor
    is at most floor-from. 3. Enough confirmed slots satisfy the new floor, the running one among them; a slot that
    would become unbootable is erased first. 4. Soak. 5. Capacity and reserve. 6. Raise.
    The same message once more goes on where a cut stopped it, and changes nothing when it was finished.
    """
    now = view(hardware)
    committed = now.committed
    if committed is None:
        raise SetMissing("no committed trust set", hint="commit the newest set first")
    update = verify_counter_update(committed, message)  # 1, 2
    check_target(now, update.target)
    mark = UpdateMark(committed.index, update.sequence, update.payload_sha256)
    last = now.memory.update
    again = mark == last
    if last and not again and (mark.index, mark.sequence) <= (last.index, last.sequence):
        raise SequenceStale(f"counter update {mark.sequence} is not above {last.sequence}")
    for item in update.raises:
        _check_raise(now, item, again)
        check_confirmed_slots(hardware, now, item)  # 3
    if hardware.uptime < update.soak:  # 4
        raise SoakUnmet(f"the image runs for {hardware.uptime} s, {update.soak} s are wanted", hint="wait")
    if not again:
        hardware.write(update=mark)  # a cut from here is resumed by the same message
    for item in update.raises:
        raise_floor(hardware, item)  # 3, 6
    return update


def raise_floor(hardware: Hardware, item: FloorRaise) -> None:
    """E.6, after the slots that would not boot any more were erased (E.3); one count at a time."""
    now = view(hardware)
    if now.floor(item.domain) >= item.floor_to:
        return
    for number in range(GOLDEN):
        if now.memory.slots[number] != Slot() and _security_version(now, number) < item.floor_to:
            hardware.write_slot(number, Slot())
    while view(hardware).floor(item.domain) < item.floor_to:
        hardware.count(item.domain)


def check_confirmed_slots(hardware: Hardware, now: View, item: FloorRaise) -> None:
    """E.3. Raises NotConfirmed, SlotsUnready. Golden has its own domain and is never in the way."""
    running = check_confirmed(hardware)
    ready = [
        number
        for number in range(GOLDEN)
        if now.memory.slots[number].confirmed and _security_version(now, number) >= item.floor_to
    ]
    if running not in ready or len(ready) < item.min_confirmed:
        raise SlotsUnready(
            f"{len(ready)} confirmed slots have security version {item.floor_to}, {max(1, item.min_confirmed)} must",
            hint="install and confirm a newer image first",
        )


def _check_raise(now: View, item: FloorRaise, again: bool) -> None:
    """E.2 and E.5 for one domain."""
    if item.domain != now.profile.domain:
        raise CounterUnreachable(f"this class keeps no floor for domain {item.domain.name.lower()}")
    floor = now.floor(item.domain)
    if floor > item.floor_from and not again:
        raise FloorFromExceeded(f"floor is {floor}, the update starts from at most {item.floor_from}")
    now.profile.counters[item.domain].check_reachable(item.floor_to)


def _security_version(now: View, number: int) -> int:
    """Of a slot that boots; -1 for one that does not."""
    try:
        return check_slot(now, number).image.security_counter
    except PkiError:
        return -1
