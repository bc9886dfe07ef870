"""A large journal read: by its keyroom as a process of its own, by `kedge journal export`, `kedge verify`, and Go."""

import os
import random
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
from sqlalchemy import select
from sqlalchemy.engine import make_url

from ceremonies.client import KeyroomClient
from ceremonies.commands import AnyCommand, DeviceIssued, IssueDevice, ProofShown, ReadTile, ShowProof, TileRead
from ceremonies.store import open_sqlite, table_of
from ceremonies.tables import DocumentRow
from pki.log.tiles import Tile
from tests.bench import fresh_keys, measure
from tests.scenarios.keyrooms import KEDGE, ROOT, Running
from tests.world import World, make_request

SOURCE = ROOT / "tests" / "interop" / "journal_go"
PROOFS, READERS, CALLERS = 1000, 8, 64
TOKEN_S = 100.0


class Measured(msgspec.Struct, frozen=True):
    """A command that ended well: what it said, how long it took, processor time, its largest resident memory in MB."""

    said: str
    seconds: float
    cpu_s: float
    peak_mb: float


def read_memory(pid: int) -> float:
    """The resident memory of one process, in MB, without its children; 0 when it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def read_cpu(pid: int) -> float:
    """The processor time of one process since its start, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Peak:
    """The most memory that a process holds inside the block, looked at twenty times a second: `mb`."""

    def __init__(self, pid: int) -> None:
        self.mb = 0.0
        self._pid = pid
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.05):
            self.mb = max(self.mb, read_memory(self._pid))

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def run_measured(command: Sequence[str | Path], **environment: str) -> Measured:
    """Run a command and wait for it."""
    started = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    with process.stdout, Peak(process.pid) as held:
        said = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, said[-2000:]
    return Measured(said, time.perf_counter() - started, used.ru_utime + used.ru_stime, held.mb)


class Watch:
    """A keyroom process, and how much memory it holds itself, without its warden and its reader."""

    def __init__(self, world: World) -> None:
        (world.path / "keyroom-1.log").unlink(missing_ok=True)  # it would tell of an earlier start
        started = time.perf_counter()
        self.running = Running(world, "keyroom-1")
        self.running.wait_for("keyroom is up")
        self.start_s = time.perf_counter() - started
        self.start_cpu_s = read_cpu(self.pid)

    @property
    def pid(self) -> int:
        """The keyroom's own process."""
        return self.running.process.pid


class Caller:
    """Asks the keyroom as one role; its token is made anew before it is too old."""

    def __init__(self, world: World, role: str) -> None:
        self.client = KeyroomClient(world.settings().socket)
        self._world, self._role = world, role
        self._token, self._until = "", 0.0

    async def ask(self, command: AnyCommand) -> object:
        if time.monotonic() > self._until:
            self._token, self._until = self._world.role_token(self._role), time.monotonic() + TOKEN_S
        return await self.client.ask(command, token=self._token, source="192.0.2.7")


def forget_pages(folder: Path) -> None:
    """Have the kernel forget what it holds of these files, as after a boot of the machine."""
    os.sync()
    for file in filter(Path.is_file, folder.iterdir()):
        with file.open("rb") as opened:
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def choose_documents(world: World, count: int) -> list[str]:
    """Digests of documents all over the journal; a digest is as good as a random number."""
    column, engine = table_of(DocumentRow).c.sha256, open_sqlite(make_url(world.settings().database_url))
    with engine.connect() as connection:
        wanted = [random.randbytes(32).hex() for _ in range(count)]
        found = [connection.scalar(select(column).where(column >= it).order_by(column).limit(1)) for it in wanted]
    return [digest for digest in found if digest is not None]


async def measure_proofs(world: World, seconds: float) -> tuple[int, float, list[float]]:
    """One caller asks for the proofs of old documents, entry and document included."""
    caller, digests = Caller(world, ""), choose_documents(world, PROOFS)

    async def prove(number: int) -> None:
        assert isinstance(await caller.client.ask(ShowProof(digests[number % len(digests)])), ProofShown)

    measured = await measure(1, prove, seconds)
    await caller.client.close()
    return measured


async def measure_tiles(world: World, size: int, level: int, seconds: float) -> tuple[int, float, list[float]]:
    """Auditors read complete tiles anywhere: bundles of entries, or the hashes of entries."""
    caller = Caller(world, "auditor")

    async def read(_: int) -> None:
        answer = await caller.ask(ReadTile(Tile(level, random.randrange(size // 256)).path))
        assert isinstance(answer, TileRead)

    measured = await measure(READERS, read, seconds)
    await caller.client.close()
    return measured


async def flood(world: World, first: int, seconds: float) -> tuple[int, float, list[float]]:
    """Stations ask for certificates, each for the next device, over the keyroom's socket."""
    caller = Caller(world, "station")
    requests = [make_request(key) for key in fresh_keys(int(1200 * seconds) + CALLERS)]

    async def issue(number: int) -> None:
        command = IssueDevice("wo-1", f"BMS-{first + number:07}", requests[number])
        assert isinstance(await caller.ask(command), DeviceIssued)

    measured = await measure(CALLERS, issue, seconds)
    await caller.client.close()
    return measured


def export(world: World, folder: Path, *options: str | Path) -> Measured:
    """`kedge journal export`, over the keyroom's socket."""
    return run_measured([*KEDGE, "journal", "--socket", world.settings().socket, "export", folder, *options])


def count_bytes(folder: Path) -> tuple[int, int]:
    """How many files, and the sum of their sizes."""
    files = total = 0
    for place, _, names in os.walk(folder):
        files += len(names)
        total += sum(Path(f"{place}/{name}").stat().st_size for name in names)
    return files, total


def verify(folder: Path, trust: Path, *options: str | Path) -> Measured:
    """`kedge verify`; an export that is not authenticated fails here."""
    return run_measured([*KEDGE, "verify", folder, "--trust", trust, *options])


def build_foreign(folder: Path) -> Path:
    """The verifier of tests/interop: Go's golang.org/x/mod/sumdb, from the distribution."""
    binary = folder / "journal-verify"
    given = {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode", "GOFLAGS": ""}
    subprocess.run(["go", "build", "-o", binary, "."], cwd=SOURCE, env=os.environ | given, check=True)
    return binary
