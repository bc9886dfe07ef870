"""What the closing of a large work order leaves: certificates that were never confirmed, revoked in parts.

The closing is an entry: from there on nothing more is issued or confirmed under the order, and what is left only
shrinks. Each part is a commit, between which everybody else has a turn. After a crash the rows are read again, and what
was revoked is passed over; the last entry (`quota.withdrawn`) says that nothing is left.
"""

import asyncio
from collections.abc import Mapping, Sequence, Set
from functools import partial
from typing import Any, Final

import msgspec

from ceremonies import entries
from ceremonies.closing import REASON, ROWS_EACH, explain, read_unconfirmed
from ceremonies.issuance import load_order
from ceremonies.orders import Actor
from ceremonies.plans import WorkOrder
from ceremonies.register import Pair, read_certificates
from ceremonies.revocations import NUMBERS_EACH, Grounds, revoke_changes
from ceremonies.revoked import Revoked, partition_of
from ceremonies.room import Room
from ceremonies.standing import find_excused
from ceremonies.withdrawals import Withdrawn, read_withdrawn

QUOTA_WITHDRAWN: Final = "quota.withdrawn"
CLOSER: Final = Actor(cred="", role="keyroom", src="", sub="closing")
CLOSINGS_EVERY_S: Final = 2.0
RETRY_US: Final = 60_000_000
"""After a failure: a large order takes seconds to read."""
ALARM: Final = "closing"


class Closed(msgspec.Struct, frozen=True):
    """A closing: its order, whom it excused, its words, and the context (`apr`, `cer`, `chg`) of its entry."""

    order: WorkOrder
    excused: frozenset[str]
    why: str
    context: Mapping[str, Any]


class Remainders:
    """Revokes what closings have left."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._failed: dict[str, int] = {}

    async def turn(self) -> None:
        """Bring every closing to its end. A failure is an alarm; another try follows after a while, and other orders
        are tried before it. Raises JournalForked when rows are not what the journal says.
        """
        room, now = self._room, self._room.surroundings.mono_us()
        for name in sorted(room.ledger.replay.units.withdrawing, key=lambda name: self._failed.get(name, 0)):
            if name in self._failed and now < self._failed[name] + RETRY_US:
                continue
            try:
                await self._finish(name)
            except Exception as error:
                self._failed[name] = now
                room.alarms[f"{ALARM} {name}"] = f"what work order {name} left is not revoked: {error}"
                raise
            self._failed.pop(name, None)
            room.alarms.pop(f"{ALARM} {name}", None)

    async def _finish(self, name: str) -> None:
        room = self._room
        closed = await room.act(partial(read_closed, room, name))
        pairs = await asyncio.to_thread(read_unconfirmed, room, closed.order)
        certificates = await asyncio.to_thread(list_withdrawn, room, pairs, closed.excused)
        done = 0
        while done < len(certificates):
            done += await room.act(partial(revoke_part, room, closed, certificates[done : done + NUMBERS_EACH]))
        end = entries.event(QUOTA_WITHDRAWN, CLOSER, {"certificates": len(certificates), "work_order": name})
        await room.act(partial(room.ledger.record, [end]))


def read_closed(room: Room, name: str) -> Closed:
    """A closing by its entry. Writer's thread. Raises JournalForked."""
    placed, _ = room.ledger.read_entry(room.ledger.replay.units.orders[name].closed or 0)
    entry = msgspec.json.decode(placed.leaf)
    context = {field: entry[field] for field in ("apr", "cer", "chg") if field in entry}
    return Closed(load_order(room, name), find_excused(room, name), explain(entry["op"]["what"]["reason"]), context)


def list_withdrawn(room: Room, units: Sequence[Pair], excused: Set[str]) -> list[Withdrawn]:
    """The certificates of units that were not excused, those of a partition side by side. Raises JournalForked."""
    left = [pair for pair in units if pair[0] not in excused]
    found: dict[tuple[str, int], list[Withdrawn]] = {}
    for item in read_withdrawn(room, read_certificates(room.store, left)):
        found.setdefault((item.ca, partition_of(item.number)), []).append(item)
    return [item for at in sorted(found) for item in found[at]]


def revoke_part(room: Room, closed: Closed, certificates: Sequence[Withdrawn]) -> int:
    """Revoke the first of these, in one commit. How many they were. Writer's thread. Raises JournalForked."""
    part = certificates[: cut_part(room.ledger.replay.revoked, certificates)]
    facts = {"closing": closed.order.id, "work_order": closed.order.id}
    words = revoke_changes(room, part, Grounds(REASON, closed.why, facts), CLOSER, closed.context)
    room.ledger.commit(lambda _: words.drafts, lambda placed: (words.changes(placed), ()), settles=room.ledger.settled)
    return len(part)


def cut_part(revoked: Revoked, certificates: Sequence[Withdrawn]) -> int:
    """How many of these one commit takes: as many as have few rows beside them, one partition at least."""
    rows, before = 0, None
    for position, item in enumerate(certificates):
        partition = (item.ca, partition_of(item.number))
        if partition != before:
            rows, before = rows + revoked.tally(*partition).count, partition
            if position and rows > ROWS_EACH:
                return position
    return len(certificates)
