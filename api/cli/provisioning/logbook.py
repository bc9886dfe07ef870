"""The station's logbook: what shall be sent, was sent and was answered, in an append-only file that outlives a crash.

A line of the file is what one step adds: 64 hex digits, a blank, and records in JSON. The digits are the SHA-256 of the
line before (its digits) and these records, so a line that is missing or altered is found. A line is on the disk (fsync)
before anything is done because of it. What a power cut leaves of the last line counts as not written.

Commit points: after `queued`, a crash leaves a request that waits; after `sent`, one that may have been answered, and
that is sent again with the same content; after `answered`, the files of the answer are there.
"""

import errno
import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from api.cli.errors import CliError
from api.cli.files import FILE_LIMIT, read_file
from api.cli.provisioning.exits import Exit
from api.cli.provisioning.records import Answered, Item, Opened, Queued, Record, Refused, Sent

WAITING_LIMIT: Final = 20_000
"""Requests that may wait: 30 MB."""
FULL: Final = 16 << 20
"""Bytes after which a new file is begun."""
QUEUED_LIMIT: Final = 40 << 20
"""Bytes of a file to which requests are added; verdicts come on top, and a file over FILE_LIMIT is not read again."""
START: Final = "0" * 64
_DECODE: Final = msgspec.json.Decoder(list[Record])


class LogbookBroken(CliError):
    """A line of the logbook is missing or was altered."""

    code = "logbook-broken"
    status = Exit.LOGBOOK


class LogbookInUse(CliError):
    """Another process writes this logbook."""

    code = "logbook-in-use"
    status = Exit.LOGBOOK


class LogbookFull(CliError):
    """Too many requests wait."""

    code = "logbook-full"
    status = Exit.LOGBOOK


class Content(msgspec.Struct, frozen=True):
    """What a file says. head: the digits of its last line; end: bytes up to there. torn: something follows, the rest of
    a line that was not written to its end.
    """

    items: Mapping[int, Item]
    head: str
    end: int
    torn: bool


class Logbook:
    """A logbook that this process alone writes; `opened` makes one. torn: its last line was cut off."""

    def __init__(self, path: Path, content: Content) -> None:
        self.path = path
        self.items = dict(content.items)
        self.torn = content.torn
        self._head = content.head
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        if content.torn:
            os.ftruncate(self._file, content.end)
        if not content.end:
            self.append([Opened()])
            sync_folder(path.parent)

    def append(self, records: Sequence[Record]) -> None:
        """Write records durably, all or none, then follow them."""
        if not records:
            return
        line = write_line(self._head, records)
        size = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) != len(line):
                raise OSError(errno.ENOSPC, "no space left for a whole line", str(self.path))
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, size)
            raise
        self._head = line[:64].decode()
        follow(self.items, records)

    def list_waiting(self) -> list[Item]:
        """What is neither answered nor refused, in order."""
        return [item for item in self.items.values() if item.waits]

    def queue(self, requests: Iterable[Queued]) -> list[Queued]:
        """Let requests wait; they get their numbers. Raises LogbookFull."""
        number = max(self.items, default=0)
        numbered = [msgspec.structs.replace(item, n=number + at) for at, item in enumerate(requests, 1)]
        if len(self.list_waiting()) + len(numbered) > WAITING_LIMIT:
            raise LogbookFull(
                f"{self.path}: more than {WAITING_LIMIT} requests would wait", hint="`kedge station resume` first"
            )
        if os.fstat(self._file).st_size + len(write_line(self._head, numbered)) > QUEUED_LIMIT:
            raise LogbookFull(
                f"{self.path} would have more than {QUEUED_LIMIT} bytes",
                hint="`kedge station resume`, or fewer at once",
            )
        self.append(numbered)
        return numbered

    def begin_anew(self) -> None:
        """A new file with what waits, when this one is large; the old one keeps its content under another name."""
        carried = write_line(START, [Opened(self._head), *carry(self.list_waiting())])
        if os.fstat(self._file).st_size < max(FULL, 2 * len(carried)):
            return
        fresh = self.path.with_name(f"{self.path.name}.new")
        kept = self.path.with_name(f"{self.path.name}.{self._head[:16]}")
        fresh.unlink(missing_ok=True)
        with open(fresh, "xb", opener=_private) as file:
            file.write(carried)
            file.flush()
            os.fsync(file.fileno())
        # A crash between these two leaves two names of the old file, and the next run begins anew again.
        if not (kept.exists() and kept.samefile(self.path)):
            os.link(self.path, kept)
        fresh.replace(self.path)
        sync_folder(self.path.parent)
        self.close()
        content = read_logbook(self.path)
        self._file = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
        self._head, self.items = content.head, dict(content.items)

    def close(self) -> None:
        """Let the file go."""
        os.close(self._file)


@contextmanager
def opened(path: Path) -> Iterator[Logbook]:
    """The logbook, until the block ends; made when there is none. Raises LogbookInUse, LogbookBroken."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with open(path.with_name(f"{path.name}.lock"), "ab", opener=_private) as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LogbookInUse(f"{path} is in use", hint="wait for the other command, or use --logbook") from error
        logbook = Logbook(path, read_logbook(path))
        try:
            logbook.begin_anew()
            yield logbook
        finally:
            logbook.close()


def _private(name: str, flags: int) -> int:
    return os.open(name, flags, 0o600)


def sync_folder(folder: Path) -> None:
    """Make the names in a directory durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def carry(waiting: Sequence[Item]) -> Iterator[Record]:
    """Records that say of each of these what is known of it."""
    yield from (item.request for item in waiting)
    sent = [item.request.n for item in waiting if item.state == "sent"]
    if sent:
        yield Sent(sent, waiting[0].request.at)


def write_line(head: str, records: Sequence[Record]) -> bytes:
    """Records as the line that follows the line with these digits."""
    body = msgspec.json.encode(records)
    return f"{hashlib.sha256(head.encode() + body).hexdigest()} ".encode() + body + b"\n"


def read_logbook(path: Path) -> Content:
    """A logbook as it stands, also while another process writes it. Raises LogbookBroken, FileRefused."""
    data = read_file(path, FILE_LIMIT) if path.exists() else b""
    items: dict[int, Item] = {}
    head, end = START, 0
    while end < len(data):
        stop = data.find(b"\n", end) + 1 or len(data)
        records = read_line(data[end:stop])
        if records is None and stop == len(data):
            return Content(items, head, end, torn=True)
        if records is None or not is_next(head, data[end:stop]):
            raise LogbookBroken(
                f"{path}: byte {end} is not what was written", hint="keep the file for the supervisor; use another one"
            )
        follow(items, records)
        head, end = data[end : end + 64].decode(), stop
    return Content(items, head, end, torn=False)


def read_line(line: bytes) -> Sequence[Record] | None:
    """The records of a line; None when it is no whole line."""
    if line[-1:] != b"\n" or line[64:65] != b" ":
        return None
    try:
        return _DECODE.decode(line[65:-1])
    except msgspec.MsgspecError:
        return None


def is_next(head: str, line: bytes) -> bool:
    """Whether a line follows the line with these digits."""
    return hashlib.sha256(head.encode() + line[65:-1]).hexdigest().encode() == line[:64]


def follow(items: dict[int, Item], records: Iterable[Record]) -> None:
    """What becomes of requests by these records."""
    for record in records:
        if isinstance(record, Queued):
            items[record.n] = Item(record)
        elif isinstance(record, Sent):
            for number in record.numbers:
                items[number].state = "sent"
        elif isinstance(record, Answered):
            items[record.n].state = "answered"
        elif isinstance(record, Refused):
            items[record.n].state, items[record.n].refusal = "refused", record
