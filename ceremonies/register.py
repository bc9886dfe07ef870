"""The units of a work order, read page by page: serials of an order lie together in every table that has them."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Select, Table, select, tuple_
from sqlmodel import SQLModel

from ceremonies.journal import RESTORE, JournalForked
from ceremonies.plans import WorkOrder
from ceremonies.store import Row, Source, Store, digest, read_parts, table_of
from ceremonies.tables import DeviceRow, DocumentRow, EvidenceRow

PAGE: Final = 500
Pair = tuple[str, str]
"""A unit's serial and the digest of its certificate."""


def list_units(source: Source, order: WorkOrder, model: type[SQLModel] = DeviceRow, after: str = "") -> Iterator[Row]:
    """The rows of `model`, which has a serial, for the serials that an order names, those behind `after`.

    Rows that name another work order are left out.
    """
    table = table_of(model)
    pages = _read_listed(source, order, table, after) if order.serials else _read_range(source, order, table, after)
    for page in pages:
        mine = (row for row in page if order.covers(row["serial"]))
        yield from (row for row in mine if row.get("work_order", order.id) == order.id)


def _read_listed(source: Source, order: WorkOrder, table: Table, after: str) -> Iterator[Sequence[Row]]:
    names = sorted(serial for serial in order.serials if serial > after)
    for start in range(0, len(names), PAGE):
        rows = source.rows(select(table).where(table.c.serial.in_(names[start : start + PAGE])))
        yield sorted(rows, key=lambda row: str(row["serial"]))


def _read_range(source: Source, order: WorkOrder, table: Table, after: str) -> Iterator[Sequence[Row]]:
    """In the database's own order of texts, which puts numbers of one length in their order. Each page begins where the
    one before ended: a search from the order's first serial on would read all before it again.
    """
    first, last = order.ends
    key, serial = tuple(table.primary_key.columns), table.c.serial
    query: Select[Any] = select(table).order_by(*key).limit(PAGE)
    start = query.where(serial.between(max(first, after), last))
    page = source.rows(start.where(serial > after) if after else start)
    while page:
        yield page
        if len(page) < PAGE:
            return
        end = tuple(page[-1][column.name] for column in key)
        page = source.rows(query.where(serial.between(page[-1]["serial"], last), tuple_(*key) > end))


def read_certificates(store: Store, units: Sequence[Pair]) -> Iterator[tuple[str, bytes]]:
    """Serial and certificate (PEM) of each unit. Raises JournalForked when one is missing or was altered."""
    for start in range(0, len(units), PAGE):
        part = units[start : start + PAGE]
        found = read_documents(store, [certificate for _, certificate in part])
        for serial, certificate in part:
            if certificate not in found:
                raise JournalForked(f"the certificate of {serial} is missing", hint=RESTORE)
            yield serial, found[certificate]


def read_documents(store: Store, digests: Sequence[str]) -> dict[str, bytes]:
    """Certificates (PEM) by their digests; those that are missing or were altered are left out."""
    document, evidence = table_of(DocumentRow), table_of(EvidenceRow)
    query = select(evidence.c.parts).where(evidence.c.seq == document.c.seq, document.c.sha256.in_(digests))
    parts = (data for row in store.rows(query) for data in read_parts(row["parts"]))
    return {digest(data): data for data in parts}


def read_entries(store: Store, digests: Sequence[str]) -> dict[str, int]:
    """The outcome entries of documents, by their digests."""
    document = table_of(DocumentRow)
    rows = store.rows(select(document.c.sha256, document.c.seq).where(document.c.sha256.in_(digests)))
    return {row["sha256"]: row["seq"] for row in rows}
