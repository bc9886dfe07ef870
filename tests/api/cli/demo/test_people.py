"""Approvals judged by ssh-keygen."""

import json
from pathlib import Path

import pytest

from api.cli.demo.people import NAMES
from ceremonies.approvals import NAMESPACE
from tests.api.cli.demo.conftest import run


def verify(out: Path, name: str, statement: bytes, officer: str) -> None:
    signature = out / f"approvals/{name}.json.sig"
    signers = out / "approvals/allowed_signers"
    run("ssh-keygen", "-Y", "verify", "-f", signers, "-I", officer, "-n", NAMESPACE, "-s", signature, stdin=statement)


@pytest.mark.req("MP-3", "AU-8")
def test_ssh_keygen_verifies_every_approval(demo_out: Path) -> None:
    statements = sorted((demo_out / "approvals").glob("*.json"))
    assert len(statements) >= 2 * len(NAMES)
    for path in statements:
        officer = json.loads(path.read_bytes())["officer"]
        verify(demo_out, path.stem, path.read_bytes(), officer)


@pytest.mark.req("MP-2")
def test_ssh_keygen_refuses_a_changed_statement(demo_out: Path) -> None:
    statement = (demo_out / "approvals/genesis-plan-alice.json").read_bytes()
    with pytest.raises(AssertionError):
        verify(demo_out, "genesis-plan-alice", statement.replace(b'"approve"', b'"reject"'), "alice")
    with pytest.raises(AssertionError):
        verify(demo_out, "genesis-plan-alice", statement, "bob")


def test_every_officer_signed_plan_and_results_of_genesis(demo_out: Path) -> None:
    for step in ("plan", "results"):
        for name in NAMES:
            value = json.loads((demo_out / f"approvals/genesis-{step}-{name}.json").read_bytes())
            assert (value["officer"], value["decision"], value["step"]) == (name, "approve", step)
