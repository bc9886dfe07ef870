import json
from pathlib import Path

import msgspec
import pytest

from ceremonies import commands
from tests.api.answers import CEREMONY
from tests.api.cli.running import answer, kedge, refusal
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer


@pytest.fixture
def web(served: Served, peer: Peer, tmp_path: Path) -> list[str]:
    assert peer.asked == []
    (tmp_path / "token").write_text(TOKEN + "\n")
    return ["ceremony", "--url", served.url, "--token-file", str(tmp_path / "token")]


def test_open_sends_the_plans_exact_bytes(web: list[str], peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(b'{ "a": 1 }\r\n')
    answer(*web, "open", "rotation-1", "rotate", tmp_path / "plan.json", "--chg", "CHG-1")
    assert [item.command for item in peer.asked] == [
        commands.OpenCeremony("rotation-1", "rotate", b'{ "a": 1 }\r\n', "CHG-1")
    ]
    assert peer.asked[0].token == TOKEN


@pytest.mark.usefixtures("peer")
def test_list_and_show_are_tables(web: list[str]) -> None:
    assert "rotation-1  rotate  open   ada" in kedge(*web, "list").stdout
    shown = kedge(*web, "show", "rotation-1").stdout
    assert "rotation-1: rotate, open, proposed by ada" in shown
    assert "ada: approve" in shown


def test_nobody_who_proposed_is_the_sockets_user(web: list[str], peer: Peer) -> None:
    peer.replies[commands.ShowCeremony] = msgspec.structs.replace(CEREMONY, proposer="")
    peer.replies[commands.ListCeremonies] = commands.CeremoniesListed((("genesis", "genesis", "closed", ""),))
    assert "proposed by the keyroom's socket\n" in kedge(*web, "show", "rotation-1").stdout
    assert "closed  the keyroom's socket\n" in kedge(*web, "list").stdout


def test_the_list_is_the_same_over_the_socket(web: list[str], served: Served, peer: Peer) -> None:
    local = ["ceremony", "--socket", str(served.settings.socket), "list"]
    assert kedge(*local).stdout == kedge(*web, "list").stdout
    assert answer(*local) == answer(*web, "list")
    assert {(request.command, request.token) for request in peer.asked} == {
        (commands.ListCeremonies(), ""),
        (commands.ListCeremonies(), TOKEN),
    }


def test_a_proposal_over_the_socket_says_what_to_do(served: Served, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(b"{}")
    result = kedge("ceremony", "--socket", served.settings.socket, "open", "c", "destroy", tmp_path / "plan.json")
    assert result.exit_code == 1
    assert "not over the keyroom's socket" in result.stderr
    assert "--url and --token-file before the verb" in result.stderr
    assert peer.asked == []


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_decide_hands_in_statement_and_signature(web: list[str], peer: Peer, tmp_path: Path, decision: str) -> None:
    statement = tmp_path / "s.json"
    statement.write_bytes(b'{"decision":"%s"}' % decision.encode())
    (tmp_path / "s.json.sig").write_bytes(b"-----BEGIN SSH SIGNATURE-----\n")
    answer(*web, "decide", "rotation-1", "plan", statement)
    wanted = commands.DecideStep("rotation-1", "plan", statement.read_bytes(), b"-----BEGIN SSH SIGNATURE-----\n")
    assert [item.command for item in peer.asked] == [wanted]


def test_execute_and_genesis_go_over_the_socket_without_a_token(served: Served, peer: Peer, tmp_path: Path) -> None:
    local = ["ceremony", "--socket", str(served.settings.socket)]
    (tmp_path / "plan.json").write_bytes(b"{}")
    peer.replies = dict.fromkeys((commands.OpenGenesis, commands.ExecuteStep, commands.ShowCeremony), CEREMONY)
    answer(*local, "genesis", "genesis-1", tmp_path / "plan.json")
    answer(*local, "execute", "genesis-1", "plan")
    answer(*local, "show", "genesis-1")
    assert [item.command for item in peer.asked] == [
        commands.OpenGenesis("genesis-1", b"{}"),
        commands.ExecuteStep("genesis-1", "plan"),
        commands.ShowCeremony("genesis-1"),
    ]
    assert {item.token for item in peer.asked} == {""}


@pytest.mark.req("AZ-3")
def test_genesis_cannot_be_proposed_over_http(web: list[str], peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "plan.json").write_bytes(b"{}")
    assert refusal(*web, "genesis", "genesis-1", tmp_path / "plan.json") == "connection-missing"
    assert peer.asked == []


@pytest.mark.usefixtures("peer")
def test_export_writes_the_steps_bytes(web: list[str], tmp_path: Path) -> None:
    file = tmp_path / "step.json"
    answer(*web, "export", "rotation-1", "plan", file)
    written = json.loads(file.read_text())
    assert written == {
        "ceremony": "rotation-1",
        "action": "rotate",
        "step": "plan",
        "template": "eyJ0eXBlIjoia2VkZ2UvYXBwcm92YWwvdjEifQ==",
        "shown": "e30=",
        "roster": "eyJvZmZpY2VycyI6W119",
    }
    assert refusal(*web, "export", "rotation-1", "results", tmp_path / "other.json") == "file-refused"


def test_refusal_keeps_the_keyrooms_code(web: list[str], peer: Peer) -> None:
    peer.replies = {commands.ExecuteStep: commands.Problem("quorum-not-met", "1 of 2", "ask another officer")}
    assert refusal(*web, "execute", "rotation-1", "plan") == "quorum-not-met"
    result = kedge(*web, "execute", "rotation-1", "plan")
    assert "quorum-not-met: 1 of 2" in result.stderr
    assert "ask another officer" in result.stderr


def test_refusal_over_the_socket_keeps_the_code_too(served: Served, peer: Peer) -> None:
    peer.replies = {commands.ExecuteStep: commands.Problem("quorum-not-met", "1 of 2")}
    code = refusal("ceremony", "--socket", served.settings.socket, "execute", "genesis-1", "plan")
    assert code == "quorum-not-met"
