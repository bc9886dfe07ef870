"""What a person types: `make help` knows every command, CI runs `make check` and nothing else."""

import re
import subprocess

import pytest

from tests.house.sources import ROOT

WANTED = {"setup", "tools", "demo", "up", "check", "test", "bench", "soak", "lock", "audit", "clean"}
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def test_help_lists_every_command() -> None:
    shown = subprocess.run(["make", "-s", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = {line.split()[0] for line in shown.splitlines()}
    phony = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony
    assert listed == set(phony.group(1).split())
    assert listed >= WANTED


def test_ci_runs_make_check_and_nothing_else() -> None:
    lines = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    commands = [line for line in lines if line and not line.startswith("#")]
    assert commands[0] == "set -euo pipefail"
    assert commands[-1] == "exec make check"
    assert len(commands) == 3


@pytest.mark.parametrize("script", [".ci/run", "tools/packages", "tools/venv", "tools/lock", "tools/foreign"])
def test_scripts_stop_at_the_first_error(script: str) -> None:
    path = ROOT / script
    assert path.stat().st_mode & 0o111
    assert "set -euo pipefail" in path.read_text(encoding="utf-8").splitlines()
    assert subprocess.run(["bash", "-n", path], check=False).returncode == 0
