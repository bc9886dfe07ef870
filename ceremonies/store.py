"""The database: one writer, durable commits, rows changed in groups.

SQLite by default (WAL, synchronous=FULL, BEGIN IMMEDIATE), with a lock file that keeps a second keyroom away.
PostgreSQL by its URL, where the session that writes holds the lock (ceremonies/postgresql.py).
"""

import fcntl
import hashlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TextIO

import msgspec
from sqlalchemy import URL, Connection, Engine, NullPool, Select, Table, create_engine, event, select
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import SQLModel

from ceremonies.errors import KeyroomError
from ceremonies.postgresql import PREPARED, Session, make_reader, make_url_safe
from ceremonies.schema import bring_up_to_date
from ceremonies.tables import BlobRow, DocumentRow, EvidenceRow

Row = Mapping[str, Any]

# A checkpoint of the write-ahead log every 64 MB instead of every 4: a page that is written often is copied once.
PRAGMAS = (
    "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000", "wal_autocheckpoint=16384",
    "secure_delete=OFF", "temp_store=MEMORY",
)  # fmt: skip


WRITER_CACHE_KB = 65_536
"""Pages that the writer's connection keeps: rows with random keys touch a page each."""

READER_CACHE_KB = 4_096
"""The same for each connection that reads: there are up to 15, and the kernel has the pages, too."""

_encoder = msgspec.msgpack.Encoder()
_parts = msgspec.msgpack.Decoder(list[bytes])


class StoreUnavailable(KeyroomError):
    """The database did not take or give what was asked: full, read-only, away. Nothing of the transaction remains."""

    code = "store-unavailable"


class StoreLocked(KeyroomError):
    """Another keyroom has this database."""

    code = "store-locked"


class Insert(msgspec.Struct, frozen=True):
    """A new row of `table`."""

    table: type[SQLModel]
    values: Row


class Update(msgspec.Struct, frozen=True):
    """New values for the one row of `table` that `key` names. Raises StoreUnavailable when there is none."""

    table: type[SQLModel]
    key: Row
    values: Row


Change = Insert | Update


def table_of(model: type[SQLModel]) -> Table:
    """The SQLAlchemy Core table of a row class."""
    return SQLModel.metadata.tables[str(model.__tablename__)]


class Source(Protocol):
    """Where rows are read."""

    def rows(self, query: Select[Any], /) -> Sequence[Row]:
        """All rows of a query, as mappings."""


class View(msgspec.Struct, frozen=True):
    """What a connection of `Store.read` sees, whatever is committed meanwhile."""

    connection: Connection

    def rows(self, query: Select[Any], /) -> Sequence[Row]:
        """All rows of a query, as mappings."""
        with translated():
            return [dict(row) for row in self.connection.execute(query).mappings()]


class Store:
    """Connections to one database. `write` is for the writer thread alone; `read` is for anyone.

    `lost` is set when another keyroom may have the database: nothing is written any more, and the process must end.
    Raises StoreLocked, StoreUnavailable, StoreUnsafe.
    """

    def __init__(self, url: str, *, max_pages: int | None = None) -> None:
        self._url = make_url(url)
        self._lock_file: TextIO | None = None
        self._max_pages = max_pages
        self._session: Session | None = None
        self._writing: Connection | None = None
        self.lost = threading.Event()
        if self._sqlite:
            self._take_lock()
            self._writer = self._connect("BEGIN IMMEDIATE", WRITER_CACHE_KB)
            self._reader = self._connect("BEGIN", READER_CACHE_KB)
        else:
            self._open_session()
        self._driver_error: type[Exception] = self._reader.dialect.loaded_dbapi.Error

    @property
    def _sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    def _take_lock(self) -> None:
        path = Path(f"{self._url.database}.lock")
        self._lock_file = path.open("a")
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock_file.close()
            raise StoreLocked(
                f"another keyroom holds {path}", hint="stop it first; two keyrooms fork the journal"
            ) from error

    def _open_session(self) -> None:
        url = make_url_safe(self._url)
        with translated():
            self._session = Session(url)
        if self._session.locked:
            self._session.close()
            raise StoreLocked("another keyroom holds the database", hint="it is active; two keyrooms fork the journal")
        self.lost = self._session.lost
        self._writer, self._reader = self._session.engine, make_reader(url)

    def _connect(self, begin: str, cache_kb: int) -> Engine:
        engine = create_engine(self._url, connect_args={"cached_statements": PREPARED})
        event.listen(engine, "connect", partial(self._set_pragmas, cache_kb))
        event.listen(engine, "begin", lambda connection: connection.connection.cursor().execute(begin) and None)
        return engine

    def _set_pragmas(self, cache_kb: int, connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say, not where the driver guesses
        pragmas = [*PRAGMAS, f"cache_size=-{cache_kb}"]
        if self._max_pages is not None:
            pragmas.append(f"max_page_count={self._max_pages}")
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    def migrate(self) -> None:
        """Bring the schema to the version of this release (Alembic, inside the package)."""
        with self.write() as connection:
            bring_up_to_date(connection)

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """One durable transaction. When the block ends without an error it is on disk; else nothing of it remains."""
        with translated(self._driver_error), self._session.begin() if self._session else self._begin() as connection:
            yield connection

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        if self._writing is None:
            self._writing = self._writer.connect()
        try:
            with self._writing.begin():
                yield self._writing
        except BaseException:
            self._writing.connection.rollback()  # SQLAlchemy sends none after a commit that failed
            raise

    def confirm(self) -> None:
        """See whether the session that writes still stands; for the writer thread. Raises StoreLost."""
        if self._session is not None:
            with self.write():
                pass

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """One consistent view of what is committed."""
        with translated(self._driver_error), self._reader.connect() as connection:
            if self._session is not None:
                connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            yield connection

    def rows(self, query: Select[Any]) -> Sequence[Row]:
        """All rows of a query, as mappings."""
        with translated(), self._reader.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def row(self, query: Select[Any]) -> Row | None:
        """The first row of a query, or None."""
        found = self.rows(query.limit(1))
        return found[0] if found else None

    def find(self, model: type[SQLModel], **key: object) -> Row | None:
        """The first row of `model` whose columns have these values, or None."""
        table = table_of(model)
        return self.row(select(table).where(*(table.c[name] == value for name, value in key.items())))

    def list(self, model: type[SQLModel], order: str, **key: object) -> Sequence[Row]:
        """All rows of `model` whose columns have these values, ordered by one column."""
        table = table_of(model)
        matches = (table.c[name] == value for name, value in key.items())
        return self.rows(select(table).where(*matches).order_by(table.c[order]))

    def blob(self, sha256: str) -> bytes | None:
        """Bytes by their digest, or None. Raises StoreUnavailable when they are not the bytes that were written."""
        found = self.find(BlobRow, sha256=sha256)
        if found is None:
            return self._find_evidence(sha256)
        data = octets(found["data"])
        if digest(data) != sha256:
            raise StoreUnavailable(f"blob {sha256[:16]} was altered", hint="restore the database")
        return data

    def _find_evidence(self, sha256: str) -> bytes | None:
        document = self.find(DocumentRow, sha256=sha256)
        row = self.find(EvidenceRow, seq=document["seq"]) if document is not None else None
        return next((data for data in read_parts(row["parts"]) if digest(data) == sha256), None) if row else None

    def close(self) -> None:
        """Release connections and the lock."""
        self._reader.dispose()
        if self._session is not None:
            self._session.close()
        if self._writing is not None:
            self._writing.close()
        self._writer.dispose()
        if self._lock_file is not None:
            self._lock_file.close()


def open_sqlite(url: URL) -> Engine:
    """A SQLite database that is there, for reading; nothing can be written through it."""
    path = f"file:{url.database}?mode=ro"
    return create_engine("sqlite://", creator=lambda: sqlite3.connect(path, uri=True), poolclass=NullPool)


def digest(data: bytes) -> str:
    """Lowercase hex SHA-256."""
    return hashlib.sha256(data).hexdigest()


def octets(value: object) -> bytes:
    """The bytes of a column. Raises StoreUnavailable when it holds text: SQLite stores what it is given."""
    if isinstance(value, bytes):
        return value
    raise StoreUnavailable("a column of bytes holds something else", hint="restore the database")


def write_parts(parts: Iterable[bytes]) -> bytes:
    """The column `parts` of an EvidenceRow."""
    return _encoder.encode(list(parts))


def read_parts(value: object) -> list[bytes]:
    """What `write_parts` wrote. Raises StoreUnavailable when the column holds something else."""
    try:
        return _parts.decode(octets(value))
    except msgspec.MsgspecError as error:
        raise StoreUnavailable("a row of evidence does not parse", hint="restore the database") from error


@contextmanager
def translated(driver: type[Exception] = SQLAlchemyError) -> Iterator[None]:
    """Turn errors of SQLAlchemy and the driver into StoreUnavailable, without bound values (they may be large)."""
    try:
        yield
    except (SQLAlchemyError, driver) as error:
        cause = getattr(error, "orig", None) or (error if isinstance(error, driver) else type(error).__name__)
        cause = str(cause).partition("\n")[0]
        raise StoreUnavailable(f"database: {cause}", hint="free space or repair the database, then retry") from error
