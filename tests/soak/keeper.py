"""What stands around a plant in an outage: a supervisor, a load, an audit, and file systems that are too small."""

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tests.soak.audit import Audit, reader
from tests.soak.crowd import Crowd
from tests.soak.plant import Plant
from tests.soak.storms import judge
from tests.world import World

CALLERS = 16
FEW = 40
PATIENCE_S = 60.0


class Keeper:
    """Starts a plant's keyroom again whenever it ends, as systemd does. `statuses`: how it ended."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant
        self.statuses: list[int] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        plant.start()
        self._thread.start()

    def _watch(self) -> None:
        while not self._stopping.wait(0.2):
            status = self.plant.process.poll()
            if status is not None:
                self.statuses.append(status)
                self.plant.start()

    def stop(self) -> None:
        """Let it end, and start it no more."""
        self._stopping.set()
        self._thread.join()
        self.plant.end()


class Outage:
    """A kept plant under load. `patient`: codes of refusals that stations live with."""

    def __init__(self, world: World, *more: str, patient: tuple[str, ...] = (), officers: bool = False) -> None:
        self.plant = Plant(world, "keyroom-1", *more)
        self.audit = Audit(reader(world))
        self.keeper = Keeper(self.plant)
        assert self.plant.wait_up()
        self.crowd = Crowd(world, CALLERS, officers=officers, patient=patient)

    def wait_for(self, code: str, more: int = 5) -> None:
        """Wait until stations are refused with this code so many times more."""
        until, wanted = time.monotonic() + PATIENCE_S, self.crowd.waits[code] + more
        wait(lambda: self.crowd.waits[code] >= wanted, until, lambda: f"no {code}: {self.crowd.waits}")

    def judge(self) -> None:
        """What clients have stands in the journal, and the journal is whole."""
        judge(self.audit, self.crowd)

    def finish(self) -> None:
        """The outage is over: the load goes on, then everything ends well."""
        self.crowd.wait_more(FEW)
        self.close()
        self.plant.check_nothing_left()
        self.judge()
        self.audit.check_sums()
        self.audit.check_names(self.crowd.issued)

    def close(self) -> None:
        """End the load, then the keyroom."""
        try:
            self.crowd.stop()
        finally:
            self.keeper.stop()


@contextlib.contextmanager
def outage(world: World, *more: str, patient: tuple[str, ...] = ()) -> Iterator[Outage]:
    """An outage that is closed whatever happens, and judged when nothing did."""
    at = Outage(world, *more, patient=patient)
    try:
        at.crowd.wait_more(FEW)
        yield at
        at.finish()
    except BaseException:
        with contextlib.suppress(BaseException):
            at.close()
        raise


def wait(ready: Callable[[], bool], until: float, say: Callable[[], str]) -> None:
    """Wait until something holds."""
    while not ready():
        assert time.monotonic() < until, say()
        time.sleep(0.02)


@contextlib.contextmanager
def small_disk(path: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own at `path`, with what was there, and is there again afterwards.

    Refuses when this user may not mount one.
    """
    if os.getuid() != 0:
        raise PermissionError("a small file system can be mounted by root only: run `make soak` as root")
    kept = path.with_name(f"{path.name}-kept")
    path.rename(kept)
    path.mkdir()
    run("mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=777", "tmpfs", str(path))
    try:
        run("cp", "-a", f"{kept}/.", str(path))
        yield path
    finally:
        run("umount", "-l", str(path))
        path.rmdir()
        kept.rename(path)


def enlarge(path: Path, megabytes: int) -> None:
    """Give a small disk more room, while it is used."""
    run("mount", "-o", f"remount,size={megabytes}m", str(path))


def fill(path: Path, leave: int = 0) -> Path:
    """Take all room of a disk but some bytes, and keep it in a file."""
    ballast = path / "ballast"
    with ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while (room := find_room(path) - leave) > 0:
            file.write(bytes(min(room, 1 << 20)))
    return ballast


def find_room(path: Path) -> int:
    """Bytes that are free on a disk."""
    space = os.statvfs(path)
    return space.f_bavail * space.f_frsize


def run(*command: str) -> None:
    """Run a program that must not fail."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
