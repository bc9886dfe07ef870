"""Running `kedge` in this process, and as a program."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from api.cli.main import app

ROOT = Path(__file__).parents[3]


def kedge(*arguments: str | Path, text: str | None = None) -> Result:
    """Run a command line here."""
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(item) for item in arguments], input=text)


def answer(*arguments: str | Path) -> Any:
    """Run a command line with --json here; it must succeed."""
    result = kedge("--json", *arguments)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refusal(*arguments: str | Path, status: int = 1) -> str:
    """Run a command line with --json here; it must fail with a status. Returns the error's code."""
    result = kedge("--json", *arguments)
    assert result.exit_code == status, result.output
    assert result.stdout == ""
    code = json.loads(result.stderr)["code"]
    assert isinstance(code, str)
    return code


def program(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `kedge` as a program, from this source tree."""
    command = [sys.executable, "-m", "api.cli.main", *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, **environment}, check=False, timeout=60
    )


def make_ssh_key(path: Path) -> Path:
    """An officer's key, by ssh-keygen."""
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, capture_output=True)
    return path
