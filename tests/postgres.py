"""PostgreSQL for tests: a cluster of their own from the distribution's packages, and databases copied from others.

The server runs with fsync on, listens on a Unix socket in its own directory and on loopback, and never as root.
"""

import contextlib
import itertools
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

SQLITE, POSTGRESQL = "sqlite", "postgresql"
ENGINES = (SQLITE, POSTGRESQL)

OWNERS = ("postgres", "nobody")
OLDEST = 15
ENOUGH = 4 << 30
OWNER = "postgres"


def find_programs() -> Path:
    """The directory of the newest server's programs. A machine without one fails the tests, it does not skip them."""
    found = {int(path.parts[-3]): path.parent for path in Path("/usr/lib/postgresql").glob("[0-9]*/bin/postgres")}
    on_path = shutil.which("postgres")
    if found:
        return found[max(found)]
    if on_path:
        return Path(on_path).resolve().parent
    raise FileNotFoundError(f"PostgreSQL {OLDEST} or newer is not installed (Debian: apt install postgresql)")


def drop_root() -> list[str]:
    """How to start a program as somebody who is not root, when the tests run as root: PostgreSQL refuses root."""
    if os.getuid() != 0:
        return []
    user = find_owner()
    return ["setpriv", f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups", "--no-new-privs"]


def find_owner() -> pwd.struct_passwd:
    """The user that owns the cluster."""
    if os.getuid() != 0:
        return pwd.getpwuid(os.getuid())
    for name in OWNERS:
        with contextlib.suppress(KeyError):
            return pwd.getpwnam(name)
    raise LookupError(f"none of the users {', '.join(OWNERS)} exists")


class Cluster:
    """A server under `path`, which the caller removes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.port = free_port()
        self._programs = find_programs()
        self._names = itertools.count(1)
        owner = find_owner()
        os.chown(path, owner.pw_uid, owner.pw_gid)
        locale = ("--locale=C", "--encoding=UTF8", "--auth=trust", f"--username={OWNER}")
        self._run("initdb", "-D", path / "data", "--no-sync", *locale)
        settings = (
            f"unix_socket_directories = '{path}'", "listen_addresses = '127.0.0.1'", f"port = {self.port}",
            "fsync = on", "shared_buffers = 32MB", "max_connections = 40", "logging_collector = off",
        )  # fmt: skip
        with (path / "data" / "postgresql.conf").open("a") as file:
            file.write("\n".join(settings) + "\n")
        self.start()

    def _run(self, program: str, *arguments: str | Path) -> None:
        command = [*drop_root(), self._programs / program, *arguments]
        done = subprocess.run(
            command, cwd=self.path, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"

    def control(self, *arguments: str | Path) -> None:
        """pg_ctl; it waits until the server is up, or down."""
        self._run("pg_ctl", "-D", self.path / "data", "-w", "-l", self.path / "log", *arguments)

    def start(self) -> None:
        """Start the server; after a crash it recovers."""
        self.control("start")

    def crash(self) -> None:
        """The server ends as in a power cut: no session is told, no page is written."""
        self.control("stop", "-m", "immediate")

    def remove(self) -> None:
        """Stop the server and remove all of it."""
        self.crash()
        shutil.rmtree(self.path, ignore_errors=True)

    def connect(self, name: str = "postgres") -> "psycopg.Connection[Any]":
        """The administrator's connection; each statement stands alone."""
        return psycopg.connect(host=str(self.path), port=self.port, user=OWNER, dbname=name, autocommit=True)

    def execute(self, *statements: str, name: str = "postgres") -> Sequence[tuple[Any, ...]]:
        """What an administrator does. The rows of the last statement, where it has any."""
        with self.connect(name) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement.encode())
            return cursor.fetchall() if cursor.description else ()

    def create(self, template: str = "template0") -> "Database":
        """A new database, empty or a copy."""
        name = f"kedge{next(self._names)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template} ENCODING 'UTF8' LOCALE 'C'")
        return Database(self, name)


@dataclass(frozen=True, slots=True)
class Database:
    """One database of a cluster."""

    cluster: Cluster
    name: str

    @property
    def url(self) -> str:
        """As in the keyroom's settings."""
        return f"postgresql://{OWNER}@/{self.name}?host={self.cluster.path}&port={self.cluster.port}"

    def copy(self) -> "Database":
        """Another database with the same content; nobody may be connected to this one."""
        return self.cluster.create(self.name)

    def execute(self, *statements: str) -> Sequence[tuple[Any, ...]]:
        """What an administrator does here."""
        return self.cluster.execute(*statements, name=self.name)

    def end_sessions(self) -> int:
        """End every session of this database, as an administrator or a failing network does."""
        query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = "
        return len(self.cluster.execute(f"{query}'{self.name}'"))


def free_port() -> int:
    """A port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def find_space() -> str | None:
    """Memory, where there is enough for some hundred databases: their gigabytes would slow the other tests down."""
    memory = Path("/dev/shm")
    with contextlib.suppress(OSError):
        space = os.statvfs(memory)
        if os.access(memory, os.W_OK) and space.f_bavail * space.f_frsize > ENOUGH:
            return str(memory)
    return None


@contextlib.contextmanager
def running_cluster(*, on_disk: bool = False) -> Iterator[Cluster]:
    """A cluster in a directory that its owner can reach, which the private directories of pytest are not."""
    path = Path(tempfile.mkdtemp(prefix="kedge-pg-", dir=None if on_disk else find_space()))
    try:
        cluster = Cluster(path)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    try:
        yield cluster
    finally:
        cluster.remove()
