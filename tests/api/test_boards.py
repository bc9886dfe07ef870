"""What is kept of line boards, for whom, and for how long."""

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from api import boards
from api.auth import Caller
from api.boards import FRESH_S, KEPT_LIMIT, KEPT_S, Boards, Seen
from ceremonies.client import KeyroomClient, KeyroomDown, Refused
from ceremonies.commands import LineBoardShown, Problem
from tests.api.answers import BOARD


class Teller(KeyroomClient):
    """Answers or fails as it is told; counts."""

    def __init__(self) -> None:
        self.asked = 0
        self.tell: Callable[[], LineBoardShown] = lambda: BOARD

    async def ask(self, command: Any, **_: Any) -> LineBoardShown:
        """As told."""
        self.asked += 1
        await asyncio.sleep(0)
        return self.tell()


def fail(error: Exception) -> Callable[[], LineBoardShown]:
    def tell() -> LineBoardShown:
        raise error

    return tell


class Screens:
    """Boards with a clock of their own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.teller = Teller()
        self.boards = Boards(lambda: self.now)

    def find(self, plant: str = "graz", token: str = "a", certificate: bytes = b"", sheet: int = 0) -> Seen:
        """What a caller sees."""
        return asyncio.run(self.boards.find(Caller(self.teller, token, certificate, ""), plant, sheet))


@pytest.fixture
def screens() -> Screens:
    return Screens()


def test_who_has_just_asked_is_answered_from_what_is_kept(screens: Screens) -> None:
    assert screens.find() == Seen(BOARD, 0.0, away=False)
    screens.now += FRESH_S - 0.5
    assert screens.find() == Seen(BOARD, FRESH_S - 0.5, away=False)
    assert screens.teller.asked == 1
    screens.now += 0.5
    screens.find()
    assert screens.teller.asked == 2


@pytest.mark.req("AZ-5")
def test_nobody_is_given_what_another_has_read(screens: Screens) -> None:
    screens.find()
    screens.teller.tell = fail(Refused(Problem("token-expired", "no")))
    for shown in ({"token": "b"}, {"plant": "linz"}, {"token": "", "certificate": b"a"}):
        with pytest.raises(Refused):
            screens.find(**shown)
    screens.teller.tell = fail(KeyroomDown("down"))
    with pytest.raises(KeyroomDown):
        screens.find(token="b")


@pytest.mark.req("AZ-4")
def test_who_is_refused_sees_nothing_more(screens: Screens) -> None:
    screens.find()
    screens.now += FRESH_S
    screens.teller.tell = fail(Refused(Problem("station-suspended", "no")))
    with pytest.raises(Refused):
        screens.find()
    screens.teller.tell = fail(KeyroomDown("down"))
    with pytest.raises(KeyroomDown):
        screens.find()


@pytest.mark.parametrize("error", [KeyroomDown("down"), Refused(Problem("keyroom-busy", "full"))])
def test_old_figures_are_shown_as_old_ones(screens: Screens, error: Exception) -> None:
    screens.find()
    screens.teller.tell = fail(error)
    screens.now += 600
    assert screens.find() == Seen(BOARD, 600.0, away=True)
    screens.now += KEPT_S
    with pytest.raises(type(error)):
        screens.find()


def test_a_keyroom_that_hangs_is_away(screens: Screens, monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(*_: Any, **__: Any) -> LineBoardShown:
        await asyncio.sleep(60)
        return BOARD

    monkeypatch.setattr(boards, "PATIENCE_S", 0.01)
    monkeypatch.setattr(screens.teller, "ask", hang)
    with pytest.raises(KeyroomDown):
        screens.find()


def test_each_sheet_is_kept_for_itself(screens: Screens) -> None:
    screens.find()
    screens.teller.tell = lambda: msgspec.structs.replace(BOARD, sheet=1, sheets=2)
    screens.find(sheet=1)
    screens.find(sheet=1)
    assert screens.teller.asked == 2


def test_few_are_kept(screens: Screens) -> None:
    for number in range(KEPT_LIMIT + 1):
        screens.find(token=str(number))
    asked = screens.teller.asked
    screens.find(token=str(KEPT_LIMIT))
    assert screens.teller.asked == asked
    screens.find(token="0")
    assert screens.teller.asked == asked + 1


@pytest.mark.req("AZ-5")
def test_sheets_that_there_are_not_take_nobodys_place(screens: Screens) -> None:
    """Behind the last sheet a board begins anew: whoever asks for a thousand has read one."""
    screens.find()
    for sheet in range(KEPT_LIMIT):
        screens.find(token="b", sheet=sheet)
    screens.teller.tell = fail(KeyroomDown("down"))
    screens.now += FRESH_S
    assert screens.find() == Seen(BOARD, FRESH_S, away=True)
