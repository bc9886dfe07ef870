"""One run of the demo for all tests, whichever worker comes first."""

import fcntl
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.interop import test_journal_foreign

ROOT = Path(__file__).parents[4]
verifier = test_journal_foreign.verifier  # the Go program, built once for each worker


@pytest.fixture(scope="session")
def demo_out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `kedge demo` leaves; under xdist its workers share one run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base
    out = shared / "demo-out"
    with (shared / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (shared / "demo.done").exists():
            command = [sys.executable, "-m", "api.cli.main", "demo", "--out", str(out)]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=170, check=False)
            assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
            (shared / "demo.done").write_text(done.stdout)
    return out


@pytest.fixture(scope="session")
def summary(demo_out: Path) -> dict[str, Any]:
    """summary.json."""
    found: dict[str, Any] = json.loads((demo_out / "summary.json").read_text())
    return found


def run(*command: str | Path, stdin: bytes = b"", cwd: Path | None = None) -> str:
    """Run a foreign program that must succeed."""
    done = subprocess.run(
        [str(part) for part in command], input=stdin, capture_output=True, timeout=60, check=False, cwd=cwd
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout.decode()
