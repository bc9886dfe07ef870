"""The screen's own server on loopback: what it shows while the service answers, and while it does not."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from api.cli.errors import CliError, ServiceAway, ServiceRefused
from api.cli.provisioning.screen import EVERY_S, OLD_S, Board, Screens, Watch
from api.cli.session import Session
from api.pages.screens import Screen, Trouble
from ceremonies import commands
from tests.api.answers import BOARD
from tests.api.cli.running import kedge
from tests.api.conftest import TOKEN, Served
from tests.api.peer import Peer
from tests.browser import browsing


class Told(Session):
    """Answers as it is told."""

    def __init__(self, tell: Callable[[], Board]) -> None:
        super().__init__()
        self.tell = tell
        self.sheet = -1

    def get(self, path: str, kind: Any, **parameters: Any) -> Any:
        """As told."""
        assert path == "/v1/line-boards/graz"
        self.sheet = parameters["sheet"]
        return self.tell()


class Wall:
    """A watch with a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.session = Told(lambda: Board(BOARD, 1.5, away=False))
        self.watch = Watch(self.session, "graz", lambda: self.now)

    def fail(self, error: CliError) -> Screen:
        """The service says this; what the screen says then."""

        def tell() -> Board:
            raise error

        self.session.tell = tell
        self.watch.look()
        return self.watch.show()


@pytest.fixture
def wall() -> Wall:
    return Wall()


def test_figures_and_their_age(wall: Wall) -> None:
    assert wall.watch.show().trouble is Trouble.SERVICE
    wall.watch.look()
    assert wall.watch.show() == Screen("graz", BOARD, 1.5, Trouble.NONE)
    wall.now += 3 * EVERY_S
    assert wall.watch.show() == Screen("graz", BOARD, 1.5 + 3 * EVERY_S, Trouble.SERVICE)  # an answer is overdue
    wall.session.tell = lambda: Board(BOARD, 600.0, away=True)
    wall.watch.look()
    assert wall.watch.show() == Screen("graz", BOARD, 600.0, Trouble.KEYROOM)


def test_a_file_of_authorities_that_is_being_replaced_does_not_stop_the_screen(tmp_path: Path) -> None:
    """It hangs for months: whatever is missing now may be there in a minute."""
    for name, text in (("none", None), ("half", "-----BEGIN")):
        ca = tmp_path / name
        if text:
            ca.write_text(text)
        watch = Watch(Session(url="https://127.0.0.1:1", ca=ca), "graz")
        watch.look()
        assert watch.show().why.startswith(f"file-refused: {ca}: no usable certificate")
    nowhere = Watch(Session(url="http://[::1"), "graz")
    nowhere.look()
    assert nowhere.show().why.startswith("connection-missing: http://[::1 is no URL")


def test_what_the_screen_says_of_errors(wall: Wall) -> None:
    wall.watch.look()
    wall.now += 60
    assert wall.fail(ServiceAway("no route")) == Screen("graz", BOARD, 61.5, Trouble.SERVICE)
    refused = wall.fail(ServiceRefused("station-suspended", "the station is suspended"))
    assert (refused.trouble, refused.why) == (Trouble.REFUSED, "station-suspended: the station is suspended.")
    wall.now += OLD_S
    assert wall.watch.show().board is None


@contextlib.contextmanager
def shown(watch: Watch) -> Iterator[str]:
    """The page of a watch."""
    with Screens(watch, 0) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)


@pytest.mark.req("T37")
def test_one_page_for_this_machine(wall: Wall) -> None:
    wall.watch.look()
    with shown(wall.watch) as url, httpx.Client(base_url=url) as http:
        page = http.get("/?turn=3")
        assert (page.status_code, page.headers["refresh"]) == (200, "5; url=/?turn=0")
        assert page.headers["content-security-policy"].startswith("default-src 'none'")
        assert page.headers["cache-control"] == "no-store"
        assert "graz-3-a" in page.text
        for turn in ("x", "-1", "99999", "٣"):
            assert http.get("/", params={"turn": turn}).status_code == 200
        assert http.get("/v1/keys").status_code == 404
        assert http.post("/").status_code == 501
        for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", ""):
            assert http.get("/", headers={"Host": host}).status_code == 403


def test_the_next_sheet_is_asked_for_while_the_last_turn_of_one_is_shown(wall: Wall) -> None:
    many = tuple(msgspec.structs.replace(BOARD.stations[0], station=f"s-{number}") for number in range(8))
    sheet = msgspec.structs.replace(BOARD, stations=many, sheets=2)
    wall.session.tell = lambda: Board(msgspec.structs.replace(sheet, sheet=wall.session.sheet), 0.0, away=False)
    wall.watch.look()
    with shown(wall.watch) as url, httpx.Client(base_url=url) as http:
        asked = []
        for turn in (0, 1, 0, 1):
            page = http.get("/", params={"turn": turn})
            assert page.headers["refresh"] == f"10; url=/?turn={1 - turn}"
            wall.watch.look()
            asked.append(wall.session.sheet)
        assert asked == [0, 1, 1, 0]


def test_a_wall_from_end_to_end(served: Served, peer: Peer, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    peer.replies = {commands.ShowLineBoard: msgspec.structs.replace(BOARD, plant="wall")}
    session = Session(url=served.url, token_file=str(tmp_path / "token"))
    watch, stopped = Watch(session, "wall"), threading.Event()
    looking = threading.Thread(target=watch.keep_looking, args=(stopped,))
    looking.start()
    while watch.show().board is None:
        stopped.wait(0.01)
    stopped.set()
    looking.join(30)
    with shown(watch) as url, browsing(tmp_path / "browser") as browser:
        browser.open(url)
        assert "graz-3-a" in browser.evaluate("document.body.textContent")
        session.url = "http://127.0.0.1:1"
        watch.look()
        browser.open(url)
        assert "Service does not answer" in browser.evaluate("document.querySelector('.banner').textContent")


def test_a_plant_is_a_name() -> None:
    done = kedge("station", "--url", "http://127.0.0.1:1", "board", "../graz")
    assert done.exit_code == 1
    assert "letters, digits" in done.stderr
