"""The screen of a line as figures."""

import msgspec

from ceremonies import commands
from tests.api.answers import BOARD
from tests.api.conftest import Served
from tests.api.peer import Peer


def test_figures_are_as_the_keyroom_gave_them(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    answered = served.http.get("/v1/line-boards/graz", headers=bearer)
    value = answered.json()
    assert (value["away"], value["age"]) == (False, 0.0)
    assert msgspec.json.decode(msgspec.json.encode(value["board"]), type=commands.LineBoardShown) == BOARD
    assert len(peer.asked) == 1
    assert served.http.get("/v1/line-boards/graz", headers=bearer).json()["board"] == value["board"]
    assert len(peer.asked) == 1


def test_without_a_keyroom_there_are_none(down: Served, bearer: dict[str, str]) -> None:
    answered = down.http.get("/v1/line-boards/graz", headers=bearer)
    assert (answered.status_code, answered.json()["code"]) == (503, "keyroom-down")
