"""The database: one writer, one lock, all or nothing; and the migrations that make its schema."""

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlmodel import SQLModel

from ceremonies import store as module
from ceremonies.statements import apply_changes, put_blobs
from ceremonies.store import Insert, Store, StoreLocked, StoreUnavailable, Update, octets, read_parts, write_parts
from ceremonies.tables import BlobRow, DeviceRow, DocumentRow, EntryRow, EvidenceRow, ReservationRow, WorkOrderRow
from tests.ceremonies.small import sha256
from tests.engines import SQLITE_ONLY, Engine, tamper

pytestmark = pytest.mark.engines
ORDER = {"id": "wo", "document": "00", "quantity": 2, "issued": 0}


@pytest.fixture
def empty_url(engine: Engine, tmp_path: Path) -> str:
    """The URL of an empty database."""
    database = engine.database()
    return database.url if database else f"sqlite:///{tmp_path / 'empty.db'}"


def open_store(url: str, *, max_pages: int | None = None) -> Store:
    """A migrated store."""
    store = Store(url, max_pages=max_pages)
    store.migrate()
    return store


def test_the_migrated_schema_is_the_models(url: str) -> None:
    store = open_store(url)
    with store.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, SQLModel.metadata) == []
    store.close()


def test_a_schema_that_lacks_a_column_is_seen(url: str) -> None:
    store = open_store(url)
    with store.write() as connection:
        connection.exec_driver_sql("ALTER TABLE entry DROP COLUMN type")
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) != []
    store.close()


def test_migration_applies_twice(url: str) -> None:
    store = open_store(url)
    store.migrate()
    assert store.list(EntryRow, "seq") == []
    store.close()


def test_connections_that_read_keep_few_pages(tmp_path: Path) -> None:
    store = open_store(SQLITE_ONLY.url(tmp_path))
    with store.write() as connection:
        assert connection.exec_driver_sql("PRAGMA cache_size").scalar() == -65_536
    with store.read() as connection:
        assert connection.exec_driver_sql("PRAGMA cache_size").scalar() == -4_096
    store.close()


def test_a_second_store_is_locked_out_until_the_first_is_closed(url: str) -> None:
    store = open_store(url)
    with pytest.raises(StoreLocked, match="another keyroom"):
        open_store(url)
    store.close()
    open_store(url).close()


def test_sqlite_is_durable_and_strict(tmp_path: Path) -> None:
    store = open_store(SQLITE_ONLY.url(tmp_path))
    with store.write() as connection:
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    assert values == ["wal", 2]  # 2 is FULL
    store.close()


def test_an_error_leaves_nothing_of_the_transaction(url: str) -> None:
    store = open_store(url)
    with pytest.raises(StoreUnavailable), store.write() as connection:
        apply_changes(connection, [Insert(WorkOrderRow, ORDER)])
        apply_changes(connection, [Insert(WorkOrderRow, ORDER)])
    with pytest.raises(RuntimeError), store.write() as connection:
        apply_changes(connection, [Insert(WorkOrderRow, ORDER)])
        raise RuntimeError
    assert store.list(WorkOrderRow, "id") == []
    store.close()


def test_the_quota_is_a_constraint(url: str) -> None:
    store = open_store(url)
    with store.write() as connection:
        apply_changes(connection, [Insert(WorkOrderRow, ORDER), Update(WorkOrderRow, {"id": "wo"}, {"issued": 2})])
    with pytest.raises(StoreUnavailable, match="work_order_quota"), store.write() as connection:
        apply_changes(connection, [Update(WorkOrderRow, {"id": "wo"}, {"issued": 3})])
    assert (store.find(WorkOrderRow, id="wo") or {})["issued"] == 2
    store.close()


def test_an_update_of_no_row_is_refused(url: str) -> None:
    store = open_store(url)
    with pytest.raises(StoreUnavailable, match="no row"), store.write() as connection:
        apply_changes(connection, [Update(WorkOrderRow, {"id": "none"}, {"issued": 1})])
    store.close()


def test_a_reader_sees_what_is_committed(url: str) -> None:
    store = open_store(url)
    with store.write() as connection:
        put_blobs(connection, [b"a"], 0)
        assert store.blob(sha256(b"a")) is None
    assert store.blob(sha256(b"a")) == b"a"
    store.close()


def test_blobs_keep_their_first_entry_and_their_bytes(url: str) -> None:
    store = open_store(url)
    with store.write() as connection:
        put_blobs(connection, [b"a", b"a"], 3)
        put_blobs(connection, [b"a", b"b"], 5)
        put_blobs(connection, [], 6)
    assert [(row["seq"], row["data"]) for row in store.list(BlobRow, "seq")] == [(3, b"a"), (5, b"b")]
    store.close()


@pytest.mark.req("T5")
@pytest.mark.parametrize("value", [b"other", b""])
def test_an_altered_blob_is_not_given(url: str, value: bytes) -> None:
    store = open_store(url)
    with store.write() as connection:
        put_blobs(connection, [b"a"], 0)
    tamper(store, "UPDATE blob SET data = :value", value=value)
    with pytest.raises(StoreUnavailable):
        store.blob(sha256(b"a"))
    store.close()


@pytest.mark.req("T5")
@pytest.mark.parametrize("value", ["text", 5])
def test_a_blob_of_another_type_is_not_given(tmp_path: Path, value: object) -> None:
    """SQLite keeps what it is given, whatever the column says."""
    url = SQLITE_ONLY.url(tmp_path)
    store = open_store(url)
    with store.write() as connection:
        put_blobs(connection, [b"a"], 0)
    plain = sqlite3.connect(tmp_path / "kedge.db")
    with plain:
        plain.execute("UPDATE blob SET data = ?", (value,))
    plain.close()
    with pytest.raises(StoreUnavailable):
        store.blob(sha256(b"a"))
    store.close()


@pytest.mark.req("AU-1")
@pytest.mark.parametrize("statement", ["UPDATE entry SET type = 'x'", "DELETE FROM entry", "UPDATE entry SET seq = 5"])
def test_entries_are_final(url: str, statement: str) -> None:
    """Triggers refuse it to everyone; whoever drops them is found by the tree."""
    store = open_store(url)
    row = {"seq": 0, "type": "probe", "leaf": b"{}", "hash": bytes(32)}
    with store.write() as connection:
        apply_changes(connection, [Insert(EntryRow, row)])
    with pytest.raises(StoreUnavailable, match="entries of the journal are final"), store.write() as connection:
        connection.exec_driver_sql(statement)
    assert store.list(EntryRow, "seq") == [row]
    store.close()


def test_octets_are_bytes() -> None:
    assert octets(b"x") == b"x"
    with pytest.raises(StoreUnavailable):
        octets("x")


@pytest.mark.req("AU-6")
def test_a_full_database_says_so(tmp_path: Path) -> None:
    url = SQLITE_ONLY.url(tmp_path)
    open_store(url).close()
    store = open_store(url, max_pages=1)
    with pytest.raises(StoreUnavailable, match="full"), store.write() as connection:
        put_blobs(connection, [bytes(1_000_000)], 0)
    assert store.list(BlobRow, "seq") == []
    store.close()


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    (tmp_path / "kedge.db").write_bytes(b"something else entirely" * 100)
    store = Store(f"sqlite:///{tmp_path / 'kedge.db'}")
    with pytest.raises(StoreUnavailable, match="not a database"):
        store.migrate()
    store.close()


def test_a_database_of_the_first_release_gets_the_table_of_evidence(tmp_path: Path) -> None:
    """Blobs that are there stay where they are, and are found as before."""
    store = Store(f"sqlite:///{tmp_path / 'kedge.db'}")
    config = Config()
    config.set_main_option("script_location", "ceremonies:migrations")
    with store.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        put_blobs(connection, [b"old"], 3)
        tables = connection.exec_driver_sql("SELECT name FROM sqlite_master").scalars().all()
        assert "evidence" not in tables
    store.migrate()
    assert (store.blob(sha256(b"old")), store.list(EvidenceRow, "seq")) == (b"old", [])
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []
    store.close()


def test_rows_of_bulk_work_survive_the_change_of_their_tables(empty_url: str) -> None:
    """Evidence in parts, a device and its entry, as the release before wrote them; entries stay final."""
    store = Store(empty_url)
    config = Config()
    config.set_main_option("script_location", "ceremonies:migrations")
    with store.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0004")
        device = ("S-1", "aa", "01aa", "wo", "class", sha256(b"cert"), b"key")
        put_rows(connection, "device", device)
        put_rows(connection, "document", (sha256(b"cert"), 4101, "k", "S-1"))
        put_rows(connection, "entry", *((seq, "export", b"leaf %d" % seq, b"hash") for seq in range(3)))
        put_rows(connection, "evidence", *((seq, 0, b"statement %d" % seq) for seq in range(4101)))
        put_rows(connection, "evidence", (7, 1, b"bytes to sign"), (4101, 0, b"cert"))
    store.migrate()
    assert store.blob(sha256(b"cert")) == b"cert"
    assert tuple(store.list(DeviceRow, "serial")[0].values()) == device
    assert [row["leaf"] for row in store.list(EntryRow, "seq")] == [b"leaf 0", b"leaf 1", b"leaf 2"]
    kept = {row["seq"]: read_parts(row["parts"]) for row in store.list(EvidenceRow, "seq")}
    assert (len(kept), kept[7]) == (4102, [b"statement 7", b"bytes to sign"])
    for verb in ("UPDATE entry SET type = 'probe'", "DELETE FROM entry"):
        with pytest.raises(StoreUnavailable, match="final"), store.write() as connection:
            connection.execute(text(verb))
    store.close()


@pytest.mark.req("CA-3")
def test_certificates_of_schema_6_have_their_numbers_reserved(empty_url: str) -> None:
    """Each of a released device certificate, once; over several pages; whatever else the entries are."""
    store, config = Store(empty_url), Config()
    config.set_main_option("script_location", "ceremonies:migrations")
    leaf = '{"op":{"what":{"certificate_number":"%x",%s}},"out":{"status":"%s"},"ref":{"i":%d},"req":"order/wo:%d"}'
    order, ca = '"work_order":"wo"', '"profile":"device-ca"'
    facts = [(1 << 64, order, "ok"), ((1 << 159) - 1, order, "ok"), (7, ca, "ok"), (8, order, "fail")] * 600
    leaves = [leaf % (number + at, what, status, at, at) for at, (number, what, status) in enumerate(facts)]
    with store.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0006")
        rows = [(at, "key.sign.outcome", text.encode(), b"h%d" % at) for at, text in enumerate(leaves)]
        put_rows(connection, "entry", *rows, (9999, "log.start", b"{}", b"h"))
    store.migrate()
    expected = {f"number:{number + at:040x}": at for at, (number, *said) in enumerate(facts) if said == [order, "ok"]}
    assert {row["name"]: row["seq"] for row in store.list(ReservationRow, "name")} == expected
    assert store.find(ReservationRow, name=f"number:{1 << 64:040x}") == {
        "name": f"number:{1 << 64:040x}", "owner": "order/wo:0", "seq": 0
    }  # fmt: skip
    store.close()


def put_rows(connection: Connection, table: str, *rows: tuple[object, ...]) -> None:
    """Rows into a table whose columns this release may not know."""
    marks = ", ".join(f":{at}" for at in range(len(rows[0])))
    values = [{str(at): value for at, value in enumerate(row)} for row in rows]
    connection.execute(text(f"INSERT INTO {table} VALUES ({marks})"), values)  # this test's tables


def put_evidence(store: Store, seq: int, *parts: bytes) -> None:
    """Parts of an entry, and the last one as its document."""
    document = {"sha256": sha256(parts[-1]), "seq": seq, "kind": "k", "name": "n"}
    with store.write() as connection:
        apply_changes(
            connection, [Insert(EvidenceRow, {"seq": seq, "parts": write_parts(parts)}), Insert(DocumentRow, document)]
        )


def test_a_document_of_bulk_work_is_found_through_its_entry(url: str) -> None:
    """By digest only where `document` leads to the entry; the other parts have no index."""
    store = open_store(url)
    put_evidence(store, 5, b"first", b"document")
    put_evidence(store, 6, b"other")
    assert (store.blob(sha256(b"document")), store.blob(sha256(b"other"))) == (b"document", b"other")
    assert (store.blob(sha256(b"first")), store.blob(sha256(b"never"))) == (None, None)
    with pytest.raises(StoreUnavailable, match=r"(?i)unique"):
        put_evidence(store, 5, b"again")
    store.close()


@pytest.mark.req("T5")
@pytest.mark.parametrize("value", [write_parts([b"other"]), b"no array", "text", None])
def test_altered_evidence_is_not_given(tmp_path: Path, value: object) -> None:
    store = open_store(SQLITE_ONLY.url(tmp_path))
    put_evidence(store, 5, b"document")
    plain = sqlite3.connect(tmp_path / "kedge.db")
    with plain:
        if value is None:
            plain.execute("UPDATE document SET seq = 6")
        else:
            plain.execute("UPDATE evidence SET parts = ?", (value,))
    plain.close()
    if value in (b"no array", "text"):
        with pytest.raises(StoreUnavailable):
            store.blob(sha256(b"document"))
    else:
        assert store.blob(sha256(b"document")) is None
    store.close()


def test_evidence_entries_and_devices_of_schema_5_are_what_they_were(empty_url: str) -> None:
    """Also over several pages, and with a part that is empty. Entries stay final."""
    store, config = Store(empty_url), Config()
    config.set_main_option("script_location", str(Path(module.__file__).parent / "migrations"))
    parts = {seq: [b"statement %d" % seq, b"", b"\x00\xff"][: 1 + seq % 3] for seq in range(1, 9000, 2)}
    device = {"serial": "S", "spki": "k", "ueid": "u", "order": "w", "kind": "c", "sha256": "d", "key": b"key"}
    rows = [{"seq": seq, "at": at, "data": data} for seq, found in parts.items() for at, data in enumerate(found)]
    with store.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0005")
        connection.execute(text("INSERT INTO evidence VALUES (:seq, :at, :data)"), rows)
        connection.execute(text("INSERT INTO entry VALUES (:seq, 't', :data, :data)"), rows[:1])
        connection.execute(
            text("INSERT INTO device VALUES (:serial, :spki, :ueid, :order, :kind, :sha256, :key)"), device
        )
    store.migrate()
    assert {row["seq"]: read_parts(row["parts"]) for row in store.list(EvidenceRow, "seq")} == parts
    assert [tuple(row.values()) for row in store.list(EntryRow, "seq")] == [(1, "t", b"statement 1", b"statement 1")]
    assert [tuple(row.values()) for row in store.list(DeviceRow, "serial")] == [tuple(device.values())]
    for change in ("UPDATE entry SET type = 'x'", "DELETE FROM entry"):
        with pytest.raises(StoreUnavailable), store.write() as connection:
            connection.execute(text(change))
    store.close()
