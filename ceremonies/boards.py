"""The screen of a line: stations and open work orders of a plant, as the journal has them. Nothing of it is a row.

An answer is one sheet of a board, whatever the plant has; only what stands on it is put together.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

import msgspec

from ceremonies import entries
from ceremonies.alarms import list_obstacles
from ceremonies.commands import LineBoardShown, OrderOnBoard, ShowLineBoard, StationOnBoard
from ceremonies.desk import Caller
from ceremonies.issuance import load_order
from ceremonies.journal import format_time
from ceremonies.paces import Pace
from ceremonies.room import TRACE, Room
from ceremonies.stations import Station
from ceremonies.workorders import tell_state

BOUND: Final = ("operator", "station")
"""Roles that see their own plants only."""
RECORDED_EVERY_US: Final = 3_600_000_000
READERS_LIMIT: Final = 1024
SECOND: Final = 1_000_000
AT_ONCE: Final = 20
"""Work orders that are read in one task of the writer."""
STATIONS_EACH: Final = 300
ORDERS_EACH: Final = 150
"""What one sheet holds."""

T = TypeVar("T")


class Window(msgspec.Struct, frozen=True):
    """What of a work order the journal's figures do not say."""

    plant: str
    class_name: str
    valid_from: int
    valid_to: int


class Boards:
    """Reads. Work orders never change once they are opened: each is loaded once."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._windows: dict[str, Window] = {}
        self._recorded: dict[tuple[str, str], tuple[int, int]] = {}

    async def show(self, command: ShowLineBoard, caller: Caller) -> LineBoardShown:
        """The plant now. Raises BindingMismatch."""
        if caller.actor.role in BOUND:
            caller.require("plant", command.plant)
        await self._record(command.plant, caller)
        paces = self._room.ledger.replay.paces
        wanted = [*list(paces.unconfirmed), *(pace.order for pace in list(paces.stations.values()) if pace.order)]
        unknown = [name for name in dict.fromkeys(wanted) if name not in self._windows]
        for start in range(0, len(unknown), AT_ONCE):
            self._windows |= await self._room.act(partial(self._load, unknown[start : start + AT_ONCE]))
        return self._compose(command)

    def _compose(self, command: ShowLineBoard) -> LineBoardShown:
        now_us, replay = self._room.surroundings.now_us(), self._room.ledger.replay
        stations, orders = self._list_stations(command.plant), list(self._list_orders(command.plant, now_us // SECOND))
        sheets = max(count_sheets(stations, STATIONS_EACH), count_sheets(orders, ORDERS_EACH))
        sheet, waiting = command.sheet % sheets, count_waiting(list(replay.paces.unconfirmed.values()))
        return LineBoardShown(
            plant=command.plant,
            at=now_us // SECOND,
            alarms=list_obstacles(self._room),
            stations=tuple(
                self._describe(name, now_us, waiting.get(name, 0)) for name in cut(stations, STATIONS_EACH, sheet)
            ),
            orders=tuple(self._tell(*item) for item in cut(orders, ORDERS_EACH, sheet)),
            sheet=sheet,
            sheets=sheets,
        )

    def _load(self, names: Sequence[str]) -> dict[str, Window]:
        """Writer's thread. Raises JournalForked."""
        orders = [load_order(self._room, name) for name in names]
        return {item.id: Window(item.plant, item.class_name, item.valid_from, item.valid_to) for item in orders}

    def _list_stations(self, plant: str) -> list[str]:
        """Enrolled ones that may issue something, by name; then those with tokens."""
        replay = self._room.ledger.replay
        enrolled, paces = dict(replay.stations.enrolled), dict(replay.paces.stations)
        mine = {name: station for name, station in enrolled.items() if station.plant == plant and station.classes}
        known = sorted(name for name, station in mine.items() if name in paces or not station.revoked)
        windows = {name: self._windows.get(paces[name].order) for name in paces.keys() - enrolled.keys()}
        return known + sorted(name for name, window in windows.items() if window is not None and window.plant == plant)

    def _describe(self, name: str, now_us: int, unconfirmed: int) -> StationOnBoard:
        replay = self._room.ledger.replay
        pace, station = replay.paces.stations.get(name, Pace()), replay.stations.enrolled.get(name)
        hour, minute = (format_time(now_us - ago * SECOND) for ago in (3600, 60))
        return StationOnBoard(
            station=name, state=self._judge(name, station), lines=station.lines if station else (),
            work_order=pace.order, issued=read_seconds(pace.issued.last), minute=pace.issued.since_minute(minute),
            hour=pace.issued.since_hour(hour), refused=read_seconds(pace.refused.last),
            refused_hour=pace.refused.since_hour(hour), refusal=pace.refusal,
            unconfirmed=unconfirmed,
        )  # fmt: skip

    def _judge(self, name: str, station: Station | None) -> str:
        stations = self._room.ledger.replay.stations
        if station is not None and station.revoked:
            return "revoked"
        if name in stations.suspended:
            return "suspended"
        newest = stations.newest(name)
        expired = newest is not None and self._room.door.now() >= newest.expires
        return "expired" if expired else "enrolled"

    def _list_orders(self, plant: str, now: int) -> Iterator[tuple[str, str]]:
        """Name and state, by the end of their windows."""
        replay = self._room.ledger.replay
        own = [(item.valid_to, name) for name, item in self._windows.items() if item.plant == plant]
        for _, name in sorted(own):
            window = self._windows[name]
            state = tell_state(replay.quotas[name].closed, window.valid_from, window.valid_to, now)
            if state in ("open", "waiting") or (state == "over" and replay.units.orders[name].unconfirmed):
                yield name, state

    def _tell(self, name: str, state: str) -> OrderOnBoard:
        replay, window = self._room.ledger.replay, self._windows[name]
        quota, figures = replay.quotas[name], replay.units.orders[name]
        return OrderOnBoard(
            work_order=name, class_name=window.class_name, state=state, quantity=quota.quantity,
            used=quota.issued, remaining=quota.quantity - quota.issued, confirmed=figures.built,
            unconfirmed=figures.unconfirmed, refused=figures.refused, valid_to=window.valid_to,
        )  # fmt: skip

    async def _record(self, plant: str, caller: Caller) -> None:
        """An entry for the first reading of somebody, then one an hour with the number of those between: a screen must
        not fill the journal. A restart forgets the number.
        """
        key, now_us = (caller.actor.sub, plant), self._room.surroundings.mono_us()
        since_us, readings = self._recorded.pop(key, (now_us - RECORDED_EVERY_US, 0))
        if now_us - since_us < RECORDED_EVERY_US:
            self._recorded[key] = (since_us, readings + 1)
            trace = TRACE.get()
            if trace is not None:
                trace.recorded = True  # in the next entry: the desk need not write another
            return
        if len(self._recorded) >= READERS_LIMIT:
            del self._recorded[next(iter(self._recorded))]
        what = {"read": "line board", "plant": plant, **({"readings": readings} if readings else {})}
        draft = entries.event("export", caller.actor, what)
        await self._room.act(lambda: self._room.ledger.record([draft]))
        self._recorded[key] = (now_us, 0)


def count_waiting(orders: Iterable[Mapping[str, int]]) -> Mapping[str, int]:
    """By station, how many units wait for confirmation."""
    found: dict[str, int] = {}
    for counts in orders:
        for name, count in list(counts.items()):  # the writer may add one meanwhile
            found[name] = found.get(name, 0) + count
    return found


def count_sheets(items: Sequence[object], each: int) -> int:
    """How many sheets it takes; an empty one is one, too."""
    return max(1, math.ceil(len(items) / each))


def cut(items: Sequence[T], each: int, sheet: int) -> Sequence[T]:
    """What of a list stands on a sheet; a list that needs fewer begins anew."""
    start = sheet % count_sheets(items, each) * each
    return items[start : start + each]


def read_seconds(ts: str) -> int:
    """A time of the journal in seconds since 1970; 0 for none."""
    return int(datetime.fromisoformat(ts).timestamp()) if ts else 0
