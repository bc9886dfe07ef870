"""A newcomer's way: `kedge init`, then the commands that it prints, up to a genesis and a first question."""

import contextlib
import json
import os
import shlex
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from api.cli.demo.stage import free_port
from api.cli.init import ISSUER, example_claims
from ceremonies.officers import parse_roster
from ceremonies.policy import Policy, claims_match, lint_policy, parse_policy
from ceremonies.settings import load_settings
from pki.log.policy import parse_policy as parse_trust
from tests.api.cli.running import ROOT, answer, kedge, make_ssh_key, program, refusal


def make_room(directory: Path, *options: str) -> Any:
    done = program("--json", "init", directory, *options, SOFTHSM2_CONF="")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("init") / "room"
    make_room(directory)
    return directory


def test_all_files_fit_each_other(room: Path) -> None:
    settings = load_settings(room / "keyroom.toml")
    roster = parse_roster((room / "roster.json").read_bytes())
    assert settings.roster_sha256 == roster.digest
    assert [officer.id for officer in roster.officers] == ["alice", "bob", "carol"]
    policy = parse_policy((room / "policy.json").read_bytes())
    lint_policy(policy, roster)
    plan = json.loads((room / "genesis.json").read_text())
    assert plan["roster"] == json.loads(roster.document)
    assert plan["policy"] == json.loads(policy.document)
    (key,) = json.loads((room / "issuer/jwks.json").read_text())["keys"]
    assert plan["policy"]["issuers"][0]["jwks"]["keys"] == [key]


def test_secrets_are_for_their_owner(room: Path) -> None:
    assert stat.S_IMODE(room.stat().st_mode) == 0o700
    for path in (*room.glob("*pin"), room / "issuer/issuer.key.pem", room / "officers/alice"):
        assert stat.S_IMODE(path.stat().st_mode) & 0o377 in {0, 0o200}, path


@pytest.mark.parametrize("role", ["station", "pipeline", "officer", "auditor", "gateway", "operator"])
def test_example_claims_fit_one_grant_and_its_bindings(room: Path, role: str) -> None:
    policy: Policy = parse_policy((room / "policy.json").read_bytes())
    name = "officer-bob" if role == "officer" else role
    claims = json.loads((room / f"claims/{name}.json").read_text())
    issuer = policy.issuer_of(claims["iss"])
    (grant,) = [grant for grant in issuer.grants if claims_match(grant.claims, claims)]
    assert (grant.role, claims["aud"], issuer.issuer) == (role, issuer.audience, ISSUER)
    assert set(grant.bind.values()) <= set(claims)
    if role == "pipeline":
        assert any(claims_match(wanted, claims) for rule in policy.releases for wanted in rule.claims)


def test_officers_are_those_of_the_given_keys(tmp_path: Path) -> None:
    keys = {name: make_ssh_key(tmp_path / name) for name in ("zoe", "ada")}
    value = make_room(tmp_path / "room", *(f"--officer={name}={path}.pub" for name, path in keys.items()))
    assert (value["officers"], value["demo_keys"]) == (["ada", "zoe"], False)
    roster = parse_roster((tmp_path / "room/roster.json").read_bytes())
    for name, path in keys.items():
        assert roster.officer(name).keys == (" ".join(Path(f"{path}.pub").read_text().split()[:2]),)
    assert not (tmp_path / "room/officers").exists()
    assert (tmp_path / "room/claims/officer-zoe.json").exists()


def test_nothing_is_written_when_something_is_wrong(tmp_path: Path) -> None:
    key = make_ssh_key(tmp_path / "ada")
    room = tmp_path / "room"
    assert refusal("init", room, "--officer", f"ada={key}.pub") == "file-refused"
    assert refusal("init", room, "--officer", "ada", "--officer", "bob") == "file-refused"
    assert refusal("init", room, "--officer", f"ada={key}", "--officer", f"bob={key}.pub") == "file-refused"
    other = make_ssh_key(tmp_path / "other")
    assert refusal("init", room, "--officer", f"ada={key}.pub", "--officer", f"ada={other}.pub") == "file-refused"
    twice = ("--officer", f"ada={key}.pub", "--officer", f"bob={key}.pub")
    assert refusal("init", room, *twice) == "roster-malformed"
    assert not room.exists()
    assert refusal("init", tmp_path) == "file-refused"
    assert refusal("init", key) == "file-refused"


def test_every_officer_has_claims_of_their_own() -> None:
    claims = example_claims(["ada", "zoe"])
    assert [claims[f"officer-{name}"]["officer"] for name in ("ada", "zoe")] == ["ada", "zoe"]


@contextlib.contextmanager
def running(command: list[str], environment: dict[str, str], socket: Path) -> Iterator[None]:
    """`kedge up`, until the block ends."""
    with (socket.parent / "up.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env={**os.environ, **environment}, stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + 60
        while not socket.exists():
            assert process.poll() is None and time.monotonic() < deadline, (socket.parent / "up.log").read_text()
            time.sleep(0.1)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.mark.unmeasured
@pytest.mark.timeout(170)
def test_the_printed_commands_lead_to_a_genesis_and_a_first_answer(tmp_path: Path) -> None:
    shown = program("init", tmp_path / "my room", SOFTHSM2_CONF="").stdout
    assert shown.startswith("WARNING: the officers' keys are throw-away demo keys")
    room, url = tmp_path / "my room", f"http://127.0.0.1:{free_port()}"
    lines = [line.strip().replace("http://127.0.0.1:8300", url) for line in shown.splitlines()]
    (export,) = [shlex.split(line)[1] for line in lines if line.startswith("export ")]
    environment = dict([export.split("=", 1)])
    commands = [shlex.split(line)[1:] for line in lines if line.startswith("kedge ")]
    assert commands[0] == ["up", "--settings", str(room / "keyroom.toml")]
    up = [sys.executable, "-m", "api.cli.main", *commands[0], "--port", url.rpartition(":")[2]]
    with running(up, environment, room / "keyroom.sock"):
        for command in commands[1:-1]:
            act(command)
        listed = patiently(commands[-1])
        assert "journal" in listed
        asking = commands[-1][:-1]
        act([*asking, "export", "image-app-1", "--out", str(tmp_path / "image-app.pem")])
        act([*asking, "export", "journal", "--format", "tlog-policy", "--out", str(tmp_path / "journal-trust")])
        local = ["journal", "--socket", str(room / "keyroom.sock"), "export", str(tmp_path / "journal")]
        act(local)
    assert (tmp_path / "image-app.pem").read_text().startswith("-----BEGIN PUBLIC KEY-----")
    assert parse_trust((tmp_path / "journal-trust").read_bytes()).logs[0].name == "kedge.example/journal"
    act(["verify", str(tmp_path / "journal"), "--trust", str(tmp_path / "journal-trust")])


def act(command: list[str]) -> str:
    """One printed command; an officer types the words that are asked for."""
    if command[:2] == ["officer", "approve"]:
        command = [*command, "--words", " ".join(answer("officer", "show", command[2])["words"][-4:])]
    done = kedge(*command)
    assert done.exit_code == 0, (command, done.output)
    return done.stdout


def patiently(command: list[str]) -> str:
    """A command over HTTP; the API may still be starting."""
    for _ in range(100):
        if kedge(*command).exit_code != 4:
            break
        time.sleep(0.2)
    return act(command)
