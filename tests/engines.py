"""The databases that the store runs on."""

import re
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from sqlalchemy import text

from ceremonies.store import Store
from tests.postgres import POSTGRESQL, SQLITE, Cluster, Database


class Engine:
    """One of the engines: gives empty databases. The cluster is started when it is first needed."""

    def __init__(self, name: str, find_cluster: Callable[[], Cluster] | None = None) -> None:
        self.name = name
        self._find_cluster = find_cluster

    def database(self) -> Database | None:
        """An empty database of PostgreSQL; None means SQLite, in the directory of a world."""
        return self._find_cluster().create() if self._find_cluster and self.name == POSTGRESQL else None

    def url(self, path: Path) -> str:
        """The URL of a database with tables and without rows; SQLite's lies under `path`."""
        if self._find_cluster and self.name == POSTGRESQL:
            return find_tables(self._find_cluster()).copy().url
        (path / "kedge.db").write_bytes(write_tables())
        return f"sqlite:///{path / 'kedge.db'}"


@cache
def write_tables() -> bytes:
    """A database of SQLite with tables and without rows: to make them takes longer than most tests."""
    with tempfile.TemporaryDirectory() as path:
        file = Path(path) / "kedge.db"
        make_tables(f"sqlite:///{file}")
        return file.read_bytes()


@cache
def find_tables(cluster: Cluster) -> Database:
    """The same of PostgreSQL, to copy."""
    made = cluster.create()
    make_tables(made.url)
    return made


def make_tables(url: str) -> None:
    """Make the tables of an empty database."""
    store = Store(url)
    store.migrate()
    store.close()


SQLITE_ONLY = Engine(SQLITE)


UNLOCK = {
    SQLITE: ("DROP TRIGGER IF EXISTS entry_is_final_update", "DROP TRIGGER IF EXISTS entry_is_final_delete"),
    POSTGRESQL: ("DROP TRIGGER IF EXISTS entry_is_final ON entry",),
}

DIALECT = (
    (
        r"CAST\(replace\(CAST\((\w+) AS TEXT\), (.*?)\) AS BLOB\)",
        r"convert_to(replace(convert_from(\1, 'UTF8'), \2), 'UTF8')",
    ),
    (r"x'([0-9a-f]*)'", r"CAST('\\x\1' AS bytea)"),
)
"""What PostgreSQL writes otherwise than SQLite."""


def tamper(store: Store, statement: str, **values: object) -> None:
    """What somebody with the database's password does while the keyroom runs. It must change something."""
    with store.write() as connection:
        name = connection.dialect.name
        for pattern, other in DIALECT if name == POSTGRESQL else ():
            statement = re.sub(pattern, other, statement)
        for drop in UNLOCK[name]:
            connection.execute(text(drop))
        assert connection.execute(text(statement), values).rowcount > 0
