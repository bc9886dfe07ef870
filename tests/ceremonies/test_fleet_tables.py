"""Rows of the register: issuing touches none of them, and the newest receipt of a device is one look away."""

from sqlmodel import SQLModel

from ceremonies import fleet_tables
from ceremonies.store import table_of
from ceremonies.tables import DeviceRow, ReceiptRow


def test_rows_of_small_tables_lie_in_the_tree_of_their_key() -> None:
    for model in (fleet_tables.RegisterRow, fleet_tables.RegisterRequestRow):
        assert table_of(model).dialect_options["sqlite"]["with_rowid"] is False


def test_indexes_are_on_what_issuing_does_not_write() -> None:
    assert table_of(DeviceRow).indexes == set()
    found = {index.name: tuple(column.name for column in index.columns) for index in table_of(ReceiptRow).indexes}
    assert found == {"receipt_by_device": ("ueid", "sequence")}
    assert {index.name for index in table_of(fleet_tables.RegisterRow).indexes} == {"ix_register_site"}
    assert issubclass(fleet_tables.BaselineRow, SQLModel)
