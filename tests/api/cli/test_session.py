from pathlib import Path

import pytest

from ceremonies import commands
from tests.api.cli.running import kedge, refusal
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer


def test_token_comes_from_a_file_or_from_standard_input(served: Served, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    assert kedge("key", "--url", served.url, "--token-file", tmp_path / "token", "list").exit_code == 0
    assert kedge("key", "--url", served.url, "--token-file", "-", "list", text=TOKEN + "\n").exit_code == 0
    assert [request.token for request in peer.asked] == [TOKEN, TOKEN]


@pytest.mark.parametrize("content", ["", " ", "a b", "a" * 8193, "a\nb"])
def test_odd_token_files_are_refused(served: Served, peer: Peer, tmp_path: Path, content: str) -> None:
    (tmp_path / "token").write_text(content)
    assert refusal("key", "--url", served.url, "--token-file", tmp_path / "token", "list") == "token-unreadable"
    assert refusal("key", "--url", served.url, "--token-file", tmp_path / "none", "list") == "token-unreadable"
    assert peer.asked == []


def test_token_never_travels_in_the_clear(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    options = ("--url", "http://kedge.example", "--token-file", tmp_path / "token")
    assert refusal("key", *options, "list") == "token-in-the-clear"


def test_absent_service_has_its_own_status(down: Served, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    options = ("--token-file", tmp_path / "token", "list")
    assert refusal("key", "--url", "http://127.0.0.1:1", *options, status=4) == "service-away"
    assert refusal("key", "--url", down.url, *options, status=4) == "service-away"
    code = refusal("ceremony", "--socket", tmp_path / "none.sock", "execute", "c", "plan", status=4)
    assert code == "keyroom-down"


def test_nobody_to_ask_is_told() -> None:
    assert refusal("key", "list") == "connection-missing"


@pytest.mark.usefixtures("peer")
def test_missing_token_is_the_services_refusal(served: Served) -> None:
    assert refusal("key", "--url", served.url, "list") == "token-missing"


def test_answer_of_another_kind_is_refused(served: Served, peer: Peer) -> None:
    peer.replies = {commands.ExecuteStep: commands.TileRead(b"")}
    code = refusal("ceremony", "--socket", served.settings.socket, "execute", "c", "plan")
    assert code == "answer-malformed"


def test_no_option_takes_a_token() -> None:
    for group in ("key", "ceremony", "release", "device", "journal"):
        help_text = kedge(group, "--help").stdout
        assert "--token-file" in help_text
        assert "--token " not in help_text
