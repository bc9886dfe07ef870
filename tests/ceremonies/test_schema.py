"""The schema of a database, and its revisions."""

import pytest
from alembic.migration import MigrationContext
from sqlalchemy import Engine as Connections
from sqlalchemy import create_engine, inspect, text

from ceremonies.schema import bring_up_to_date, newest_revision


@pytest.fixture
def empty() -> Connections:
    """A database without a table."""
    return create_engine("sqlite://")


def test_an_empty_database_gets_all_and_then_nothing_more(empty: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    with empty.begin() as connection:
        bring_up_to_date(connection)
        assert MigrationContext.configure(connection).get_current_revision() == newest_revision()
        assert inspect(connection).has_table("entry")
        monkeypatch.delattr("alembic.command.upgrade")
        bring_up_to_date(connection)


def test_an_older_schema_is_changed(empty: Connections) -> None:
    with empty.begin() as connection:
        bring_up_to_date(connection)
        connection.execute(text("DROP INDEX ix_box_certificate_certificate"))
        for column in ("profile", "class_name", "settled", "confirmed"):
            connection.execute(text(f"ALTER TABLE box_certificate DROP COLUMN {column}"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0012'"))
        bring_up_to_date(connection)
        assert "class_name" in {column["name"] for column in inspect(connection).get_columns("box_certificate")}
