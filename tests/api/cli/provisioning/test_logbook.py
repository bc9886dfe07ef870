"""The logbook: durable, chained, locked, limited; what a crash leaves of it."""

import errno
import multiprocessing
import os
import signal
import stat
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.cli.provisioning import logbook as module
from api.cli.provisioning.logbook import LogbookBroken, LogbookFull, LogbookInUse, opened, read_logbook
from api.cli.provisioning.records import Answered, Queued, Refused, Sent


def request(serial: str, **changed: Any) -> Queued:
    return Queued(**{"act": "issue", "order": "wo-1", "serial": serial, "out": "/out", "at": 1, "csr": b"x", **changed})


def states(path: Path) -> dict[str, str]:
    return {item.request.serial: item.state for item in read_logbook(path).items.values()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A logbook: S1 answered, S2 refused, S3 sent, S4 queued."""
    found = tmp_path / "station" / "logbook"
    with opened(found) as book:
        numbers = [item.n for item in book.queue([request(f"S{at}") for at in range(1, 5)])]
        assert numbers == [1, 2, 3, 4]
        book.append([Sent([1, 2, 3], 2)])
        book.append([Answered(1, 3), Refused(2, 3, "key-known", "no", "quarantine")])
    return found


def test_what_was_written_is_read(path: Path) -> None:
    assert states(path) == {"S1": "answered", "S2": "refused", "S3": "sent", "S4": "queued"}
    with opened(path) as book:
        assert [item.request.serial for item in book.list_waiting()] == ["S3", "S4"]
        assert [item.n for item in book.queue([request("S5")])] == [5]
    refusal = read_logbook(path).items[2].refusal
    assert refusal is not None
    assert (refusal.code, refusal.hint) == ("key-known", "quarantine")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_logbook(path.with_name("none")).items == {}


def test_every_cut_of_the_last_line_is_a_step_that_was_not_done(path: Path) -> None:
    data = path.read_bytes()
    start = data[:-1].rindex(b"\n") + 1
    for end in range(start + 1, len(data)):
        path.write_bytes(data[:end])
        content = read_logbook(path)
        assert (content.torn, content.end) == (True, start)
        assert states(path) == {"S1": "sent", "S2": "sent", "S3": "sent", "S4": "queued"}
    path.write_bytes(data[:start] + bytes(len(data) - start))  # blocks that a power cut left empty
    with opened(path) as book:
        assert book.torn
        book.append([Answered(3, 9)])
    assert not read_logbook(path).torn
    assert states(path)["S3"] == "answered"


def test_a_line_that_is_not_the_last_is_never_forgiven(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    altered = [
        line.replace(b"S1", b"S7").replace(b'"at":2', b'"at":7').replace(b'"after":""', b'"after":"7"')
        for line in lines
    ]
    for at in range(len(lines) - 1):
        assert altered[at] != lines[at]
        for bad in ([], [altered[at]]):
            path.write_bytes(b"".join([*lines[:at], *bad, *lines[at + 1 :]]))
            with pytest.raises(LogbookBroken):
                read_logbook(path)
    swapped = [lines[0], lines[2], lines[1], lines[3]]
    path.write_bytes(b"".join(swapped))
    with pytest.raises(LogbookBroken), opened(path):
        pass


def test_one_process_writes(path: Path) -> None:
    with opened(path), pytest.raises(LogbookInUse), opened(path):
        pass
    with opened(path):
        assert states(path)["S4"] == "queued"  # reading needs no lock


def hold(path: Path, ready: Event) -> None:
    with opened(path) as book:
        book.queue([request("S9")])
        ready.set()
        signal.pause()


def test_a_killed_process_leaves_what_it_wrote_and_no_lock(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    child = context.Process(target=hold, args=(path, ready))
    child.start()
    assert ready.wait(60)
    child.kill()
    child.join(30)
    with opened(path) as book:
        assert [item.request.serial for item in book.list_waiting()] == ["S3", "S4", "S9"]


def test_no_file_is_written_that_could_not_be_read_again(path: Path) -> None:
    """Requests may have 16 KiB each, and a station whose logbook cannot be read stands still."""
    large = [request(f"L{at}", csr=os.urandom(1 << 14)) for at in range(1_000)]
    with opened(path) as book:
        book.queue(large)
        with pytest.raises(LogbookFull):
            book.queue([msgspec.structs.replace(item, serial=f"M{at}") for at, item in enumerate(large)])
    assert path.stat().st_size < module.QUEUED_LIMIT
    assert len(states(path)) == 1_004


def test_only_so_many_wait(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WAITING_LIMIT", 4)
    with opened(path) as book:
        book.queue([request("S5"), request("S6")])
        with pytest.raises(LogbookFull):
            book.queue([request("S7")])
    assert "S7" not in states(path)


def test_a_full_disk_leaves_no_half_line(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before, write = path.read_bytes(), os.write

    def write_less(file: int, data: bytes) -> int:
        return write(file, data[:20])

    with opened(path) as book:
        monkeypatch.setattr(os, "write", write_less)
        with pytest.raises(OSError, match="no space") as caught:
            book.queue([request("S5")])
        monkeypatch.undo()
        assert caught.value.errno == errno.ENOSPC
        assert path.read_bytes() == before
        book.queue([request("S6")])
    assert "S6" in states(path)


def test_a_large_file_is_put_away_with_what_waits_carried_on(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = path.read_bytes()
    with opened(path):
        assert path.read_bytes() == before
    monkeypatch.setattr(module, "FULL", 100)
    with opened(path) as book:
        assert [(item.request.serial, item.state) for item in book.list_waiting()] == [("S3", "sent"), ("S4", "queued")]
        book.append([Answered(3, 9)])
        assert [item.n for item in book.queue([request("S5")])] == [5]
    (kept,) = path.parent.glob("logbook.[0-9a-f]*")
    assert kept.read_bytes() == before
    first = path.read_bytes().splitlines()[0]
    assert read_logbook(kept).head.encode() in first
    assert states(path) == {"S3": "answered", "S4": "queued", "S5": "queued"}


def test_a_crash_while_a_file_is_put_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FULL", 100)
    replace = Path.replace

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt), opened(path):
        pass
    assert states(path) == {"S1": "answered", "S2": "refused", "S3": "sent", "S4": "queued"}
    monkeypatch.setattr(Path, "replace", replace)
    with opened(path) as book:
        assert len(book.list_waiting()) == 2
    assert len(list(path.parent.glob("logbook.[0-9a-f]*"))) == 1
