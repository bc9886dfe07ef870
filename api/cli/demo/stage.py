"""The stage: a directory, the real processes, foreign programs, and a record of what was done and what was refused."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from rich.console import Console

from api.cli.development import SETTINGS, SOCKET, SOFTHSM_CONF, make_keyroom
from api.cli.errors import CliError

PATIENCE_S: Final = 30.0
KEDGE: Final = (sys.executable, "-m", "api.cli.main")


class DemoFailed(CliError):
    """The demo did not go as it must."""

    code = "demo-failed"


class Refusal(msgspec.Struct, frozen=True):
    """Something that was refused: what was tried, by which rule, with which HTTP status (0 for a device)."""

    scene: str
    tried: str
    rule: str
    status: int


class Stage:
    """Everything that the scenes share. `out` is what remains; `work` is where the keyroom lives meanwhile."""

    def __init__(self, out: Path, work: Path, console: Console) -> None:
        self.out, self.work, self.console = out, work, console
        self.done: list[tuple[str, str]] = []
        self.refused: list[Refusal] = []
        self.times: dict[str, float] = {}
        self.scene = ""
        self.processes: list[subprocess.Popen[bytes]] = []
        self.port = free_port()
        self.environment = {**os.environ, "SOFTHSM2_CONF": str(work / SOFTHSM_CONF)}
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, trust_env=False)

    @property
    def url(self) -> str:
        """The API."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def settings(self) -> Path:
        """The keyroom's settings file."""
        return self.work / SETTINGS

    def note(self, scene: str, text: str) -> None:
        """Something that was done."""
        self.done.append((scene, text))
        self.console.print(f"  [green]done[/]     {text}", highlight=False)

    def refuse(self, tried: str, rule: str, status: int = 0, expected: str = "") -> None:
        """Something that was refused, by the rule that must refuse it. Raises DemoFailed for any other end."""
        if expected and expected != rule:
            raise DemoFailed(f"{tried}: {expected} was to refuse it, it ended with {rule}")
        self.refused.append(Refusal(self.scene, tried, rule, status))
        where = f" ({status})" if status else ""
        self.console.print(f"  [yellow]refused[/]  {tried}: {rule}{where}", highlight=False)

    def write(self, name: str, data: bytes) -> Path:
        """A file of the demo's output."""
        path = self.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return path

    def run(self, *command: str | Path, stdin: bytes = b"", cwd: Path | None = None) -> bytes:
        """Run a foreign program. Raises DemoFailed with what it said."""
        arguments = [str(part) for part in command]
        done = subprocess.run(
            arguments,
            input=stdin,
            capture_output=True,
            check=False,
            env=self.environment,
            cwd=cwd or self.work,
            timeout=120,
        )
        if done.returncode:
            raise DemoFailed(f"{' '.join(arguments[:4])}: {done.stderr.decode(errors='replace').strip()[-400:]}")
        return done.stdout

    def kedge(self, *arguments: str | Path) -> Any:
        """Run the `kedge` command with --json. Raises DemoFailed."""
        return json.loads(self.run(*KEDGE, "--json", *arguments))

    def make_settings(self, roster: str, tokens: Mapping[str, Sequence[str]]) -> None:
        """Write settings, PIN files and SoftHSM's configuration, and make the tokens."""
        make_keyroom(self.work, "keyroom-demo", roster, tokens)

    def start(self) -> None:
        """Start keyroom and API as the processes that they are, and wait until they answer."""
        self._spawn("keyroom", "keyroom", "--settings", self.settings)
        socket_path = self.work / SOCKET
        self._wait("the keyroom", socket_path.exists)
        serve = ("serve", "--socket", socket_path, "--public", self.work / "public", "--port", str(self.port))
        self._spawn("api", *serve)
        self._wait("the API", self._answers)

    def _spawn(self, name: str, *arguments: str | Path) -> None:
        with (self.work / f"{name}.log").open("ab") as log:
            command = [*KEDGE, *map(str, arguments)]
            self.processes.append(
                subprocess.Popen(command, stdout=log, stderr=log, env=self.environment, cwd=self.work)
            )

    def _answers(self) -> bool:
        try:
            return self.client.get("/healthz").is_success
        except httpx.HTTPError:
            return False

    def _wait(self, what: str, ready: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not ready():
            if time.monotonic() > deadline or any(process.poll() is not None for process in self.processes):
                raise DemoFailed(f"{what} did not start")
            time.sleep(0.05)

    def logs(self) -> str:
        """The last lines that the processes wrote."""
        return "\n".join(f"{path.name}:\n{path.read_text()[-3000:]}" for path in sorted(self.work.glob("*.log")))

    def stop(self) -> None:
        """End the processes: the API first."""
        self.client.close()
        for process in reversed(self.processes):
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def request(self, method: str, path: str, token: str = "", **arguments: Any) -> httpx.Response:
        """One HTTP request as a user."""
        headers = {**arguments.pop("headers", {}), **({"Authorization": f"Bearer {token}"} if token else {})}
        return self.client.request(method, path, headers=headers, **arguments)

    def ask(self, method: str, path: str, token: str = "", **arguments: Any) -> Any:
        """One HTTP request that must succeed. Raises DemoFailed."""
        response = self.request(method, path, token, **arguments)
        if not response.is_success:
            raise DemoFailed(f"{method} {path}: {response.status_code} {response.text[:400]}")
        return response.json()

    def expect_refusal(self, tried: str, response: httpx.Response, status: int, rule: str) -> None:
        """A response that must be a problem with this status and this code (or rule of its details)."""
        problem = response.json() if response.status_code >= 400 else {}
        found = problem.get("details", {}).get("rule") or problem.get("code", "nothing")
        if response.status_code != status:
            raise DemoFailed(f"{tried}: {status} was expected, it got {response.status_code} {response.text[:300]}")
        self.refuse(tried, found, status, rule)


def free_port() -> int:
    """A TCP port of the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sha256(data: bytes) -> str:
    """Lowercase hex SHA-256."""
    return hashlib.sha256(data).hexdigest()
