"""The image: two commands, two users, no secret, everything by hash."""

import re
import subprocess

import pytest

from tests.house.sources import ROOT

DOCKERFILE = ROOT / "Dockerfile"


@pytest.fixture(name="instructions")
def read_instructions() -> list[tuple[str, str]]:
    """(instruction, arguments) of each logical line, without comments."""
    lines = [line for line in DOCKERFILE.read_text(encoding="utf-8").splitlines() if not line.lstrip().startswith("#")]
    logical = re.sub(r"\\\n", " ", "\n".join(lines)).splitlines()
    return [(line.split()[0], " ".join(line.split()[1:])) for line in logical if line.strip()]


def test_hadolint_has_no_complaint() -> None:
    command = [ROOT / ".tools/py/bin/hadolint", DOCKERFILE]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout + result.stderr) == (0, "")


@pytest.mark.req("T12")
def test_the_default_command_is_the_one_without_keys(instructions: list[tuple[str, str]]) -> None:
    assert [arguments for name, arguments in instructions if name == "USER"] == ["10002"]
    assert ("ENTRYPOINT", '["/opt/kedge/bin/kedge"]') in instructions
    assert ("CMD", '["serve"]') in instructions


@pytest.mark.req("T12")
def test_keyroom_and_api_are_different_users(instructions: list[tuple[str, str]]) -> None:
    accounts = "\n".join(arguments for name, arguments in instructions if name == "RUN")
    assert re.search(r"--uid 10001 --gid 10001 --groups 10000 .*kedge-keyroom", accounts)
    assert re.search(r"--uid 10002 --gid 10002 --groups 10000 .*kedge-api", accounts)
    assert re.search(r"--owner 10001 --group 10001 --mode 0700 /var/lib/kedge", accounts)


@pytest.mark.req("HS-5", "T28")
def test_no_secret_is_in_the_image(instructions: list[tuple[str, str]]) -> None:
    assert [name for name, _ in instructions if name in {"ARG", "ADD"}] == []
    settings = " ".join(arguments for name, arguments in instructions if name in {"ENV", "LABEL", "CMD", "ENTRYPOINT"})
    assert not re.search(r"pin|secret|token|password|key=", settings, re.IGNORECASE)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored  # only what is listed enters the build


@pytest.mark.req("SD-2")
def test_everything_from_outside_comes_by_hash(instructions: list[tuple[str, str]]) -> None:
    commands = [part for name, arguments in instructions if name == "RUN" for part in arguments.split("&&")]
    installs = [command for command in commands if re.search(r"pip (install|wheel)", command)]
    assert installs
    assert [command for command in installs if "--require-hashes" not in command and "--no-deps" not in command] == []
