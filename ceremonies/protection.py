"""The key protection that a class demands: its devices' keys must be known to live in hardware.

A row says where to look; what counts is the entry there, shown to be in the tree: of a TPM's key the entry names it, of
an element's key the entry names a blob that lists the keys of its import.
"""

import asyncio
from typing import Final

from ceremonies.element_tables import ElementRow
from ceremonies.elements import ACTIVATE, IMPORT, Element, read_facts
from ceremonies.errors import KeyroomError
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.room import Room
from ceremonies.store import Row

IMPORTS_KEPT: Final = 32
KEY_SIZE: Final = 32


class KeyUnprotected(KeyroomError):
    """The class demands that its keys live in hardware, and of this one nobody has shown it."""

    code = "key-unprotected"


class ElementTaken(KeyroomError):
    """The hardware belongs to another serial, or the serial to other hardware."""

    code = "element-taken"


class Protection:
    """Says of a request's key whether it may have a certificate of its class."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._imported: dict[int, frozenset[bytes]] = {}

    async def check(self, class_name: str, serial: str, spki: str) -> None:
        """The class takes this key for this device. Raises KeyUnprotected and ElementTaken, JournalForked when the row
        says what the journal does not.
        """
        wanted = self._room.door.require_governing().policy.fleet.device_class(class_name).key_protection
        if not wanted:
            return
        row = await asyncio.to_thread(self._room.store.find, ElementRow, spki=spki)
        if row is None or row["kind"] != wanted:
            raise KeyUnprotected(
                f"class {class_name} demands a {wanted}, and the key of {serial} is not known to live in one",
                hint="import the manifest of its element, or have its TPM activate the key (docs/elements.md)",
            )
        element = read_element(row)
        if element.serial not in ("", serial):
            raise ElementTaken(f"the key of {serial} lives in the TPM of another serial", hint="quarantine the unit")
        if not await self._is_proven(element, row["seq"]):
            raise JournalForked(f"element {spki[:16]}: entry {row['seq']} does not say what its row says", hint=RESTORE)

    async def _is_proven(self, element: Element, seq: int) -> bool:
        if element.kind == "tpm":
            return await self._room.act(lambda: self._read_activation(seq)) == element
        if seq not in self._imported:
            keys = await self._room.act(lambda: self._read_import(seq))
            while len(self._imported) >= IMPORTS_KEPT:
                del self._imported[next(iter(self._imported))]
            self._imported[seq] = keys
        return bytes.fromhex(element.spki) in self._imported[seq]

    def _read_activation(self, seq: int) -> Element | None:
        """What an entry says of a TPM's key. Writer's thread."""
        _, leaf = self._room.ledger.read_entry(seq)
        return read_facts(leaf.op.what) if leaf.type == ACTIVATE and not leaf.out and leaf.op and leaf.op.what else None

    def _read_import(self, seq: int) -> frozenset[bytes]:
        """The keys that an entry imported. Writer's thread."""
        _, leaf = self._room.ledger.read_entry(seq)
        what = leaf.op.what if leaf.type == IMPORT and not leaf.out and leaf.op and leaf.op.what else {}
        data = self._room.store.blob(str(what.get("keys"))) or b""
        return frozenset(data[at : at + KEY_SIZE] for at in range(0, len(data), KEY_SIZE))


def read_element(row: Row) -> Element:
    """A row as it is."""
    return Element(row["spki"], row["kind"], row["ident"], row["serial"])
