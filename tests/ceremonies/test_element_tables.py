"""Rows of keys in hardware are found by key, by element and by device."""

from ceremonies.element_tables import ElementRow
from ceremonies.elements import Element
from ceremonies.store import table_of


def test_a_row_is_an_element_and_its_entry() -> None:
    table = table_of(ElementRow)
    assert tuple(table.columns.keys()) == (*Element.__struct_fields__, "seq")
    assert [column.name for column in table.primary_key] == ["spki"]
    assert {index.name for index in table.indexes} == {"ix_element_ident", "ix_element_serial"}
    assert table.dialect_options["sqlite"]["with_rowid"] is False
