"""The checkpoints that a quorum of witnesses cosigned: kept for ever, served to the world, part of every export."""

from collections.abc import Sequence

import msgspec
from sqlalchemy import select

from ceremonies.journal import Journal
from ceremonies.logkey import read_checkpoint
from ceremonies.statements import apply_changes
from ceremonies.store import Change, Insert, Store, Update, octets, table_of
from ceremonies.tables import CosignedRow, DocumentRow
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


def check_cosigned(store: Store, journal: Journal, keys: Sequence[VerifierKey]) -> None:
    """The journal must extend every checkpoint that witnesses cosigned. Raises JournalForked, CheckpointRejected."""
    for cosigned in newest_cosigned(store, CHECKED):
        checkpoint = parse_checkpoint(read_checkpoint(cosigned.note, keys))
        journal.check_extends(checkpoint.size, checkpoint.root)


def late_documents(store: Store, size: int) -> frozenset[str]:
    """The documents that entries beyond the first `size` released."""
    column = table_of(DocumentRow).c
    return frozenset(row["sha256"] for row in store.rows(select(column.sha256).where(column.seq >= size)))
