"""A keyroom on real files and tokens that a test starts, kills and starts again, and the processes under it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from tests.scenarios.keyrooms import ROOT, write_settings
from tests.softhsm import make_token_dir
from tests.world import World

WARDEN, READER = "hsm.warden", "ceremonies.reader"
LINGER_S = 15.0
PATIENCE_S = 240.0
"""A machine that does nothing else starts a keyroom in two seconds; one that is shared may stand still for minutes."""


class Trap(msgspec.Struct, frozen=True):
    """Where a keyroom kills itself, and the how manyeth time that it comes there."""

    point: str = "nowhere"
    number: int = 1


class Plant:
    """One node. `more`: lines for its settings. Each start has a log of its own."""

    def __init__(self, world: World, node: str = "keyroom-1", *more: str) -> None:
        self.world, self.node, self._more = world, node, more
        self.seams = world.path / "seams"
        self.seams.mkdir(exist_ok=True)
        self.starts = 0
        self.start_s: list[float] = []
        self.left: set[int] = set()
        self.process: subprocess.Popen[bytes]

    @property
    def log(self) -> Path:
        """What the newest process says."""
        return self.world.path / f"{self.node}-{self.starts}.log"

    def start(self, trap: Trap = Trap()) -> "Plant":  # noqa: B008  # frozen
        """Start the process; it may not be up yet."""
        self.starts += 1
        settings = write_settings(self.world, self.node)
        if self._more:  # before the first table
            settings.write_text("\n".join([*self._more, settings.read_text()]))
        given = ["-m", "tests.soak.trapped", str(settings), trap.point, str(trap.number), str(self.seams)]
        environment = {**os.environ, **make_token_dir(self.world.path / "hsm")}
        with self.log.open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, *given], cwd=ROOT, env=environment, stdout=said, stderr=said
            )
        return self

    def says(self, words: str) -> bool:
        """Whether the newest process has said this."""
        return self.log.exists() and words in self.log.read_text()

    def wait_up(self, seconds: float = PATIENCE_S) -> bool:
        """Wait until it serves; False when it ended before."""
        begun = time.monotonic()
        while not self.says("keyroom is up"):
            if self.process.poll() is not None:
                return False
            assert time.monotonic() < begun + seconds, self.log.read_text()
            time.sleep(0.02)
        self.start_s.append(time.monotonic() - begun)
        return True

    def children(self, module: str) -> list[int]:
        """The process ids of its wardens or readers."""
        found = []
        for file in Path(f"/proc/{self.process.pid}/task").glob("*/children"):
            try:
                pids = [int(word) for word in file.read_text().split()]
                found += [pid for pid in pids if module.encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]
            except OSError:  # it ended meanwhile
                continue
        return found

    def kill(self, who: str = "") -> bool:
        """Kill the keyroom, or one of the processes under it; whether there was one to kill."""
        if self.process.poll() is not None:
            return False
        self.left |= {*self.children(WARDEN), *self.children(READER)}
        pids = self.children(who)[:1] if who else [self.process.pid]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        return bool(pids)

    def wait_end(self, seconds: float = PATIENCE_S) -> int:
        """Its exit status, as soon as it has ended."""
        return self.process.wait(seconds)

    def end(self) -> int:
        """Tell it to end, as a supervisor does; its exit status."""
        if self.process.poll() is None:
            self.left |= {*self.children(WARDEN), *self.children(READER)}
            self.process.terminate()
        return self.wait_end()

    def check_nothing_left(self) -> None:
        """No warden and no reader outlives its keyroom."""
        until = time.monotonic() + LINGER_S
        mine = {*self.children(WARDEN), *self.children(READER)}
        while left := {pid for pid in self.left - mine if is_ours(pid)}:
            assert time.monotonic() < until, f"processes {left} outlive their keyroom"
            time.sleep(0.05)
        self.left.clear()


def is_ours(pid: int) -> bool:
    """Whether this process lives still, and is a warden or a reader."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        ended = b"State:\tZ" in Path(f"/proc/{pid}/status").read_bytes()
    except OSError:
        return False
    return not ended and (WARDEN.encode() in command or READER.encode() in command)
