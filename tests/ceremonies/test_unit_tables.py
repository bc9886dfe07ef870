"""The rows of units: their keys and the constraint behind the quota of rework."""

from sqlalchemy import CheckConstraint

from ceremonies.store import table_of
from ceremonies.unit_tables import ConfirmationRow, ReplacedDeviceRow, ReworkQuotaRow, ScrapRow


def test_rework_is_checked_by_the_database() -> None:
    checks = [item for item in table_of(ReworkQuotaRow).constraints if isinstance(item, CheckConstraint)]
    assert [str(item.sqltext) for item in checks] == ["opened <= quantity"]


def test_a_certificate_is_confirmed_and_replaced_once_and_a_unit_scrapped_once() -> None:
    keys = {
        kind: [column.name for column in table_of(kind).primary_key]
        for kind in (ConfirmationRow, ReplacedDeviceRow, ScrapRow)
    }
    assert keys == {
        ConfirmationRow: ["serial", "certificate"],
        ReplacedDeviceRow: ["serial", "certificate"],
        ScrapRow: ["serial"],
    }
