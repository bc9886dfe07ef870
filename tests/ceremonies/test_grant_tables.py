"""Rows of site boxes: the quota is a constraint, and a number is given once."""

import pytest
from sqlalchemy.exc import IntegrityError

from ceremonies.grant_tables import BoxCertificateRow, QuotaGrantRow
from ceremonies.statements import apply_changes
from ceremonies.store import Insert, Update, table_of
from tests.ceremonies.test_store import open_store
from tests.engines import Engine

pytestmark = pytest.mark.engines


@pytest.mark.req("T5")
def test_the_database_holds_the_quota_whatever_the_code_does(engine: Engine, url: str) -> None:
    store = open_store(url)
    with store.write() as connection:
        row = {"id": "graz-1", "document": "", "quantity": 3, "issued": 3}
        apply_changes(connection, [Insert(QuotaGrantRow, row)])
    with pytest.raises(Exception, match="quota_grant_quota") as caught, store.write() as connection:
        apply_changes(connection, [Update(QuotaGrantRow, {"id": "graz-1"}, {"issued": 4})])
    assert isinstance(caught.value.__cause__ or caught.value, IntegrityError | Exception)
    assert store.list(QuotaGrantRow, "id")[0]["issued"] == 3
    store.close()


def test_a_number_is_the_key_of_its_certificate() -> None:
    assert [column.name for column in table_of(BoxCertificateRow).primary_key] == ["number"]
