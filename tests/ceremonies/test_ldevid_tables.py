"""The row of an LDevID has every fact of the entry that it follows from."""

from ceremonies.ldevid_tables import LdevidRow
from ceremonies.ldevids import Ldevid
from ceremonies.store import table_of


def test_a_row_is_what_its_entry_says() -> None:
    table = table_of(LdevidRow)
    assert tuple(column.name for column in table.columns) == Ldevid.__struct_fields__
    assert [column.name for column in table.primary_key] == ["serial"]
    assert table.dialect_options["sqlite"]["with_rowid"] is False
