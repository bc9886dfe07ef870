from pathlib import Path

import pytest

from ceremonies import commands
from tests.api.cli.running import answer, kedge
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer


@pytest.fixture
def web(served: Served, tmp_path: Path) -> list[str]:
    (tmp_path / "token").write_text(TOKEN)
    return ["key", "--url", served.url, "--token-file", str(tmp_path / "token")]


@pytest.mark.usefixtures("peer")
def test_list_is_a_table_or_json(web: list[str]) -> None:
    assert (
        "image-app-1  image-app  bms-stm32h7  p256       active  3     9f9f9f9f9f9f9f9f" in kedge(*web, "list").stdout
    )
    assert answer(*web, "list")["keys"][0]["public_key"] == "MFk="


@pytest.mark.req("MP-11")
def test_one_officer_suspends_with_a_reason(web: list[str], peer: Peer) -> None:
    answer(*web, "suspend", "image-app-1", "--reason", "laptop stolen")
    assert [request.command for request in peer.asked] == [commands.SuspendKey("image-app-1", "laptop stolen")]
    assert kedge(*web, "suspend", "image-app-1").exit_code == 2
