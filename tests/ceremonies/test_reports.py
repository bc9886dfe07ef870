"""Reports: counts from rows and entries, by a role that can write nothing."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ceremonies.commands import IssueDevice, SuspendKey
from ceremonies.postgresql import StoreUnsafe
from ceremonies.reports import OperationLine, OrderLine, ReportRefused, open_report, report_operations, report_orders
from ceremonies.store import Store, StoreUnavailable
from tests.postgres import Cluster
from tests.world import World, issue_device, make_request

PAGE = Path(__file__).parents[2] / "docs" / "postgresql.md"
TABLES = ("entry", "work_order", "device")


def grant_reports(world: World) -> str:
    """The URL of a role that may read what reports need; on SQLite that is the file."""
    if world.database is None:
        return world.settings().database_url
    if not world.database.execute("SELECT 1 FROM pg_roles WHERE rolname = 'reader'"):
        world.database.execute("CREATE ROLE reader LOGIN")
    world.database.execute(f"GRANT SELECT ON {', '.join(TABLES)} TO reader")
    return world.database.url.replace("postgres@", "reader@")


@pytest.mark.engines
@pytest.mark.req("EV-1")
def test_what_was_issued_and_what_keys_did(factory_world: World) -> None:
    world = factory_world
    for number in (1, 2):
        asyncio.run(issue_device(world, number, make_request()))
    asyncio.run(world.ask(SuspendKey("device-ca", "a drill"), "officer", object))
    refused = asyncio.run(world.try_ask(IssueDevice("wo-1", "BMS-000003", make_request()), "station"))
    assert getattr(refused, "code", "") != ""
    with open_report(grant_reports(world)) as connection:
        assert report_orders(connection) == [OrderLine("wo-1", 20, 2, 2)]
        lines = report_operations(connection)
    found = {(line.key, line.operation): line for line in lines}
    issued = found["device-ca", "key.sign"]
    assert (issued.ok, issued.unknown, issued.fail) == (2, 0, 0)
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", issued.day)
    assert isinstance(found["oem-root-1", "key.generate"], OperationLine)
    assert found["oem-root-1", "key.generate"].ok == 1
    assert ("device-ca", "key.state") in found
    assert list(lines) == sorted(lines, key=lambda line: (line.day, line.key, line.operation))


@pytest.mark.engines
def test_a_report_writes_nothing(factory_world: World) -> None:
    with open_report(grant_reports(factory_world)) as connection:
        before = report_orders(connection)
        asyncio.run(issue_device(factory_world, 1, make_request()))
        if factory_world.database is not None:
            assert report_orders(connection) == before, "a report is one state"
    with (
        pytest.raises(StoreUnavailable, match=r"read-?only|permission"),
        open_report(grant_reports(factory_world)) as connection,
    ):
        connection.exec_driver_sql("DELETE FROM device")


def test_a_role_that_may_write_is_refused(cluster: Cluster) -> None:
    database = cluster.create()
    store = Store(database.url)
    store.migrate()
    with pytest.raises(ReportRefused, match="may write"), open_report(database.url):
        pass
    store.close()


def test_what_is_not_there_is_unavailable(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="unable to open"), open_report(f"sqlite:///{tmp_path}/none.db"):
        pass
    with pytest.raises(StoreUnsafe), open_report("mysql://h/d"):
        pass


@pytest.fixture
def installed(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster on which the SQL of the page was run, as its administrator."""
    makes, locks, reports = re.findall(r"```sql\n(.*?)```", PAGE.read_text(), re.DOTALL)
    cluster.execute(*split(makes))
    cluster.execute(*split(locks), name="kedge")
    url = f"postgresql://kedge@/kedge?host={cluster.path}&port={cluster.port}"
    store = Store(url)
    store.migrate()
    store.close()
    cluster.execute(*split(reports), name="kedge")
    yield cluster
    cluster.execute("DROP DATABASE kedge WITH (FORCE)", "DROP ROLE kedge_report", "DROP ROLE kedge")


def split(block: str) -> list[str]:
    """The statements of a block."""
    return [statement for part in block.split(";\n") if (statement := part.strip())]


@pytest.mark.req("T5")
def test_the_roles_of_the_page_can_do_what_they_need_and_no_more(installed: Cluster) -> None:
    place = f"host={installed.path}&port={installed.port}"
    store = Store(f"postgresql://kedge@/kedge?{place}")
    store.confirm()
    reader = f"postgresql://kedge_report@/kedge?{place}"
    with open_report(reader) as connection:
        assert (report_orders(connection), report_operations(connection)) == ([], [])
    for statement in (
        "SELECT * FROM blob",
        "SELECT pg_try_advisory_lock(1)",
        "SELECT pg_advisory_lock_shared(1)",
        "SET TRANSACTION READ WRITE; INSERT INTO entry VALUES (0, 'x', '', '')",
    ):
        with psycopg.connect(reader.replace("?", "?connect_timeout=5&")) as plain:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                plain.execute(statement.encode())
            plain.rollback()
    store.close()
