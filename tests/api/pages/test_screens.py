"""What stands on the screen of a line, without a browser."""

import re
from typing import Any

import msgspec
import pytest

from api.pages import screens
from api.pages.screens import SCREEN_HEADERS, Following, Screen, Trouble, render_screen
from tests.api.answers import BOARD

(WORKING, SUSPENDED, NEW), (ORDER,) = BOARD.stations, BOARD.orders
HOSTILE = "<script>alert(1)</script>'\"&"


def board(**changed: Any) -> Screen:
    return Screen("graz", msgspec.structs.replace(BOARD, **changed))


def words(page: str) -> str:
    body = page.partition("</style>")[2]
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", body)).strip()


def test_a_station_in_words() -> None:
    page, following = render_screen(board())
    assert following == Following(0, 0)
    assert "graz as of 12:00:00 UTC station state" in words(page)
    assert "graz-3-a line 3 · wo-1 working serial-taken 12 s 4 212 2 3" in words(page)
    assert "graz-3-b line 3 · wo-1 suspended 10 min 0 40 0 0" in words(page)
    assert "graz-4-a line 4, 5 nothing issued never 0 0 0 0" in words(page)
    assert "wo-1 148 left of 400 open 63 % used bms-stm32h7 · 3 not confirmed" in words(page)


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"issued": BOARD.at - 299}, "working"),
        ({"issued": BOARD.at - 300}, "idle"),
        ({"issued": 0}, "nothing issued"),
        ({"state": "expired"}, "expired"),
        ({"state": "revoked", "issued": 0}, "revoked"),
    ],
)
def test_states_of_a_station(changed: dict[str, Any], state: str) -> None:
    page, _ = render_screen(board(stations=(msgspec.structs.replace(WORKING, **changed),)))
    assert f"wo-1 {state} serial-taken" in words(page)


@pytest.mark.parametrize(
    ("changed", "state"),
    [
        ({"used": 381, "remaining": 19}, "few left"),
        ({"used": 380, "remaining": 20}, "open"),
        ({"used": 400, "remaining": 0}, "used up"),
        ({"state": "waiting"}, "not yet open"),
        ({"state": "over"}, "window over"),
    ],
)
def test_states_of_an_order(changed: dict[str, Any], state: str) -> None:
    page, _ = render_screen(board(orders=(msgspec.structs.replace(ORDER, **changed),)))
    assert f"left of 400 {state}" in words(page)


@pytest.mark.req("T37")
def test_text_of_strangers_is_text() -> None:
    station = msgspec.structs.replace(WORKING, station=HOSTILE, lines=(HOSTILE,), work_order=HOSTILE, refusal=HOSTILE)
    order = msgspec.structs.replace(ORDER, work_order=HOSTILE, class_name=HOSTILE)
    shown = Screen(HOSTILE, msgspec.structs.replace(BOARD, stations=(station,), orders=(order,), alarms=(HOSTILE,)))
    refused = Screen(HOSTILE, None, 0, Trouble.REFUSED, HOSTILE)
    for screen in (shown, refused):
        page, _ = render_screen(screen)
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "onerror" not in page


@pytest.mark.req("T37")
def test_the_page_may_load_nothing_but_its_own_style() -> None:
    policy = SCREEN_HEADERS["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert "://" not in policy
    page, _ = render_screen(board())
    for word in ("src=", "href=", "@import", "url(", "<script", "style="):
        assert word not in page, word


def test_what_is_old_says_how_old() -> None:
    page, _ = render_screen(Screen("graz", BOARD, 754.2, Trouble.KEYROOM))
    assert "Keyroom does not answer These figures are 12 min old." in words(page)
    assert 'class="stale"' in page
    page, _ = render_screen(Screen("graz", None, 0.0, Trouble.SERVICE))
    assert "Service does not answer There are no figures yet." in words(page)
    assert "<table" not in page
    page, _ = render_screen(board(alarms=("the token kedge-main does not work",)))
    assert "Keyroom is not ready the token kedge-main does not work" in words(page)
    assert "stale" not in page.partition("</style>")[2]


def test_nothing_at_all() -> None:
    page, _ = render_screen(board(stations=(), orders=()))
    assert "No station No work order is open" in words(page)


def test_what_does_not_fit_is_shown_in_turns() -> None:
    stations = tuple(msgspec.structs.replace(NEW, station=f"s-{number:02}") for number in range(13))
    orders = tuple(msgspec.structs.replace(ORDER, work_order=f"wo-{number}") for number in range(4))
    screen = board(stations=stations, orders=orders)
    assert screen.seconds == screens.TURNED_S
    assert board().seconds == screens.RENEWED_S
    seen: list[set[str]] = []
    following = Following(0, 0)
    for number in range(3):
        page, following = render_screen(screen, following.turn)
        assert f"{number + 1} of 3" in page
        seen.append(set(re.findall(r"s-\d\d|wo-\d", words(page))))
    assert following == Following(0, 0)
    assert render_screen(board(stations=stations, sheet=1, sheets=3), 2)[1] == Following(0, 2)
    assert render_screen(board(sheet=2, sheets=3))[1] == Following(0, 0)
    assert board(sheets=3).seconds == screens.TURNED_S
    assert [len(part) for part in seen] == [6 + 3, 6 + 1, 1 + 3]
    assert set().union(*seen) == {item.station for item in stations} | {item.work_order for item in orders}
    assert render_screen(screen, 3 * 7 + 1)[1] == Following(2, 0)
    alarmed = msgspec.structs.replace(screen, trouble=Trouble.KEYROOM)
    assert "1 of 4" in render_screen(alarmed)[0]


def test_long_names_keep_their_ends() -> None:
    name = "graz-hall-7-line-3-end-of-line-test-and-packing-station-number-17"[:64]
    page, _ = render_screen(board(stations=(msgspec.structs.replace(WORKING, station=name),)))
    shown = screens.shorten(name)
    assert len(shown) == screens.LONGEST
    assert shown in page
    assert (shown[:20], shown[-20:]) == (name[:20], name[-20:])
    assert 'class="name long"' in page


@pytest.mark.parametrize(
    ("seconds", "said"), [(-3, "0 s"), (59.9, "59 s"), (60, "1 min"), (3599, "59 min"), (3600, "1 h"), (172_800, "2 d")]
)
def test_lengths_of_time(seconds: float, said: str) -> None:
    assert screens.write_age(seconds) == said
