"""Rows of one list lie side by side, and a certificate is revoked once."""

from ceremonies.revocation_tables import RevocationRow
from ceremonies.store import table_of


def test_a_partition_is_one_range_of_the_primary_key() -> None:
    table = table_of(RevocationRow)
    assert [column.name for column in table.primary_key] == ["ca", "partition", "number"]
    assert table.dialect_options["sqlite"]["with_rowid"] is False
