"""Statements as the driver gets them: many rows in few, and the rows that are asked for."""

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection

from ceremonies import statements
from ceremonies.statements import apply_changes, select_all, select_in
from ceremonies.store import Insert, Store, StoreUnavailable, Update
from ceremonies.tables import RequestRow, ReservationRow, WorkOrderRow
from tests.ceremonies.test_store import open_store

pytestmark = pytest.mark.engines


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """An empty store."""
    opened = open_store(url)
    yield opened
    opened.close()


def rows(count: int) -> list[Insert]:
    """New reservations."""
    return [Insert(ReservationRow, {"name": f"{at:03}", "owner": "a", "seq": at}) for at in range(count)]


@pytest.mark.parametrize(("count", "parts"), [(0, 0), (1, 1), (32, 1), (33, 2), (256, 8)])
def test_rows_go_by_32_at_most(store: Store, monkeypatch: pytest.MonkeyPatch, count: int, parts: int) -> None:
    given: list[str] = []
    real = statements.run

    def watched(connection: Connection, statement: str, values: Sequence[object] = ()) -> Any:
        given.append(statement)
        return real(connection, statement, values)

    monkeypatch.setattr(statements, "run", watched)
    with store.write() as connection:
        apply_changes(connection, rows(count))
    assert len([text for text in given if text.startswith("INSERT")]) == parts
    given.clear()
    updates = [Update(ReservationRow, {"name": f"{at:03}"}, {"owner": "b", "seq": at + 1}) for at in range(count)]
    with store.write() as connection:
        apply_changes(connection, updates)
    assert len([text for text in given if text.startswith("UPDATE")]) == parts
    found = [(row["name"], row["owner"], row["seq"]) for row in store.list(ReservationRow, "name")]
    assert found == [(f"{at:03}", "b", at + 1) for at in range(count)]


@pytest.mark.parametrize("missing", [0, 7, 17, 20])
def test_one_missing_row_among_many_undoes_them_all(store: Store, missing: int) -> None:
    with store.write() as connection:
        apply_changes(connection, rows(21))
    names = [f"{at:03}" if at != missing else "none" for at in range(21)]
    with pytest.raises(StoreUnavailable, match="no row"), store.write() as connection:
        apply_changes(connection, [Update(ReservationRow, {"name": name}, {"owner": "b"}) for name in names])
    assert {row["owner"] for row in store.list(ReservationRow, "name")} == {"a"}


def test_of_two_updates_of_a_row_the_later_counts(store: Store) -> None:
    changes = [Update(ReservationRow, {"name": "000"}, {"owner": owner}) for owner in ("b", "c")]
    with store.write() as connection:
        apply_changes(connection, [*changes, *rows(1), Update(ReservationRow, {"name": "000"}, {"seq": 9})])
    (row,) = store.list(ReservationRow, "name")
    assert (row["owner"], row["seq"]) == ("c", 9)


def test_select_in_gives_rows_as_they_are(store: Store) -> None:
    """Names that nobody has, names that look like SQL, bytes and nothing."""
    strange = "x'); DROP TABLE request; --"
    values = {"id": strange, "body": "b", "digest": "d", "recipe": b"\x00\xff", "seq": 3, "outcome": None}
    with store.write() as connection:
        apply_changes(connection, [Insert(RequestRow, {**values, "document": None}), *rows(600)])
        assert select_in(connection, RequestRow, "id", [strange, "none"]) == [{**values, "document": None}]
        assert select_in(connection, RequestRow, "id", []) == []
        names = [f"{at:03}" for at in range(500)]
        assert sorted(row["name"] for row in select_in(connection, ReservationRow, "name", names)) == names


def test_select_all_gives_columns_in_their_order(store: Store) -> None:
    with store.write() as connection:
        apply_changes(connection, rows(2))
        assert select_all(connection, ReservationRow, ("seq", "name")) == [(0, "000"), (1, "001")]
        assert select_all(connection, WorkOrderRow, ("id",)) == []
