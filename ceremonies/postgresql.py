"""PostgreSQL as the store's engine: how it is reached, what its settings must be, and the one session that writes.

That session holds an advisory lock for as long as it lives, and every write goes through it. So a keyroom whose lock
went to another one can write nothing any more: it has lost the session with the lock.
"""

import contextlib
import ipaddress
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.exc import SQLAlchemyError

from ceremonies.errors import KeyroomError

OLDEST: Final = 150_000
"""The oldest server, as `server_version_num`: PostgreSQL 15."""

KEYROOM_LOCK: Final = int.from_bytes(b"kedgeroo")
"""Advisory lock of the active keyroom, for the life of its session."""

HEAD_LOCK: Final = int.from_bytes(b"kedgehea")
"""Advisory lock of the journal's head, for one transaction: whoever writes entries takes it first."""

STABLE_COLLATIONS: Final = ("C", "POSIX", "C.UTF-8", "C.utf8")
"""Orders of text that no upgrade of the system changes."""

CONNECT: Final = {
    "connect_timeout": 30, "keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3,
    "tcp_user_timeout": 30_000, "application_name": "kedge keyroom",
    "client_encoding": "utf8",
}  # fmt: skip
"""A server that does not answer is lost after some 30 s."""

SESSION: Final = {
    "tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000", "idle_in_transaction_session_timeout": "60000", "lock_timeout": "10000",
}  # fmt: skip
"""The same the other way round: a keyroom whose machine is gone loses its session, and with it the lock, as soon."""

SETTINGS: Final = """
SELECT name, setting FROM pg_settings WHERE name IN ('server_version_num', 'fsync', 'full_page_writes',
    'synchronous_commit', 'server_encoding', 'default_transaction_read_only')
UNION ALL SELECT 'replica', pg_is_in_recovery()::text
"""
COLLATION: Final = """
SELECT CASE datlocprovider WHEN 'i' THEN 'ICU' WHEN 'b' THEN 'C' ELSE datcollate END
FROM pg_database WHERE datname = current_database()
"""


class StoreUnsafe(KeyroomError):
    """The database server is set, or reached, in a way that could lose or fork the journal."""

    code = "store-unsafe"


PREPARED = 1024
"""How many statements the driver keeps prepared: those of the door differ by their number of rows, too."""


class StoreLost(KeyroomError):
    """The session that writes has ended, so another keyroom may be active: this one writes nothing any more."""

    code = "store-lost"


def make_url_safe(url: URL) -> URL:
    """The URL with the driver that Kedge uses. Raises StoreUnsafe for another database, and for a password in it."""
    if url.get_backend_name() != "postgresql":
        raise StoreUnsafe(f"no such engine: {url.get_backend_name()}", hint="name a postgresql:// database, or none")
    if url.password is not None:
        raise StoreUnsafe(
            "the database's URL holds a password, and settings hold no secrets",
            hint="use peer authentication, a client certificate, or ?passfile=FILE; see docs/postgresql.md",
        )
    return url.set(drivername="postgresql+psycopg")


def make_reader(url: URL) -> Engine:
    """Connections that read: a single statement sees one state of what is committed."""
    return create_engine(url, isolation_level="AUTOCOMMIT", connect_args=CONNECT)


class Session:
    """The one session that writes. Opened with the lock or not at all: `locked` says whether another keyroom has it.

    `lost` is set once the session has ended without being closed here, and stays set. Serves one thread at a time.
    Raises StoreUnsafe, and SQLAlchemyError when the server cannot be reached.
    """

    def __init__(self, url: URL) -> None:
        self.engine = create_engine(url, isolation_level="READ COMMITTED", connect_args=CONNECT)
        self.lost = threading.Event()
        with contextlib.ExitStack() as undo:
            undo.callback(self.engine.dispose)
            self._connection = self.engine.connect()
            undo.callback(self._connection.close)
            event.listen(self.engine, "do_connect", refuse_another)
            self._driver = driver_of(self._connection)
            self._driver.prepared_max = PREPARED
            self.locked = not self._open()
            undo.pop_all()

    def _open(self) -> bool:
        """Check the way and the server, prepare the session, try the lock."""
        check_way(self._driver)
        check_server(read_facts(self._connection))
        for name, value in SESSION.items():
            self._connection.execute(text("SELECT set_config(:name, :value, false)"), {"name": name, "value": value})
        taken = self._connection.execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": KEYROOM_LOCK}).scalar()
        self._connection.commit()
        return taken is True

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction under the lock of the head. Raises StoreLost when the session has ended, and what went wrong
        otherwise; after StoreLost it is not known whether the transaction was committed.
        """
        if self.lost.is_set():
            raise lost_session("")
        try:
            with self._connection.begin():
                self._connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s)", (HEAD_LOCK,))
                yield self._connection
        except BaseException as error:
            with contextlib.suppress(psycopg.Error):
                self._driver.rollback()  # SQLAlchemy sends none after a commit that failed
            if self._driver.closed:
                self.lost.set()
                raise lost_session(str(error).partition("\n")[0]) from error
            raise

    def close(self) -> None:
        """Let the lock go, then the session."""
        with contextlib.suppress(SQLAlchemyError, KeyroomError):
            self._connection.execute(text("SELECT pg_advisory_unlock_all()"))
        with contextlib.suppress(SQLAlchemyError, KeyroomError):
            self._connection.close()
        self.engine.dispose()


def lost_session(why: str) -> StoreLost:
    """The error, with the driver's words where there are any."""
    return StoreLost(
        f"the database session that writes has ended{': ' if why else ''}{why}",
        hint="the keyroom ends and starts anew as standby; send the same request again",
    )


def refuse_another(*_: object) -> None:
    """Another connection would not hold the lock."""
    raise lost_session("")


def driver_of(connection: Connection) -> "psycopg.Connection[Any]":
    """The driver's connection. Raises StoreUnsafe when it is another driver's."""
    driver: Any = connection.connection.dbapi_connection
    if isinstance(driver, psycopg.Connection):
        return driver
    raise StoreUnsafe("the database's driver is not psycopg 3", hint="name the database as postgresql://...")


def check_way(driver: "psycopg.Connection[Any]") -> None:
    """Another machine is reached by TLS that checks who it is. Raises StoreUnsafe."""
    mode = driver.info.get_parameters().get("sslmode", "prefer")
    host = driver.info.host
    if not is_here(host, driver.info.hostaddr):
        check_encryption(host, mode if driver.pgconn.ssl_in_use else "off")


def is_here(host: str, address: str) -> bool:
    """Whether the server is reached by a Unix socket or on a loopback address."""
    if host.startswith(("/", "@")) or not (host or address):
        return True
    try:
        return ipaddress.ip_address(address or host).is_loopback
    except ValueError:
        return False


def check_encryption(host: str, mode: str) -> None:
    """`mode` is libpq's sslmode, or `off` when the connection has no TLS. Raises StoreUnsafe."""
    if mode != "verify-full":
        raise StoreUnsafe(
            f"the database on {host} is reached with sslmode {mode}",
            hint="add ?sslmode=verify-full&sslrootcert=FILE to the URL; see docs/postgresql.md",
        )


def read_facts(connection: Connection) -> dict[str, str]:
    """What `check_server` judges. `collation` is missing on servers before 15, which have no column for it."""
    facts: dict[str, str] = {row.name: row.setting for row in connection.execute(text(SETTINGS))}
    if int(facts["server_version_num"]) >= OLDEST:
        facts["collation"] = connection.execute(text(COLLATION)).scalar_one()
    return facts


def check_server(facts: Mapping[str, str]) -> None:
    """A commit survives a power cut, text keeps its order, and this is the server that takes writes.

    Raises StoreUnsafe with the first thing that is wrong.
    """
    demands = (
        (int(facts["server_version_num"]) >= OLDEST, "the server is older than PostgreSQL 15", "upgrade it"),
        (facts["fsync"] == "on", "fsync is off", "set fsync = on: without it a power cut loses entries"),
        (
            facts["full_page_writes"] == "on", "full_page_writes is off",
            "set full_page_writes = on: without it a power cut tears pages",
        ),
        (
            facts["synchronous_commit"] != "off", "synchronous_commit is off",
            "set synchronous_commit = on: without it a crash loses commits that were answered",
        ),
        (facts["replica"] == "false", "the server is a replica", "name the primary, or promote this one first"),
        (
            facts["default_transaction_read_only"] == "off", "default_transaction_read_only is on",
            "set it off for the keyroom's role and database",
        ),
        (facts["server_encoding"] == "UTF8", f"the encoding is {facts['server_encoding']}", CREATE),
        (
            facts.get("collation") in STABLE_COLLATIONS, f"the collation is {facts.get('collation')}",
            f"an upgrade of the system may reorder its indexes; {CREATE}",
        ),
    )  # fmt: skip
    for holds, what, hint in demands:
        if not holds:
            raise StoreUnsafe(f"database server: {what}", hint=hint)


CREATE: Final = "make the database with TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C'"
