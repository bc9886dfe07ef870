"""What the writer does in one transaction, as statements that the driver gets as they are."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import Connection
from sqlmodel import SQLModel

from ceremonies.store import Change, Insert, StoreUnavailable, digest, table_of

LARGEST = 32


def run(connection: Connection, statement: str, values: Sequence[object] = ()) -> Any:
    """Give a statement to the driver as it is, and get its cursor.

    SQLAlchemy takes 100 us for a statement; a transaction of the door has 30.
    """
    cursor: Any = connection.connection.cursor()
    cursor.execute(statement, values)
    return cursor


def apply_changes(connection: Connection, changes: Iterable[Change]) -> None:
    """Write rows: inserts in one statement per table, then updates in one statement per table and set of columns.

    Many rows in one statement, because the driver lets other threads in before and after each step of a statement.
    """
    inserts: dict[tuple[str, tuple[str, ...]], list[tuple[object, ...]]] = {}
    updates: dict[tuple[str, tuple[str, ...], tuple[str, ...]], dict[tuple[object, ...], tuple[object, ...]]] = {}
    for change in changes:
        name = str(change.table.__tablename__)
        if isinstance(change, Insert):
            inserts.setdefault((name, tuple(change.values)), []).append(tuple(change.values.values()))
        else:
            shape = (name, tuple(change.values), tuple(change.key))
            key = tuple(change.key.values())
            updates.setdefault(shape, {})[key] = (*change.values.values(), *key)  # of two for a row the later counts
    for (name, columns), new in inserts.items():
        _insert_rows(connection, name, columns, new)
    for (name, columns, keys), rows in updates.items():
        _update_rows(connection, name, (columns, keys), tuple(rows.values()))


def _insert_rows(
    connection: Connection, table: str, columns: tuple[str, ...], rows: Sequence[Sequence[object]], end: str = ""
) -> None:
    for part in _parts(rows):
        statement = _insert(table, columns, len(part), _mark(connection))
        run(connection, statement + end, tuple(chain.from_iterable(part)))


def _update_rows(
    connection: Connection, table: str, shape: tuple[tuple[str, ...], tuple[str, ...]], rows: Sequence[Sequence[object]]
) -> None:
    """Raises StoreUnavailable when one of the rows is not there. shape = (columns, columns of the key)."""
    columns, keys = shape
    for part in _parts(rows):
        statement = _update(table, columns, keys, len(part), _mark(connection))
        done = run(connection, statement, tuple(chain.from_iterable(part)))
        if done.rowcount != len(part):
            found = [dict(zip(keys, row[len(columns) :], strict=True)) for row in part[:3]]
            raise StoreUnavailable(f"no row {found} in {table}", hint="the database was changed behind the keyroom")


def _parts(rows: Sequence[Sequence[object]]) -> Iterator[Sequence[Sequence[object]]]:
    """At most `LARGEST` rows each: few steps, and not too many statements that the driver must keep prepared."""
    for start in range(0, len(rows), LARGEST):
        yield rows[start : start + LARGEST]


def _mark(connection: Connection) -> str:
    """How the driver marks a parameter."""
    return "?" if connection.dialect.paramstyle == "qmark" else "%s"


def select_in(
    connection: Connection, model: type[SQLModel], column: str, values: Sequence[str]
) -> Sequence[Mapping[str, Any]]:
    """The rows of `model` whose `column` has one of these values."""
    if not values:
        return []
    names = tuple(table_of(model).c.keys())
    marks = ", ".join([_mark(connection)] * len(values))
    statement = f"{_select(str(model.__tablename__), names)} WHERE {_quote(column)} IN ({marks})"
    rows = run(connection, statement, tuple(values)).fetchall()
    return [dict(zip(names, row, strict=True)) for row in rows]


def select_all(connection: Connection, model: type[SQLModel], columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Some columns of all rows of a small table."""
    return [tuple(row) for row in run(connection, _select(str(model.__tablename__), columns)).fetchall()]


@lru_cache(maxsize=256)
def _select(table: str, columns: tuple[str, ...]) -> str:
    return f"SELECT {', '.join(map(_quote, columns))} FROM {_quote(table)}"  # noqa: S608  # names of this package


@lru_cache(maxsize=1024)
def _insert(table: str, columns: tuple[str, ...], rows: int, mark: str) -> str:
    names, row = ", ".join(map(_quote, columns)), f"({', '.join([mark] * len(columns))})"
    values = ", ".join([row] * rows)
    return f"INSERT {_on_failure(mark)}INTO {_quote(table)} ({names}) VALUES {values}"  # noqa: S608  # names of this package's tables


@lru_cache(maxsize=1024)
def _update(table: str, columns: tuple[str, ...], keys: tuple[str, ...], rows: int, mark: str) -> str:
    # SQLite and PostgreSQL both call the columns of VALUES column1, column2, ...
    row = f"({', '.join([mark] * (len(columns) + len(keys)))})"
    given = f"(VALUES {', '.join([row] * rows)}) AS given"
    values = ", ".join(f"{_quote(name)} = given.column{number}" for number, name in enumerate(columns, 1))
    pairs = enumerate(keys, len(columns) + 1)
    matches = " AND ".join(f"{_quote(table)}.{_quote(name)} = given.column{number}" for number, name in pairs)
    return f"UPDATE {_on_failure(mark)}{_quote(table)} SET {values} FROM {given} WHERE {matches}"  # noqa: S608  # this package's names


def _on_failure(mark: str) -> str:
    """SQLite keeps a copy of each page that a statement touches, to undo the statement alone when it fails. We undo the
    whole transaction; with OR FAIL it keeps none.
    """
    return "OR FAIL " if mark == "?" else ""


def _quote(name: str) -> str:
    """A name as an SQL identifier; `index` is one of ours and a keyword."""
    return f'"{name}"'


def put_blobs(connection: Connection, blobs: Iterable[bytes], seq: int) -> None:
    """Store bytes by their SHA-256; bytes that are there already stay as they are."""
    rows = [(digest(data), seq, data) for data in blobs]
    _insert_rows(connection, "blob", ("sha256", "seq", "data"), rows, " ON CONFLICT DO NOTHING")
