"""The checkpoints that a quorum of witnesses cosigned, and those that an authority stamped: kept for ever, part of
every export; the former are served to the world.
"""

from collections.abc import Iterable, Sequence

import msgspec
from sqlalchemy import select

from ceremonies.journal import Journal
from ceremonies.logkey import read_checkpoint
from ceremonies.statements import apply_changes
from ceremonies.store import Change, Insert, Store, Update, octets, table_of
from ceremonies.tables import CosignedRow, DocumentRow, StampRow
from pki.log.checkpoints import parse_checkpoint
from pki.log.notes import VerifierKey

CHECKED = 100
"""How many of the newest a start compares with the journal; an audit compares all."""

PAGE = 1024


class Cosigned(msgspec.Struct, frozen=True):
    """A cosigned checkpoint. By default none: it covers nothing."""

    size: int = 0
    note: bytes = b""


def keep_cosigned(store: Store, cosigned: Cosigned) -> None:
    """Store a cosigned checkpoint durably; a newer one of the same size replaces it. Writer's thread."""
    values = {"size": cosigned.size, "note": cosigned.note}
    known = store.find(CosignedRow, size=cosigned.size) is not None
    change: Change = Update(CosignedRow, {"size": cosigned.size}, values) if known else Insert(CosignedRow, values)
    with store.write() as connection:
        apply_changes(connection, [change])


def newest_cosigned(store: Store, count: int) -> Sequence[Cosigned]:
    """The newest cosigned checkpoints, the newest first."""
    column = table_of(CosignedRow).c
    rows = store.rows(select(column.size, column.note).order_by(column.size.desc()).limit(count))
    return [Cosigned(row["size"], octets(row["note"])) for row in rows]


def list_cosigned(store: Store, after: int, before: int) -> Sequence[Cosigned]:
    """Up to `PAGE` cosigned checkpoints whose size lies between, the smallest first."""
    column = table_of(CosignedRow).c
    query = select(column.size, column.note).where(column.size > after, column.size < before)
    rows = store.rows(query.order_by(column.size).limit(PAGE))
    return [Cosigned(row["size"], octets(row["note"])) for row in rows]


class Stamped(msgspec.Struct, frozen=True):
    """A checkpoint, and a time-stamp over its bytes (DER TimeStampResp)."""

    size: int
    note: bytes
    response: bytes


def keep_stamp(store: Store, stamped: Stamped) -> None:
    """Store a time-stamp durably; the first of a size stays. Writer's thread."""
    if store.find(StampRow, size=stamped.size) is None:
        values = {"size": stamped.size, "note": stamped.note, "response": stamped.response}
        with store.write() as connection:
            apply_changes(connection, [Insert(StampRow, values)])


def list_stamps(store: Store, after: int, until: int) -> Sequence[Stamped]:
    """Up to `PAGE` time-stamps of checkpoints with more than `after` entries and at most `until`, smallest first."""
    table = table_of(StampRow)
    query = select(table).where(table.c.size > after, table.c.size <= until).order_by(table.c.size).limit(PAGE)
    return [Stamped(row["size"], octets(row["note"]), octets(row["response"])) for row in store.rows(query)]


def newest_stamp(store: Store) -> int:
    """The size of the newest checkpoint that was stamped; 0 when none was."""
    column = table_of(StampRow).c.size
    row = store.row(select(column).order_by(column.desc()).limit(1))
    return int(row["size"]) if row else 0


def check_cosigned(store: Store, journal: Journal, keys: Sequence[VerifierKey]) -> None:
    """The journal must extend every checkpoint that witnesses cosigned. Raises JournalForked, CheckpointRejected."""
    for cosigned in newest_cosigned(store, CHECKED):
        checkpoint = parse_checkpoint(read_checkpoint(cosigned.note, keys))
        journal.check_extends(checkpoint.size, checkpoint.root)


def late_documents(store: Store, size: int, documents: Iterable[str]) -> frozenset[str]:
    """Those of some documents that entries beyond the first `size` released."""
    column = table_of(DocumentRow).c
    query = select(column.sha256).where(column.seq >= size, column.sha256.in_(list(documents)))
    return frozenset(row["sha256"] for row in store.rows(query))
