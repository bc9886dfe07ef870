"""What devices hold of their owners: LDevIDs, each read by its row and shown to be what the journal says."""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from ceremonies.journal import RESTORE, JournalForked
from ceremonies.ldevid_tables import LdevidRow
from ceremonies.ldevids import KIND, Ldevid, read_facts, read_row
from ceremonies.room import Room
from ceremonies.statements import select_in
from ceremonies.store import Row

PAGE: Final = 500


def find_ldevid(room: Room, serial: str) -> Ldevid | None:
    """The newest LDevID of a device; None when it has none. Writer's thread. Raises JournalForked."""
    return next(find_ldevids(room, [serial]), None)


def find_ldevids(room: Room, serials: Sequence[str]) -> Iterator[Ldevid]:
    """The newest LDevIDs of devices, of those that have one. Writer's thread. Raises JournalForked."""
    for start in range(0, len(serials), PAGE):
        with room.store.read() as connection:
            rows = list(select_in(connection, LdevidRow, "serial", serials[start : start + PAGE]))
        yield from (_show(room, row) for row in rows)


def _show(room: Room, row: Row) -> Ldevid:
    placed, leaf = room.ledger.read_entry(row["seq"])
    found = read_row(row)
    released = leaf.type == "key.sign.outcome" and leaf.op and leaf.op.kind == KIND and leaf.out
    if not released or read_facts(placed.seq, msgspec.json.decode(placed.leaf)) != found:
        raise JournalForked(f"LDevID of {found.serial}: its row is not what the journal says", hint=RESTORE)
    return found
