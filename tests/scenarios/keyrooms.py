"""Real `kedge keyroom` processes on one database and one set of tokens, and stations that keep asking whoever is up."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from ceremonies.client import KeyroomClient, KeyroomDown, Refused
from ceremonies.commands import DeviceIssued, HealthShown, IssueDevice, ShowHealth
from ceremonies.frames import FrameInvalid
from pki.log.reports import Report
from tests.api.cli.running import answer
from tests.interop.test_journal_foreign import judge, write_export
from tests.softhsm import find_module, make_token_dir
from tests.world import MAIN_ROLES, TOKENS, World, audit_files, export_journal, make_request

ROOT = Path(__file__).parents[2]
KEDGE = [sys.executable, "-c", "from api.cli.main import run; run()"]
AWAY = (
    "store-lost", "store-unavailable", "keyroom-stopping", "keyroom-busy", "hsm-closed", "hsm-ended", "log-key-missing",
)  # fmt: skip
"""What a station takes for a reason to ask again."""
PATIENCE_S = 60.0


def write_settings(world: World, node: str, more: str = "") -> Path:
    """The settings file of one of the keyrooms; they differ in their name, and in what `more` says."""
    given = world.settings()
    lines = [
        f'origin = "{given.origin}"', f'node = "{node}"', f'data = "{given.data}"', f'public = "{given.public}"',
        f'socket = "{given.socket}"', f'module = "{find_module()}"', f'roster_sha256 = "{given.roster_sha256}"',
        f'database = "{given.database}"', f"witnesses = {json.dumps(given.witnesses)}",
    ]  # fmt: skip
    for label, roles in TOKENS.items():
        file = world.path / "hsm" / f"{label}.pin"
        lines += ["[[tokens]]", f'label = "{label}"', f'pin_file = "{file}"', f"roles = {list(roles or MAIN_ROLES)}"]
    file = world.path / f"{node}.toml"
    file.write_text("\n".join(lines) + "\n" + more)
    return file


class Running:
    """A `kedge keyroom` process; what it says is in a file."""

    def __init__(self, world: World, node: str, more: str = "") -> None:
        self.log = world.path / f"{node}.log"
        environment = {**os.environ, **make_token_dir(world.path / "hsm")}
        command = [*KEDGE, "keyroom", "--settings", str(write_settings(world, node, more))]
        with self.log.open("a") as said:
            self.process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)

    def wait_for(self, words: str) -> None:
        """Wait until it says something."""
        until = time.monotonic() + PATIENCE_S
        while words not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut."""
        self.process.kill()
        self.process.wait(30)

    def end(self) -> None:
        """As the supervisor ends it."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()


class Supervisor:
    """Starts a keyroom again whenever it ends, as systemd does, until it is told to stop."""

    def __init__(self, world: World, node: str) -> None:
        self.statuses: list[int] = []
        self.running = Running(world, node)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(world, node))
        self._thread.start()

    def _watch(self, world: World, node: str) -> None:
        while not self._stopping.wait(0.1):
            status = self.running.process.poll()
            if status is not None:
                self.statuses.append(status)
                self.running = Running(world, node)

    def stop(self) -> None:
        """End the keyroom, and start it no more."""
        self._stopping.set()
        self._thread.join()
        self.running.end()


class Stations:
    """Callers in a thread of their own. Each asks for its devices one after the other, each device twice, and repeats a
    request until it is answered. `issued`: the first answer for each serial, and when it came.
    """

    def __init__(self, world: World, order: str, callers: int, devices: int) -> None:
        self._world, self._order = world, order
        self._requests = {f"BMS-{number:06}": make_request() for number in range(1, callers * devices + 1)}
        serials = list(self._requests)
        self._shares = [serials[at::callers] for at in range(callers)]
        self.issued: dict[str, bytes] = {}
        self.times: list[float] = []
        self.waits: list[str] = []
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            asyncio.run(self._call())
        except BaseException as error:  # noqa: BLE001  # `join` raises it
            self._failure = error

    async def _call(self) -> None:
        clients = [KeyroomClient(self._world.settings().socket, timeout=20) for _ in self._shares]
        await asyncio.gather(*(self._ask(*pair) for pair in zip(clients, self._shares, strict=True)))
        for client in clients:
            await client.close()

    async def _ask(self, client: KeyroomClient, serials: Sequence[str]) -> None:
        for serial in serials:
            self.issued[serial] = await self._insist(client, serial)
            self.times.append(time.monotonic())
            assert await self._insist(client, serial) == self.issued[serial], "a repeat got other bytes"

    async def _insist(self, client: KeyroomClient, serial: str) -> bytes:
        command = IssueDevice(self._order, serial, self._requests[serial])
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                answer = await client.ask(command, token=self._world.role_token("station"), source="station")
            except (KeyroomDown, FrameInvalid) as error:
                self.waits.append(error.code)
            except Refused as error:
                assert error.problem.code in AWAY, f"{serial}: {error.problem}"
                self.waits.append(error.problem.code)
            else:
                assert isinstance(answer, DeviceIssued)
                return answer.certificate
            assert time.monotonic() < until, f"nobody answers: {self.waits[-3:]}"
            await asyncio.sleep(0.05)

    def wait_for(self, count: int) -> None:
        """Wait until that many certificates came."""
        until = time.monotonic() + PATIENCE_S
        while len(self.times) < count and self._thread.is_alive():
            assert time.monotonic() < until, f"{len(self.times)} certificates: {self.waits[-3:]}"
            time.sleep(0.01)

    def join(self) -> None:
        """Wait for the end; raises what went wrong."""
        self._thread.join(4 * PATIENCE_S)
        if self._failure is not None:
            raise self._failure

    def gap_after(self, moment: float) -> float:
        """Seconds from a moment to the next certificate."""
        return min(at for at in self.times if at > moment) - moment


def ask_health(world: World) -> HealthShown:
    """What the active keyroom says of itself."""

    async def run() -> HealthShown:
        client = KeyroomClient(world.settings().socket)
        try:
            answer = await client.ask(ShowHealth())
        finally:
            await client.close()
        assert isinstance(answer, HealthShown)
        return answer

    return asyncio.run(run())


def judge_export(world: World, verifier: Path) -> Report:
    """The stopped world: it starts, its rows are what its entries say; our verifier, `kedge verify` and Go's sumdb
    accept its export.
    """
    world.start()
    try:
        files = asyncio.run(export_journal(world))
        report = audit_files(world, files)
        log_key = world.room.ledger.log_key
    finally:
        world.stop()
    assert log_key is not None
    assert (report.verdict, report.open) == ("authenticated", 0)
    export = write_export(world.path / "export", files)
    (world.path / "trust").write_text(f"log {log_key.vkey.encode()}\nquorum none\n")
    assert answer("verify", export, "--trust", world.path / "trust")["verdict"] == "authenticated"
    assert judge(verifier, "export", export, log_key.vkey.encode()) == (0, f"ok {report.size} {report.root}")
    return report
