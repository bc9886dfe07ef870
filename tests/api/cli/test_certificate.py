from pathlib import Path

import pytest

from ceremonies import commands
from tests.api.answers import DIGEST
from tests.api.cli.running import answer, kedge, refusal
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer


@pytest.fixture
def web(served: Served, tmp_path: Path) -> list[str]:
    (tmp_path / "token").write_text(TOKEN)
    return ["certificate", "--url", served.url, "--token-file", str(tmp_path / "token")]


def test_a_status_by_serial_and_by_number(web: list[str], peer: Peer) -> None:
    shown = kedge(*web, "status", "BMS-1").stdout
    assert "certificate BMS-1\n" in shown
    assert "  reason" in shown
    assert answer(*web, "status", "number:AB:12")["status"] == "revoked"
    assert [request.command for request in peer.asked] == [
        commands.ShowCertificate("BMS-1"),
        commands.ShowCertificate("", "ab12"),
    ]


@pytest.mark.req("CA-9", "MP-11")
def test_one_officer_revokes(web: list[str], peer: Peer) -> None:
    grounds = ("--reason", "keyCompromise", "--why", "stolen")
    answer(*web, "revoke", "BMS-1", *grounds)
    answer(*web, "revoke", "number:ab12", *grounds, "--dry-run")
    assert [request.command for request in peer.asked] == [
        commands.RevokeCertificate("BMS-1", "", "keyCompromise", "stolen"),
        commands.RevokeCertificate("", "ab12", "keyCompromise", "stolen", dry_run=True),
    ]
    assert kedge(*web, "revoke", "BMS-1", "--reason", "superseded").exit_code == 2


@pytest.mark.req("CA-9")
def test_many_are_previewed_or_proposed(web: list[str], peer: Peer, tmp_path: Path) -> None:
    plan = tmp_path / "plan.json"
    plan.write_text('{"reason":"superseded","why":"x","work_order":"wo-1"}')
    shown = kedge(*web, "revoke-many", plan, "--dry-run").stdout
    assert DIGEST in shown
    assert "abab BMS-1" in shown
    assert answer(*web, "revoke-many", plan, "--ceremony", "incident-7")["state"] == "open"
    assert [request.command for request in peer.asked] == [
        commands.PreviewRevocation(plan.read_bytes()),
        commands.OpenCeremony("incident-7", "revoke", plan.read_bytes()),
    ]
    for options in ((), ("--dry-run", "--ceremony", "incident-7")):
        assert refusal(*web, "revoke-many", plan, *options, status=1) == "file-refused"
