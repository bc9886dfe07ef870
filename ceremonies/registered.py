"""The rows of the register, compared with what the journal says before anything is decided by them."""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from sqlalchemy import Connection, Select, func, select

from ceremonies.fleet_tables import RegisterRow
from ceremonies.journal import RESTORE, JournalForked
from ceremonies.store import Row, Store, table_of
from ceremonies.sums import Tally
from ceremonies.tables import DeviceRow, ReceiptRow
from ceremonies.whereabouts import Register, Whereabouts, tally_rows

TRIES: Final = 5
PAUSE_S: Final = 0.05
_COLUMNS: Final = Whereabouts.__struct_fields__


def read_row(row: Row) -> Whereabouts:
    """A row of the register."""
    return Whereabouts(**{name: row[name] for name in _COLUMNS})


def check_register(connection: Connection, expected: Tally) -> None:
    """Read every row. Raises JournalForked unless they are those of the journal."""
    found = tally_rows(_stream(connection, _select()))
    if found != expected:
        raise JournalForked(f"register: {found.count} rows are not the {expected.count} of the journal", hint=RESTORE)


def list_decommissioned(store: Store, register: Register) -> Mapping[str, int]:
    """The devices that are decommissioned, and since when (microseconds). From any thread.

    The writer commits rows a moment before the journal's figures follow, so that a difference is looked at again.
    Raises JournalForked when the rows are not those of the journal.
    """
    query = _select().where(table_of(RegisterRow).c.state == "decommissioned")
    for _ in range(TRIES):
        before = register.gone
        with store.read() as connection:
            rows = list(_stream(connection, query))
        if tally_rows(rows) in (before, register.gone):
            return {row.serial: row.since_us for row in rows}
        time.sleep(PAUSE_S)
    raise JournalForked("register: the decommissioned devices are not those of the journal", hint=RESTORE)


def find_gone(store: Store, register: Register, before_us: int) -> frozenset[str]:
    """The serials that were decommissioned before a time and not heard since: no gate waits for them.

    Raises JournalForked as `list_decommissioned`.
    """
    since = list_decommissioned(store, register)
    device, place, receipt = table_of(DeviceRow), table_of(RegisterRow), table_of(ReceiptRow)
    joined = place.join(device, device.c.serial == place.c.serial).join(receipt, receipt.c.ueid == device.c.ueid)
    query = select(place.c.serial, func.max(receipt.c.received_us).label("last")).select_from(joined)
    rows = store.rows(query.where(place.c.state == "decommissioned").group_by(place.c.serial))
    last = {row["serial"]: row["last"] for row in rows}
    return frozenset(serial for serial, at in since.items() if at < before_us and last.get(serial, 0) <= at)


def _select() -> Select[Any]:
    return select(*(table_of(RegisterRow).c[name] for name in _COLUMNS))


def _stream(connection: Connection, query: Select[Any]) -> Iterator[Whereabouts]:
    rows: Iterable[Any] = connection.execute(query)
    return (Whereabouts(*row) for row in rows)
