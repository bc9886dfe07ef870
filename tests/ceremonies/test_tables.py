"""The rows: a name for each table, and the constraints that stand behind the code."""

from sqlalchemy import CheckConstraint, UniqueConstraint
from sqlmodel import SQLModel

from ceremonies import (
    element_tables,
    fleet_tables,
    grant_tables,
    ldevid_tables,
    revocation_tables,
    tables,
    unit_tables,
)
from ceremonies.store import table_of


def row_classes() -> list[type[SQLModel]]:
    """Every row class."""
    modules = (tables, element_tables, fleet_tables, grant_tables, ldevid_tables, revocation_tables, unit_tables)
    named = (item for module in modules for item in vars(module).values())
    found = {item for item in named if isinstance(item, type) and issubclass(item, SQLModel)}
    return sorted(found - {SQLModel}, key=lambda item: item.__name__)


def test_every_table_has_a_row_class_and_a_plain_name() -> None:
    names = {str(item.__tablename__) for item in row_classes()}
    assert names == set(SQLModel.metadata.tables)
    assert all(item.__name__.endswith("Row") for item in row_classes())
    assert all(
        item.__name__.removesuffix("Row").lower() == str(item.__tablename__).replace("_", "") for item in row_classes()
    )


def test_what_may_be_spent_once_is_unique() -> None:
    unique = {
        (table.name, column.name)
        for table in SQLModel.metadata.tables.values()
        for constraint in table.constraints
        if isinstance(constraint, UniqueConstraint)
        for column in constraint.columns
    }
    assert {("key", "label"), ("receipt", "nonce")} <= unique  # a device's key is a reservation
    keys = {name: [column.name for column in table.primary_key] for name, table in SQLModel.metadata.tables.items()}
    assert (keys["reservation"], keys["request"], keys["device"]) == (["name"], ["id"], ["serial"])


def test_a_quota_is_checked_by_the_database() -> None:
    checks = [item for item in table_of(tables.WorkOrderRow).constraints if isinstance(item, CheckConstraint)]
    assert [str(item.sqltext) for item in checks] == ["issued <= quantity"]
