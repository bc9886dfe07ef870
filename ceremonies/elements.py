"""Keys that live in hardware, as the journal says: imported from manifests of secure elements, or activated in TPMs.

Rows are compared with the journal by their number and by a sum that does not depend on their order
(`ceremonies.sums`). The entry of an import names the sum of its rows; that of an activation is its row.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec
from sqlalchemy import Connection, select

from ceremonies.element_tables import ElementRow
from ceremonies.journal import RESTORE, EntryDraft, JournalForked
from ceremonies.store import table_of
from ceremonies.sums import Tally, tally_digests

IMPORT: Final = "element.import"
ACTIVATE: Final = "element.activate"

Kind = Literal["secure-element", "tpm"]


class Element(msgspec.Struct, frozen=True):
    """A key that lives in hardware. spki: its name. ident: the element's unique id, or the TPM's endorsement key (hex
    SHA-256 of its SubjectPublicKeyInfo). serial: the device that a TPM is of; an element is imported before.
    """

    spki: str
    kind: Kind
    ident: str
    serial: str = ""

    @property
    def digest(self) -> str:
        """Lowercase hex SHA-256; no field holds a NUL."""
        return hashlib.sha256("\0".join(msgspec.structs.astuple(self)).encode()).hexdigest()


class Elements(msgspec.Struct):
    """What the entries say of all rows together."""

    tally: Tally = msgspec.field(default_factory=Tally)

    def take(self, entry: EntryDraft) -> None:
        """Follow one entry; most are of no element, and some are of a refusal."""
        if entry["type"] == IMPORT:
            what = entry["op"]["what"]
            self.tally = self.tally.add(Tally(what["count"], what["total"]))
        elif entry["type"] == ACTIVATE and "out" not in entry:
            self.tally = self.tally.put(read_facts(entry["op"]["what"]).digest)


def read_facts(what: Mapping[str, Any]) -> Element:
    """The row that an activation's `op.what` says."""
    return Element(what["spki"], "tpm", what["ident"], what["serial"])


def tally_elements(rows: Iterable[Element]) -> Tally:
    """Count and sum of rows as they are."""
    return tally_digests(bytes.fromhex(row.digest) for row in rows)


def check_elements(connection: Connection, expected: Tally) -> None:
    """Read every row. Raises JournalForked unless they are those of the journal."""
    columns = (table_of(ElementRow).c[name] for name in Element.__struct_fields__)
    found = tally_elements(Element(*row) for row in connection.execute(select(*columns)))
    if found != expected:
        raise JournalForked(f"element: {found.count} rows are not the {expected.count} of the journal", hint=RESTORE)
