"""Reports for people, read from the database by a role that may only read. They are no proof: an export is.

A report takes no lock and no part in what the keyroom does; it sees what is committed.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import msgspec
from sqlalchemy import Connection, func, select, text
from sqlalchemy.engine import make_url

from ceremonies.errors import KeyroomError
from ceremonies.postgresql import check_way, driver_of, make_reader, make_url_safe
from ceremonies.store import open_sqlite, table_of, translated
from ceremonies.tables import DeviceRow, EntryRow, WorkOrderRow

PAGE = 1000
STEPS = ("outcome", "unknown", "denied")
WRITES = "SELECT has_table_privilege('entry', 'INSERT, UPDATE, DELETE, TRUNCATE, TRIGGER')"


class ReportRefused(KeyroomError):
    """The database or its role is not one that a report may use: the role can change what it reports."""

    code = "report-refused"


class OrderLine(msgspec.Struct, frozen=True):
    """A work order: units approved, units used by intents, certificates released."""

    work_order: str
    quantity: int
    issued: int
    certificates: int


class OperationLine(msgspec.Struct, frozen=True):
    """What was asked of a key on a day (UTC), by how it ended. `denied`: refused before the key was used."""

    day: str
    key: str
    operation: str
    ok: int
    fail: int
    unknown: int
    denied: int


class _Key(msgspec.Struct, frozen=True):
    label: str = ""


class _Out(msgspec.Struct, frozen=True):
    status: str


class _Entry(msgspec.Struct, frozen=True):
    """The few fields of an entry that are counted."""

    ts: str
    type: str
    keys: tuple[_Key, ...] = ()
    out: _Out | None = None


@contextmanager
def open_report(url: str) -> Iterator[Connection]:
    """A connection that reads one state of the database. Raises ReportRefused, StoreUnsafe, StoreUnavailable."""
    given = make_url(url)
    if given.get_backend_name() == "sqlite":
        engine = open_sqlite(given)
        options: dict[str, object] = {}
    else:
        engine = make_reader(make_url_safe(given))
        options = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    try:
        with translated(), engine.connect() as connection:
            connection.execution_options(**options)
            if options:
                _demand_reader(connection)
            yield connection
    finally:
        engine.dispose()


def _demand_reader(connection: Connection) -> None:
    """The role can write nothing that it reports. Raises ReportRefused, StoreUnsafe."""
    check_way(driver_of(connection))
    if connection.execute(text(WRITES)).scalar_one():
        raise ReportRefused(
            "the role of this report may write entries", hint="make a role that only reads: docs/postgresql.md"
        )


def report_orders(connection: Connection) -> Sequence[OrderLine]:
    """Certificates per work order, by its id."""
    order, device = table_of(WorkOrderRow), table_of(DeviceRow)
    query = (
        select(order.c.id, order.c.quantity, order.c.issued, func.count(device.c.serial))
        .select_from(order.outerjoin(device, device.c.work_order == order.c.id))
        .group_by(order.c.id, order.c.quantity, order.c.issued)
        .order_by(order.c.id)
    )
    return [OrderLine(*row) for row in connection.execute(query)]


def report_operations(connection: Connection) -> Sequence[OperationLine]:
    """Operations per key and day, counted from all entries that end one. An operation with two keys counts for both."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for entry in _read_endings(connection):
        operation, _, step = entry.type.rpartition(".")
        if step not in STEPS:
            operation = entry.type  # a change of state has no intent: the entry is the act
        status = entry.out.status if entry.out else "ok"
        for key in entry.keys:
            counts[entry.ts[:10], key.label, operation, status] += 1
    lines = sorted({name[:3] for name in counts})
    return [
        OperationLine(*line, *(counts[*line, status] for status in ("ok", "fail", "unknown", "denied")))
        for line in lines
    ]


def _read_endings(connection: Connection) -> Iterator[_Entry]:
    """The entries that end an operation with a key, in order, a page at a time."""
    entry = table_of(EntryRow)
    decoder = msgspec.json.Decoder(_Entry)
    query = select(entry.c.leaf).where(entry.c.type.like("key.%")).where(entry.c.type.not_like("%.intent"))
    for row in connection.execution_options(yield_per=PAGE).execute(query.order_by(entry.c.seq)):
        yield decoder.decode(row.leaf)
