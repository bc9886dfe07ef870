"""LDevIDs as the journal knows them: the newest one of each device, and what the rows must add up to.

An LDevID's outcome entry names the digest of the row before it (`was`), so the sum follows from the entries alone.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, select

from ceremonies.journal import RESTORE, JournalForked
from ceremonies.ldevid_tables import LdevidRow
from ceremonies.revoked import write_number
from ceremonies.store import table_of
from ceremonies.sums import Tally, tally_digests

KIND: Final = "certificate.ldevid"


class Ldevid(msgspec.Struct, frozen=True):
    """A device's LDevID: the key of its CA and its own (SPKI digests), its number (40 hex digits), its document, its
    validity (RFC 3339, UTC), the entry that released it.
    """

    serial: str
    ca: str
    number: str
    certificate: str
    spki: str
    not_before: str
    not_after: str
    seq: int

    @property
    def digest(self) -> str:
        """Lowercase hex SHA-256; no field holds a NUL."""
        text = "\0".join(map(str, msgspec.structs.astuple(self)))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def expires(self) -> datetime:
        """Its end."""
        return datetime.fromisoformat(self.not_after)

    def is_fresh(self, now: datetime) -> bool:
        """Whether more than a third of its life is left."""
        return now < self.expires - (self.expires - datetime.fromisoformat(self.not_before)) / 3


class Ldevids(msgspec.Struct):
    """What the entries say: the tally of all rows."""

    tally: Tally = msgspec.field(default_factory=Tally)

    def take(self, seq: int, entry: Mapping[str, Any]) -> None:
        """Follow the outcome of an LDevID that was released."""
        self.tally = self.tally.put(read_facts(seq, entry).digest, entry["op"]["what"].get("was", ""))


def read_facts(seq: int, entry: Mapping[str, Any]) -> Ldevid:
    """The row that an outcome entry says."""
    what = entry["op"]["what"]
    return Ldevid(
        what["serial"], entry["keys"][0]["spki"], write_number(int(what["certificate_number"], 16)),
        entry["out"]["doc"], what["subject_spki"], what["not_before"], what["not_after"], seq,
    )  # fmt: skip


def read_row(row: Mapping[str, Any]) -> Ldevid:
    """A row of the table."""
    return Ldevid(**{name: row[name] for name in Ldevid.__struct_fields__})


def check_ldevids(connection: Connection, expected: Tally) -> None:
    """Read every row. Raises JournalForked unless they are those of the journal."""
    table = table_of(LdevidRow)
    rows: Iterable[Any] = connection.execute(select(*(table.c[name] for name in Ldevid.__struct_fields__)))
    found = tally_digests(bytes.fromhex(Ldevid(*row).digest) for row in rows)
    if found != expected:
        raise JournalForked(f"ldevid: {found.count} rows are not the {expected.count} of the journal", hint=RESTORE)
