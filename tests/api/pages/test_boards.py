"""The screen of a line as a browser gets it: who, how often, and what it shows when nobody answers."""

import math
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from api.pages import boards
from api.pages.screens import ORDERS_AT_ONCE, STATIONS_BELOW
from api.routes import encodings
from api.settings import ApiSettings
from ceremonies import commands
from ceremonies.boards import ORDERS_EACH, STATIONS_EACH
from tests.api.answers import BOARD
from tests.api.conftest import Served, serving
from tests.api.peer import Peer, listening
from tests.browser import Browser, browsing

SIZES = [(1920, 1080, 1.0), (1280, 720, 2 / 3)]
READABLE_PX = 60
"""The height of a figure at 1080 lines: on a screen of 1.2 m, 2.5 cm of capitals, which 5 m need."""
CONTRAST = """(() => {
  const parts = colour => colour.match(/[0-9.]+/g).map(Number);
  const linear = v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map(v => linear(v / 255))
    .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
  const ground = node => { while (node) { const found = parts(getComputedStyle(node).backgroundColor);
    if (found[3] !== 0) return found; node = node.parentElement; } return [0, 0, 0]; };
  return [...document.querySelectorAll('body *')].filter(node => [...node.childNodes].some(item =>
      item.nodeType === 3 && item.textContent.trim()) && node.tagName !== 'PROGRESS').map(node => {
    const pair = [light(parts(getComputedStyle(node).color)), light(ground(node))].sort((a, b) => b - a);
    return [node.textContent.trim(), (pair[0] + .05) / (pair[1] + .05)]; });
})()"""
CUT = """[...document.querySelectorAll('.figure, .last, .left, .state > span, .banner h2')].filter(node =>
  node.scrollWidth > node.clientWidth + 1 || node.getBoundingClientRect().right > innerWidth)
  .map(node => node.textContent)"""


def ask(served: Served, path: str, headers: dict[str, str]) -> Any:
    return served.http.get(path, headers=headers)


def test_a_page_that_renews_itself(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    answered = ask(served, "/line-boards/graz-1", bearer)
    assert answered.headers["content-type"] == "text/html; charset=utf-8"
    assert answered.headers["refresh"] == "5; url=/line-boards/graz-1?turn=0"
    assert answered.headers["cache-control"] == "no-store"
    assert answered.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
    assert "graz-3-a" in answered.text
    assert [request.command for request in peer.asked] == [commands.ShowLineBoard("graz-1")]


def test_a_plant_is_a_name_as_in_every_route() -> None:
    assert boards.NAME == encodings.NAME


def test_turns_follow_each_other(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    many = tuple(msgspec.structs.replace(BOARD.stations[0], station=f"s-{number}") for number in range(8))
    peer.replies = {commands.ShowLineBoard: msgspec.structs.replace(BOARD, stations=many)}
    for turn, following in ((0, 1), (1, 0)):
        answered = ask(served, f"/line-boards/graz-2?turn={turn}", bearer)
        assert answered.headers["refresh"] == f"10; url=/line-boards/graz-2?turn={following}"
    assert ask(served, "/line-boards/graz-2?turn=-1", bearer).status_code == 422


def test_sheets_follow_each_other_for_a_plant_with_ten_thousand_orders(
    served: Served, peer: Peer, bearer: dict[str, str]
) -> None:
    """No page names one that is refused, up to the last turn of the largest sheet, below a banner."""
    stations = tuple(msgspec.structs.replace(BOARD.stations[0], station=f"s-{at}") for at in range(STATIONS_EACH))
    orders = tuple(msgspec.structs.replace(BOARD.orders[0], work_order=f"w-{at}") for at in range(ORDERS_EACH))
    sheets = math.ceil(10_000 / ORDERS_EACH)

    def tell(command: commands.ShowLineBoard) -> commands.LineBoardShown:
        listed = {"stations": stations, "orders": orders, "alarms": ("the token kedge-main does not work",)}
        return msgspec.structs.replace(BOARD, **listed, sheet=command.sheet, sheets=sheets)

    peer.replies = {commands.ShowLineBoard: tell}
    url, seen = f"/line-boards/graz-3?turn=0&sheet={sheets - 1}", 0
    while url != "/line-boards/graz-3?turn=0":
        answered = ask(served, url, bearer)
        assert (answered.status_code, f"sheet {sheets} of {sheets}" in answered.text) == (200, True), url
        url, seen = answered.headers["refresh"].removeprefix("10; url="), seen + 1
    assert seen == max(math.ceil(STATIONS_EACH / STATIONS_BELOW), math.ceil(ORDERS_EACH / ORDERS_AT_ONCE))
    assert len(peer.asked) == 1


def test_refusals_are_problems(served: Served, peer: Peer, bearer: dict[str, str]) -> None:
    peer.replies = {commands.ShowLineBoard: commands.Problem("binding-mismatch", "another plant")}
    answered = ask(served, "/line-boards/linz-2", bearer)
    assert (answered.status_code, answered.json()["code"]) == (403, "binding-mismatch")
    for path in ("/line-boards/..", "/line-boards/a%20b", f"/line-boards/{'x' * 65}"):
        assert ask(served, path, bearer).status_code in (404, 422)


def test_without_a_keyroom_the_page_says_so(down: Served, bearer: dict[str, str]) -> None:
    answered = ask(down, "/line-boards/graz", bearer)
    assert answered.status_code == 503
    assert "Keyroom does not answer" in answered.text
    assert answered.headers["refresh"] == "5; url=/line-boards/graz?turn=0"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with browsing(tmp_path_factory.mktemp("browser")) as running:
        yield running


def measure(browser: Browser, selector: str) -> list[float]:
    script = f"[...document.querySelectorAll('{selector}')].map(node => parseFloat(getComputedStyle(node).fontSize))"
    found: list[float] = browser.evaluate(script)
    return found


@pytest.mark.parametrize(("width", "height", "scale"), SIZES)
def test_a_hall_can_read_it(
    served: Served, peer: Peer, bearer: dict[str, str], browser: Browser, width: int, height: int, scale: float
) -> None:
    many = tuple(
        msgspec.structs.replace(BOARD.stations[0], station=f"graz-{number}-a", hour=1250, state=state)
        for number, state in enumerate(("enrolled", "expired", "suspended", "enrolled", "revoked", "enrolled"))
    )
    orders = (BOARD.orders[0], *(msgspec.structs.replace(BOARD.orders[0], used=400, remaining=0) for _ in "ab"))
    peer.replies = {commands.ShowLineBoard: msgspec.structs.replace(BOARD, stations=many, orders=orders)}
    browser.resize(width, height)
    browser.send_headers(**bearer)
    browser.open(f"{served.url}/line-boards/graz-{height}")
    assert min(measure(browser, ".figure:not(.wide), .left b")) >= READABLE_PX * scale
    assert min(measure(browser, ".name, .last, .wide")) >= READABLE_PX * 0.6 * scale
    assert min(measure(browser, "body *")) >= 24 * scale
    contrasts = browser.evaluate(CONTRAST)
    assert len(contrasts) > 40
    assert [item for item in contrasts if item[1] < 7] == []
    assert browser.evaluate(CUT) == []
    page = "[document.documentElement.scrollHeight, document.querySelector('main').scrollHeight]"
    shown = "[innerHeight, document.querySelector('main').clientHeight]"
    assert browser.evaluate(page) == browser.evaluate(shown)
    peer.replies = {commands.ShowLineBoard: BOARD}  # few stations are written larger
    browser.open(f"{served.url}/line-boards/graz-few-{height}")
    assert min(measure(browser, ".figure")) > READABLE_PX * scale
    assert browser.evaluate(CUT) == []
    assert browser.evaluate(page) == browser.evaluate(shown)
    assert browser.read_console() == []


@pytest.mark.req("T37")
def test_a_hostile_name_is_text_in_a_browser(
    served: Served, peer: Peer, bearer: dict[str, str], browser: Browser
) -> None:
    name = "<script>document.title='taken'</script><img src=https://elsewhere.example/x onerror=alert(1)>"
    station = msgspec.structs.replace(BOARD.stations[0], station=name, refusal=name, work_order=name)
    peer.replies = {commands.ShowLineBoard: msgspec.structs.replace(BOARD, stations=(station,))}
    browser.send_headers(**bearer)
    browser.open("about:blank")
    browser.read_requests()
    browser.open(f"{served.url}/line-boards/graz-hostile")
    assert name in browser.evaluate("document.querySelector('.state em').textContent")
    assert browser.evaluate("document.title") == "Line board graz-hostile"
    assert browser.evaluate("document.querySelectorAll('script, img, link, iframe').length") == 0
    asked = {url for url in browser.read_requests() if not url.startswith(("chrome:", "data:", "about:"))}
    assert asked <= {f"{served.url}/line-boards/graz-hostile", f"{served.url}/favicon.ico"}
    assert browser.read_console() == []


@pytest.mark.parametrize("trouble", ["stale", "none", "alarm"])
def test_trouble_is_seen_first(tmp_path: Path, bearer: dict[str, str], browser: Browser, trouble: str) -> None:
    settings = ApiSettings(socket=tmp_path / "keyroom.sock", public_dir=tmp_path / "public")
    with serving(settings) as served:
        browser.resize(1920, 1080)
        browser.send_headers(**bearer)
        if trouble != "none":
            with listening(Peer(settings.socket)) as peer:
                alarms = ("the token kedge-main does not work",) if trouble == "alarm" else ()
                peer.replies = {commands.ShowLineBoard: msgspec.structs.replace(BOARD, alarms=alarms)}
                browser.open(f"{served.url}/line-boards/graz")
                assert browser.evaluate("document.querySelectorAll('.banner').length") == len(alarms)
        if trouble == "stale":
            browser.evaluate("new Promise(done => setTimeout(done, 3100))")
        if trouble != "alarm":
            browser.open(f"{served.url}/line-boards/graz")
        said = browser.evaluate("document.querySelector('.banner').textContent")
        expected = {"alarm": "Keyroom is not ready", "none": "no figures yet", "stale": r"figures are \d+ s old"}[
            trouble
        ]
        assert re.search(expected, said)
        assert measure(browser, ".banner h2")[0] >= READABLE_PX
        assert browser.evaluate(CUT) == []
