"""Check-ups of a keyroom's place, without a key and without the keyroom: files, database, disk, clock, witnesses.

Each check is graded; `find_worst` says what they come to. What cannot be read (another user's file) is `unknown`,
never well.
"""

import ctypes
import datetime
import os
import shutil
import socket
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from ceremonies.errors import KeyroomError
from ceremonies.journal import MAX_BACKWARD_US
from ceremonies.postgresql import check_server, check_way, driver_of, make_reader, make_url_safe, read_facts
from ceremonies.settings import FeedPlace, KeyroomSettings, RemotePlace
from ceremonies.sinks import open_sink
from ceremonies.store import open_sqlite, translated
from ceremonies.submissions import list_peers, read_witnesses
from ceremonies.tls import TlsFiles, first_end, make_context
from pki.log.policy import weigh_cosignatures

Grade = Literal["well", "warning", "unknown", "failing"]
SEVERITY: Final[tuple[Grade, ...]] = ("well", "warning", "unknown", "failing")

LOW_BYTES: Final = 1 << 30
EMPTY_BYTES: Final = 100 << 20
CONNECT_S: Final = 3.0
RENEW_S: Final = 30 * 86_400
"""A certificate that ends sooner is told."""
NETWORK_FILES: Final = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs", "glusterfs", "ceph"})
"""File systems on which SQLite's locks and syncs cannot be relied upon (sqlite.org/howtocorrupt.html, section 2)."""
_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised


class Checked(msgspec.Struct, frozen=True):
    """One check: what was looked at, how it is, and what was found in a sentence."""

    check: str
    grade: Grade
    found: str


def find_worst(checks: Iterable[Checked]) -> Grade:
    """Failing before unknown, before warning, before well. Nothing checked is unknown."""
    return max((item.grade for item in checks), key=SEVERITY.index, default="unknown")


def check_place(settings: KeyroomSettings, now_us: int) -> Iterator[Checked]:
    """Everything about the keyroom's place. `now_us` is the wall clock."""
    yield from check_directories(settings)
    yield check_disk(settings.data)
    yield from check_database(settings, now_us)
    yield check_synchronised()
    yield check_witnesses(settings)
    yield check_token_anchor(settings)
    yield from (check_feed(feed) for feed in settings.feeds)
    if settings.remote is not None:
        yield from check_remote(settings.remote, now_us)


def check_mode(check: str, path: Path, *, secret: bool) -> Checked:
    """A file or directory that nobody else may write; a secret one nobody else may read, either."""
    try:
        status = path.stat()
    except PermissionError:
        return Checked(check, "unknown", f"{path}: permission denied; run this as the keyroom's user")
    except OSError as error:
        return Checked(check, "failing", f"{path}: {error.strerror}")
    mode = stat.S_IMODE(status.st_mode)
    wrong = mode & (0o077 if secret else 0o022)
    return Checked(check, "failing" if wrong else "well", f"{path}, mode {mode:04o}")


def check_directories(settings: KeyroomSettings) -> Iterator[Checked]:
    """Data and public directory are there, and the world writes neither."""
    for check, path in (("data", settings.data), ("public", settings.public)):
        if path.exists():
            yield check_mode(check, path, secret=False)
        else:
            yield Checked(check, "warning", f"{path} is not there yet: the keyroom makes it")


def check_disk(path: Path) -> Checked:
    """Room for the journal: a full disk stops every key."""
    try:
        free = shutil.disk_usage(path if path.exists() else path.parent).free
    except OSError as error:
        return Checked("disk", "unknown", f"{path}: {error.strerror}")
    grade: Grade = "failing" if free < EMPTY_BYTES else "warning" if free < LOW_BYTES else "well"
    return Checked("disk", grade, f"{free >> 20} MiB free")


def check_database(settings: KeyroomSettings, now_us: int) -> Iterator[Checked]:
    """The database answers, is safe, has this release's schema, and its journal does not end in the future."""
    if settings.may_stand_by:
        yield from _check_server(settings, now_us)
        return
    path = settings.data / "kedge.db"
    if missing := _find_obstacle(path):
        yield missing
        return
    yield check_files(path, Path("/proc/self/mounts").read_text(encoding="utf-8"))
    yield check_mode("database's permissions", path, secret=False)
    try:
        with translated(), _reading(open_sqlite(make_url(settings.database_url))) as connection:
            yield _check_wal(connection)
            yield from _check_content(connection, now_us)
    except KeyroomError as error:
        yield Checked("database's content", "failing", f"{error}")


def _find_obstacle(path: Path) -> Checked | None:
    try:
        path.stat()
    except FileNotFoundError:
        return Checked("database", "warning", f"{path} is not there yet: the keyroom makes it")
    except OSError as error:
        return Checked("database", "unknown", f"{path}: {error.strerror}")
    if os.access(path, os.R_OK):
        return None
    return Checked("database", "unknown", f"{path}: permission denied; run this as the keyroom's user")


def check_files(path: Path, mounts: str) -> Checked:
    """SQLite's file lies on a disk of this machine. `mounts` is /proc/self/mounts."""
    lines = [line.split(" ") for line in mounts.splitlines() if line.count(" ") >= 2]
    around = [
        (place, kind)
        for _, place, kind, *_ in lines
        if path.resolve().is_relative_to(place.encode().decode("unicode_escape"))
    ]
    place, kind = max(around, key=lambda item: len(item[0]), default=("", "unknown"))
    if kind in NETWORK_FILES:
        return Checked("database", "failing", f"SQLite on {kind} ({place}): its locks do not hold there")
    return Checked("database", "well", f"SQLite on {kind}")


@contextmanager
def _reading(engine: Engine) -> Iterator[Connection]:
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def _check_wal(connection: Connection) -> Checked:
    mode = connection.execute(text("PRAGMA journal_mode")).scalar()
    return Checked("database's mode", "well" if mode == "wal" else "failing", f"journal_mode={mode}")


def _check_server(settings: KeyroomSettings, now_us: int) -> Iterator[Checked]:
    try:
        with translated(), _reading(make_reader(make_url_safe(make_url(settings.database_url)))) as connection:
            check_way(driver_of(connection))
            facts = read_facts(connection)
            check_server(facts)
            yield Checked("database", "well", f"PostgreSQL {facts['server_version_num']}, settings are safe")
            yield from _check_content(connection, now_us)
    except KeyroomError as error:
        grade: Grade = "failing" if error.code == "store-unsafe" else "unknown"
        yield Checked("database", grade, f"{error}{f'; {error.hint}' if error.hint else ''}")


def _check_content(connection: Connection, now_us: int) -> Iterator[Checked]:
    yield _check_schema(connection)
    try:
        head = connection.execute(text("SELECT size, ts_us FROM head")).one_or_none()
    except SQLAlchemyError:
        head = None
    if head is None:
        yield Checked("journal", "warning", "empty: hold the genesis ceremony")
        return
    last = datetime.datetime.fromtimestamp(head.ts_us / 1_000_000, datetime.UTC).isoformat(timespec="seconds")
    early = head.ts_us - now_us > MAX_BACKWARD_US
    yield Checked("journal", "well", f"{head.size} entries, the last of {last}")
    yield Checked("clock", "failing" if early else "well", "before the last entry: no key is used" if early else last)


def _check_schema(connection: Connection) -> Checked:
    """This release's schema, an older one (the next start brings it up to date), or one that is not known here."""
    scripts = ScriptDirectory.from_config(_migrations())
    try:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    except SQLAlchemyError:
        found = None
    head = scripts.get_current_head()
    if found == head:
        return Checked("schema", "well", f"version {found}")
    if found is None or found in {script.revision for script in scripts.walk_revisions()}:
        return Checked("schema", "warning", f"version {found}, the next start migrates it to {head}: make a backup")
    return Checked("schema", "failing", f"version {found} is not known here ({head}): an older release was installed")


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def check_synchronised() -> Checked:
    """Whether the kernel says that something keeps the clock right (adjtimex(2)); containers often cannot tell."""
    timex = (ctypes.c_char * 512)()
    try:
        answer: Any = ctypes.CDLL(None, use_errno=True).adjtimex(timex)
    except (OSError, AttributeError):
        answer = -1
    if answer < 0:
        return Checked("time source", "unknown", "the kernel does not tell")
    if answer == _TIME_ERROR:
        return Checked("time source", "warning", "nothing keeps the clock right: run an NTP client")
    return Checked("time source", "well", "synchronised")


def check_token_anchor(settings: KeyroomSettings) -> Checked:
    """Whether the journal's token keeps its head."""
    if settings.token_anchor_every_s:
        return Checked("token anchor", "well", f"at most {settings.token_anchor_every_s:g} s behind the journal")
    found = "off: the token does not notice a database restored with all its files (token_anchor_every_s)"
    return Checked("token anchor", "warning", found)


def check_feed(feed: FeedPlace) -> Checked:
    """Where a feed goes and its secret are in order. Nothing is sent."""
    try:
        open_sink(feed, "doctor", lambda: 0)
    except KeyroomError as error:
        return Checked(f"feed {feed.name}", "failing", f"{error}{f'; {error.hint}' if error.hint else ''}")
    return Checked(f"feed {feed.name}", "well", f"to {feed.to.partition('?')[0]}")


def check_remote(remote: RemotePlace, now_us: int) -> Iterator[Checked]:
    """The files for API processes on other machines fit together, and none of their certificates ends soon."""
    files = TlsFiles(remote.certificate, remote.key, remote.ca)
    yield from check_tls("remote", files, f"{remote.listen}, {len(remote.peers)} peers", now_us, server=True)


def check_tls(check: str, files: TlsFiles, found: str, now_us: int, *, server: bool) -> Iterator[Checked]:
    """The files of one side of the TLS between API and keyroom. `found`: what is told when they fit together."""
    try:
        make_context(files, server=server)
    except KeyroomError as error:
        yield Checked(check, "failing", f"{error}{f'; {error.hint}' if error.hint else ''}")
        return
    yield Checked(check, "well", found)
    yield check_end(f"{check}'s certificate", files.certificate, now_us)
    yield check_end(f"{check}'s authorities", files.ca, now_us)


def check_end(check: str, path: Path, now_us: int) -> Checked:
    """How long the certificates of a PEM file last, by the first that ends."""
    try:
        left = first_end(path.read_bytes()) - now_us // 1_000_000
    except (OSError, ValueError) as error:
        return Checked(check, "failing", f"{path}: {error}")
    grade: Grade = "failing" if left <= 0 else "warning" if left < RENEW_S else "well"
    return Checked(check, grade, f"{path}: {left // 86_400} days left" if left > 0 else f"{path}: has ended")


def check_witnesses(settings: KeyroomSettings) -> Checked:
    """Enough witnesses for the quorum let themselves be connected to."""
    try:
        policy = read_witnesses(settings)
        if not policy.is_witnessed:
            return Checked("witnesses", "warning", "quorum none: nobody vouches that there is one history")
        peers = list_peers(policy)
    except KeyroomError as error:
        return Checked("witnesses", "failing", str(error))
    away = {peer.name: why for peer in peers if (why := _reach(peer.url))}
    missing = weigh_cosignatures(policy, [peer.name for peer in peers if peer.name not in away]).missing
    told = "".join(f"; {name}: {why}" for name, why in sorted(away.items()))
    grade: Grade = "failing" if missing else "warning" if away else "well"
    return Checked("witnesses", grade, f"{len(peers) - len(away)} of {len(peers)} can be reached{told}")


def _reach(url: str) -> str:
    """Why no connection comes about; empty when one does."""
    parts = urlsplit(url)
    address = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        socket.create_connection(address, timeout=CONNECT_S).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""
