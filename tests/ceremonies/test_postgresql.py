"""PostgreSQL: what a server must be set to, how it is reached, and the one session that writes."""

from collections.abc import Iterator

import pytest
from sqlalchemy.engine import make_url

from ceremonies.postgresql import (
    HEAD_LOCK,
    KEYROOM_LOCK,
    Session,
    StoreLost,
    StoreUnsafe,
    check_encryption,
    check_server,
    is_here,
    make_reader,
    make_url_safe,
)
from ceremonies.store import Store, StoreLocked, StoreUnavailable
from ceremonies.tables import BlobRow
from tests.postgres import OWNER, Cluster, Database

SAFE = {
    "server_version_num": "150000", "fsync": "on", "full_page_writes": "on", "synchronous_commit": "on",
    "server_encoding": "UTF8", "default_transaction_read_only": "off", "replica": "false", "collation": "C",
}  # fmt: skip


@pytest.fixture
def database(cluster: Cluster) -> Database:
    """An empty database."""
    return cluster.create()


@pytest.fixture
def system(cluster: Cluster) -> Iterator[Cluster]:
    """A cluster whose settings a test may change; they are set back."""
    yield cluster
    cluster.execute("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")


def open_again(database: Database) -> None:
    """Open the store and close it."""
    Store(database.url).close()


@pytest.mark.req("AU-6", "T27")
@pytest.mark.parametrize("name", ["fsync", "full_page_writes"])
def test_a_server_that_a_power_cut_damages_is_refused(system: Cluster, database: Database, name: str) -> None:
    open_again(database)
    system.execute(f"ALTER SYSTEM SET {name} = off", "SELECT pg_reload_conf()")
    for _ in range(100):  # the server takes a moment to read them
        if system.execute(f"SHOW {name}") == [("off",)]:
            break
    with pytest.raises(StoreUnsafe, match=f"{name} is off"):
        open_again(database)


@pytest.mark.req("AU-6", "T27")
@pytest.mark.parametrize(
    ("setting", "what"),
    [
        ("synchronous_commit = off", "synchronous_commit is off"),
        ("default_transaction_read_only = on", "default_transaction_read_only is on"),
    ],
)
@pytest.mark.parametrize("scope", ["DATABASE", "ROLE"])
def test_a_setting_of_the_database_or_of_the_role_counts(
    database: Database, setting: str, what: str, scope: str
) -> None:
    """What counts is what the keyroom's own session has, wherever somebody set it."""
    place = f"DATABASE {database.name}" if scope == "DATABASE" else f"ROLE {OWNER} IN DATABASE {database.name}"
    database.execute(f"ALTER {place} SET {setting}")
    with pytest.raises(StoreUnsafe, match=what):
        open_again(database)


def test_a_database_of_another_encoding_is_refused(cluster: Cluster) -> None:
    cluster.execute("CREATE DATABASE ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
    with pytest.raises(StoreUnsafe, match="SQL_ASCII"):
        open_again(Database(cluster, "ascii"))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"server_version_num": "140011"}, "older than PostgreSQL 15"),
        ({"fsync": "off"}, "fsync"),
        ({"full_page_writes": "off"}, "full_page_writes"),
        ({"synchronous_commit": "off"}, "synchronous_commit"),
        ({"replica": "true"}, "replica"),
        ({"default_transaction_read_only": "on"}, "read_only"),
        ({"server_encoding": "LATIN1"}, "LATIN1"),
        ({"collation": "en_US.UTF-8"}, "en_US"),
        ({"collation": "ICU"}, "ICU"),
    ],
)
def test_each_unsafe_fact_is_named(change: dict[str, str], what: str) -> None:
    check_server(SAFE)
    for mode in ("local", "remote_write", "remote_apply"):
        check_server({**SAFE, "synchronous_commit": mode})
    with pytest.raises(StoreUnsafe, match=what):
        check_server({**SAFE, **change})


@pytest.mark.req("SD-4")
@pytest.mark.parametrize(
    ("host", "address", "here"),
    [
        ("/run/postgresql", "", True), ("@kedge", "", True), ("", "", True), ("127.0.0.1", "127.0.0.1", True),
        ("localhost", "::1", True), ("::1", "", True), ("db.example", "192.0.2.4", False), ("192.0.2.4", "", False),
        ("db.example", "", False), ("localhost", "192.0.2.4", False),
    ],
)  # fmt: skip
def test_another_machine_is_known_by_its_address(host: str, address: str, *, here: bool) -> None:
    assert is_here(host, address) == here


@pytest.mark.req("SD-4")
@pytest.mark.parametrize("mode", ["off", "prefer", "require", "verify-ca"])
def test_another_machine_is_reached_by_tls_that_checks_its_name(mode: str) -> None:
    check_encryption("db.example", "verify-full")
    with pytest.raises(StoreUnsafe, match=f"db.example is reached with sslmode {mode}"):
        check_encryption("db.example", mode)


def test_loopback_needs_no_tls(cluster: Cluster, database: Database) -> None:
    Store(f"postgresql://{OWNER}@127.0.0.1:{cluster.port}/{database.name}").close()


@pytest.mark.req("SD-4")
def test_an_address_that_is_not_loopback_needs_tls(cluster: Cluster, database: Database) -> None:
    """The same server under a name that libpq looks up elsewhere: only the address counts."""
    query = f"host=db.example&hostaddr=127.0.0.1&port={cluster.port}"
    Store(f"postgresql://{OWNER}@/{database.name}?{query}").close()
    with pytest.raises(StoreUnavailable, match="SSL"):
        Store(f"postgresql://{OWNER}@/{database.name}?{query}&sslmode=require")


def test_the_url_names_postgresql_and_no_secret() -> None:
    assert make_url_safe(make_url("postgresql://u@/d?host=/run")).drivername == "postgresql+psycopg"
    for url, what in (("mysql://u@h/d", "no such engine: mysql"), ("postgresql://u:p@h/d", "holds a password")):
        with pytest.raises(StoreUnsafe, match=what) as refused:
            make_url_safe(make_url(url))
        assert ":p@" not in str(refused.value)


def test_a_server_that_is_away_is_unavailable(cluster: Cluster) -> None:
    with pytest.raises(StoreUnavailable):
        Store(f"postgresql://{OWNER}@/none?host={cluster.path}/nowhere")


@pytest.mark.req("AU-1", "T12")
def test_one_session_holds_the_lock_and_the_writes_go_through_it(cluster: Cluster, database: Database) -> None:
    store = Store(database.url)
    with pytest.raises(StoreLocked, match="another keyroom"):
        Store(database.url)
    with store.write() as connection:
        writer = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        held = database.execute(
            "SELECT pid, (classid::bigint << 32) + objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
    assert set(held) == {(writer, KEYROOM_LOCK), (writer, HEAD_LOCK)}
    store.close()
    open_again(database)


@pytest.mark.req("AU-1", "T12")
def test_a_session_that_ended_writes_never_again(database: Database) -> None:
    """It does not connect anew: the lock may be somebody else's by now."""
    session = Session(make_url_safe(make_url(database.url)))
    database.end_sessions()
    other = Session(make_url_safe(make_url(database.url)))
    assert not other.locked
    for _ in range(2):
        with pytest.raises(StoreLost), session.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE written (x int)")
    with pytest.raises(StoreLost):
        session.engine.connect()
    assert session.lost.is_set()
    assert database.execute("SELECT to_regclass('written')") == [(None,)]
    session.close()
    assert not other.lost.is_set()
    other.close()


@pytest.mark.parametrize("when", ["before", "inside"])
def test_the_store_says_that_it_is_lost(database: Database, when: str) -> None:
    store = Store(database.url)
    store.migrate()
    store.confirm()
    assert store.find(BlobRow, sha256="00") is None
    if when == "before":
        database.end_sessions()
        with pytest.raises(StoreLost):
            store.confirm()
    else:
        with pytest.raises(StoreLost, match="administrator"), store.write() as connection:
            database.end_sessions()
            connection.exec_driver_sql("SELECT 1")
    assert store.lost.is_set()
    with pytest.raises(StoreUnavailable):  # the reader's session ended as well; reading may begin anew
        store.find(BlobRow, sha256="00")
    assert store.find(BlobRow, sha256="00") is None
    store.close()


def test_a_failed_statement_is_no_loss(database: Database) -> None:
    store = Store(database.url)
    with pytest.raises(StoreUnavailable, match="does not exist"), store.write() as connection:
        connection.exec_driver_sql("SELECT * FROM nowhere")
    with pytest.raises(RuntimeError), store.write():
        raise RuntimeError
    store.confirm()
    assert not store.lost.is_set()
    store.close()


def test_a_read_is_one_view(database: Database) -> None:
    """Several statements of one read see one state; each query on its own sees the newest."""
    store = Store(database.url)
    store.migrate()
    with store.read() as connection:
        count = "SELECT count(*) FROM blob"
        before = connection.exec_driver_sql(count).scalar()
        database.execute("INSERT INTO blob VALUES ('00', 0, '')")
        assert connection.exec_driver_sql(count).scalar() == before == 0
        assert len(store.list(BlobRow, "seq")) == 1
    with pytest.raises(StoreUnavailable, match="read-only"), store.read() as connection:
        connection.exec_driver_sql("DELETE FROM blob")
    store.close()


def test_a_reader_reads_each_statement_alone(database: Database) -> None:
    engine = make_reader(make_url_safe(make_url(database.url)))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
        state = "SELECT state FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        assert connection.exec_driver_sql(state).scalar() == "active"
    assert database.execute("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in%'") == [(0,)]
    engine.dispose()


def test_a_keyroom_whose_machine_is_gone_loses_its_session(cluster: Cluster, database: Database) -> None:
    """The server asks by TCP whether it is still there; after half a minute of silence the lock is free."""
    store = Store(f"postgresql://{OWNER}@127.0.0.1:{cluster.port}/{database.name}")
    with store.write() as connection:
        found = {
            name: connection.exec_driver_sql(f"SHOW {name}").scalar()
            for name in ("tcp_keepalives_idle", "tcp_keepalives_count", "idle_in_transaction_session_timeout")
        }
    assert found == {
        "tcp_keepalives_idle": "10", "tcp_keepalives_count": "3", "idle_in_transaction_session_timeout": "1min",
    }  # fmt: skip
    store.close()
