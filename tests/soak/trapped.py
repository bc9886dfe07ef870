"""The keyroom as `kedge keyroom` runs it, with a trap: it kills itself at the nth time that it comes to a point.

`python -m tests.soak.trapped SETTINGS POINT NUMBER SEAMS`. SEAMS is a directory with two files that a test may write at
any time: `clock` holds the seconds that the wall clock is off, and while `read-only` exists, SQLite writes nothing.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from sqlalchemy import Connection

from ceremonies import keywork, ledger, process, public
from ceremonies.door import Door
from ceremonies.recording import Recording
from ceremonies.settings import load_settings
from ceremonies.store import Store
from ceremonies.surroundings import Surroundings
from hsm.remote import RemoteSeries, RemoteStrongbox
from tests.crashing import at_call, die


def asked(method: str) -> Callable[[int], None]:
    """Die when the warden has been asked, and works."""

    def set_trap(_number: int) -> None:
        def ask(box: RemoteStrongbox, *arguments: object) -> None:
            box._send(method, *arguments)
            time.sleep(0.002)
            die()

        setattr(RemoteStrongbox, method, ask)

    return set_trap


def at(owner: Any, name: str, *, done: bool) -> Callable[[int], None]:
    """Die at the nth call, when it begins or when it is done."""
    return lambda number: at_call(owner, name, number, done=done)


# The lines of the crash table. One transaction is T1 of a batch and T2 of an earlier one: points of T1 are of both.
POINTS: dict[str, Callable[[int], None]] = {
    "nowhere": lambda _: None,
    "before T1": at(Recording, "write", done=False),
    "inside T1": at(ledger, "put_blobs", done=True),
    "after T1": at(Recording, "write", done=True),
    "signing": at(RemoteStrongbox, "start", done=True),
    "signed": at(RemoteSeries, "wait", done=True),
    "after T2": at(Door, "_answer", done=False),
    "answered": at(Door, "_answer", done=True),
    "before generate": at(RemoteStrongbox, "generate", done=False),
    "generating": asked("generate"),
    "key generated": at(RemoteStrongbox, "generate", done=True),
    "key registered": at(keywork, "_register", done=True),
    "before destroy": at(RemoteStrongbox, "destroy", done=False),
    "destroying": asked("destroy"),
    "object gone": at(RemoteStrongbox, "destroy", done=True),
    "publishing": at(public, "write_file", done=False),
}
OF_KEYS = ("before generate", "generating", "key generated", "key registered",
           "before destroy", "destroying", "object gone")  # fmt: skip
"""Points that a ceremony comes to once or twice; the others are met hundreds of times a second."""


def shift_clock(around: Surroundings, seams: Path) -> Surroundings:
    """The same, with a wall clock that a file sets back and forth. Read at most every 50 ms."""
    state = [0.0, 0.0]

    def now_us() -> int:
        if time.monotonic() > state[0]:
            file = seams / "clock"
            state[:] = time.monotonic() + 0.05, float(file.read_text() or 0) if file.exists() else 0.0
        return around.now_us() + int(state[1] * 1_000_000)

    return msgspec.structs.replace(around, now_us=now_us)


def obey_read_only(seams: Path) -> None:
    """`PRAGMA query_only` on the connection that writes, for as long as a file exists."""
    real = Store.write

    @contextmanager
    def write(store: Store) -> Iterator[Connection]:
        if store._sqlite:  # before the transaction: BEGIN IMMEDIATE itself is refused
            store._writing = store._writing or store._writer.connect()
            store._writing.connection.cursor().execute(f"PRAGMA query_only={int((seams / 'read-only').exists())}")
        with real(store) as given:
            yield given

    Store.write = write  # type: ignore[method-assign,assignment]  # the seam of a test, below everything that it tests


def main(settings: Path, point: str, number: int, seams: Path) -> None:
    """Set the trap, then run as always."""
    around = shift_clock(process.surroundings(), seams)
    process.surroundings = lambda: around
    obey_read_only(seams)
    POINTS[point](number)
    process.run_keyroom(settings, load_settings(settings))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]))
