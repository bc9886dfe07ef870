"""A line board as HTML: what stands where, in which words. Pure: figures in, a page out.

A page is read from across a hall: few rows, large; where there are more, the page shows one part after the other. Words
say what colours say. All text is escaped by the template engine; style stands in the page, and its hash in the policy.
"""

import base64
import enum
import hashlib
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec
from jinja2 import Environment, StrictUndefined

from ceremonies.commands import LineBoardShown, OrderOnBoard, StationOnBoard

STATIONS_AT_ONCE: Final = 6
STATIONS_BELOW: Final = 4
"""As many fit below a banner."""
ORDERS_AT_ONCE: Final = 3
RENEWED_S: Final = 5
TURNED_S: Final = 10
"""How long a part is shown where there are several."""
IDLE_S: Final = 300
"""After how long without a certificate a station counts as idle."""
LONG: Final = 16
LONGEST: Final = 44
"""Characters of a name: more are written smaller, and of still more the middle is left out."""
FEW: Final = 0.05
"""A work order with less than this share left is nearly used up."""

_HERE: Final = Path(__file__).parent
STYLE: Final = (_HERE / "screen.css").read_text("utf-8")
_HASH: Final = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
SCREEN_HEADERS: Final = {
    "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'none'",
}
_PAGE: Final = Environment(
    autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
).from_string((_HERE / "screen.html").read_text("utf-8"))


T = TypeVar("T")


class Trouble(enum.Enum):
    """Why the figures are not those of now."""

    NONE = ""
    KEYROOM = "Keyroom does not answer"
    SERVICE = "Service does not answer"
    REFUSED = "This screen is not let in"


class Screen(msgspec.Struct, frozen=True):
    """A plant's figures, or none yet, how many seconds old they are, and what is wrong. why: more words on that."""

    plant: str
    board: LineBoardShown | None
    age: float = 0.0
    trouble: Trouble = Trouble.NONE
    why: str = ""

    @property
    def seconds(self) -> int:
        """When the page shall be asked for again."""
        several = count_turns(self) > 1 or (self.board is not None and self.board.sheets > 1)
        return TURNED_S if several else RENEWED_S


class Following(msgspec.Struct, frozen=True):
    """What is shown next: a turn of a sheet, both from 0."""

    turn: int
    sheet: int


class Banner(msgspec.Struct, frozen=True):
    """What must be seen first."""

    title: str
    words: str


class StationRow(msgspec.Struct, frozen=True):
    """A station in words. kind: how the row is drawn; refusal: what it was refused last, within the hour."""

    name: str
    long: bool
    place: str
    kind: str
    state: str
    last: str
    minute: int
    hour: int
    refused: int
    refusal: str
    unconfirmed: int


class OrderCard(msgspec.Struct, frozen=True):
    """A work order in words. share: how much of it is used, in percent."""

    name: str
    long: bool
    class_name: str
    kind: str
    state: str
    remaining: int
    quantity: int
    unconfirmed: int
    share: int


def render_screen(screen: Screen, turn: int = 0) -> tuple[str, Following]:
    """The page, and what follows: the next turn of its sheet, then the next sheet."""
    turns, board, banner = count_turns(screen), screen.board, find_banner(screen)
    turn %= turns
    sheet, sheets = (board.sheet, board.sheets) if board else (0, 1)
    stations = _part(board.stations, count_rows(screen), turn) if board else ()
    orders = _part(board.orders, ORDERS_AT_ONCE, turn) if board else ()
    page = _PAGE.render(
        style=STYLE, plant=screen.plant, banner=banner, stale=screen.trouble is not Trouble.NONE,
        clock=write_clock(board.at) if board else "", turn=turn + 1, turns=turns, known=board is not None,
        sheet=sheet + 1, sheets=sheets,
        stations=[describe_station(item, board.at if board else 0) for item in stations],
        orders=[describe_order(item) for item in orders],
    )  # fmt: skip
    if turn + 1 < turns:
        return page, Following(turn + 1, sheet)
    return page, Following(0, (sheet + 1) % sheets)


def count_rows(screen: Screen) -> int:
    """How many stations are shown at once."""
    return STATIONS_BELOW if find_banner(screen) else STATIONS_AT_ONCE


def count_turns(screen: Screen) -> int:
    """How many parts it takes to show everything of its sheet."""
    if screen.board is None:
        return 1
    stations, orders = len(screen.board.stations) / count_rows(screen), len(screen.board.orders) / ORDERS_AT_ONCE
    return max(1, math.ceil(stations), math.ceil(orders))


def _part(items: Sequence[T], size: int, turn: int) -> Sequence[T]:
    """What is shown of a list in a turn; a shorter list begins anew."""
    parts = max(1, math.ceil(len(items) / size))
    start = turn % parts * size
    return items[start : start + size]


def find_banner(screen: Screen) -> Banner | None:
    """What is wrong with the whole, the worst first."""
    if screen.trouble is not Trouble.NONE:
        old = f"These figures are {write_age(screen.age)} old." if screen.board else "There are no figures yet."
        return Banner(screen.trouble.value, f"{screen.why} {old}".strip())
    if screen.board is not None and screen.board.alarms:
        return Banner("Keyroom is not ready", "; ".join(screen.board.alarms))
    return None


def describe_station(station: StationOnBoard, now: int) -> StationRow:
    """A station as its row says it."""
    kind, state = judge_station(station, now)
    lines = f"line {', '.join(station.lines)}" if station.lines else ""
    return StationRow(
        name=shorten(station.station), long=len(station.station) > LONG,
        place=" · ".join(filter(None, (lines, station.work_order))), kind=kind, state=state,
        last=write_age(now - station.issued) if station.issued else "never", minute=station.minute,
        hour=station.hour, refused=station.refused_hour, refusal=station.refusal if station.refused_hour else "",
        unconfirmed=station.unconfirmed,
    )  # fmt: skip


def judge_station(station: StationOnBoard, now: int) -> tuple[str, str]:
    """How a station is drawn, and its state in a word."""
    if station.state in ("suspended", "revoked", "expired"):
        return "stopped", station.state
    if not station.issued:
        return "idle", "nothing issued"
    if now - station.issued >= IDLE_S:
        return "idle", "idle"
    return "working", "working"


def describe_order(order: OrderOnBoard) -> OrderCard:
    """A work order as its card says it."""
    share = 100 * order.used // order.quantity if order.quantity else 100
    kind, state = "open", "open"
    if order.state != "open":
        kind, state = "waiting", {"waiting": "not yet open", "over": "window over"}.get(order.state, order.state)
    elif not order.remaining:
        kind, state = "stopped", "used up"
    elif order.remaining < order.quantity * FEW:
        kind, state = "few", "few left"
    return OrderCard(
        shorten(order.work_order),
        len(order.work_order) > LONG,
        order.class_name,
        kind,
        state,
        order.remaining,
        order.quantity,
        order.unconfirmed,
        share,
    )


def shorten(name: str) -> str:
    """A name that fits: its beginning and its end, by which names of one hall differ."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"


def write_age(seconds: float) -> str:
    """A length of time in one unit that a person grasps."""
    whole = max(0, int(seconds))
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if whole >= size:
            return f"{whole // size} {unit}"
    return f"{whole} s"


def write_clock(at: int) -> str:
    """The time of the figures."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S} UTC"
