"""`kedge report` as a table, as JSON and as CSV."""

import csv
import io
from pathlib import Path

import pytest

from api.cli.report import guard
from ceremonies.statements import apply_changes
from ceremonies.store import Insert, Store
from ceremonies.tables import EntryRow, WorkOrderRow
from tests.api.cli.running import answer, kedge, refusal
from tests.postgres import Cluster

LEAF = b'{"ts":"2026-01-02T03:04:05.000006Z","type":"key.sign.outcome","keys":[{"label":"=ca"}],"out":{"status":"ok"}}'


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A store with a work order and an entry."""
    url = f"sqlite:///{tmp_path / 'kedge.db'}"
    store = Store(url)
    store.migrate()
    with store.write() as connection:
        order = {"id": "wo", "document": "", "quantity": 5, "issued": 2}
        entry = {"seq": 0, "type": "key.sign.outcome", "leaf": LEAF, "hash": bytes(32)}
        apply_changes(connection, [Insert(WorkOrderRow, order), Insert(EntryRow, entry)])
    store.close()
    return url


@pytest.mark.req("EV-1")
def test_certificates_per_work_order(database: str) -> None:
    lines = answer("report", "certificates", "--database", database)
    assert lines == [{"work_order": "wo", "quantity": 5, "issued": 2, "certificates": 0}]
    table = kedge("report", "certificates", "--database", database).stdout.splitlines()
    assert [line.split() for line in table] == [list(lines[0]), ["wo", "5", "2", "0"]]


@pytest.mark.req("EV-1")
def test_operations_per_key_and_day(database: str) -> None:
    wanted = {"day": "2026-01-02", "key": "=ca", "operation": "key.sign", "ok": 1, "fail": 0, "unknown": 0, "denied": 0}
    assert answer("report", "operations", "--database", database) == [wanted]
    result = kedge("report", "operations", "--csv", "--database", database)
    (line,) = csv.DictReader(io.StringIO(result.stdout, newline=""))
    assert line == {name: str(value) for name, value in wanted.items()} | {"key": "'=ca"}


@pytest.mark.parametrize("sign", ["=1+1", "+1", "-1", "@x", "\tx", "\rx"])
def test_no_text_is_a_formula(sign: str) -> None:
    assert guard(sign) == f"'{sign}"
    assert (guard("key-1"), guard(-5), guard("")) == ("key-1", -5, "")


def test_refusals_are_told(cluster: Cluster, tmp_path: Path) -> None:
    database = cluster.create()
    store = Store(database.url)
    store.migrate()
    assert refusal("report", "certificates", "--database", database.url) == "report-refused"
    store.close()
    assert refusal("report", "operations", "--database", f"sqlite:///{tmp_path}/none") == "store-unavailable"
    assert refusal("report", "operations", "--database", "postgresql://u:p@h/d") == "store-unsafe"
