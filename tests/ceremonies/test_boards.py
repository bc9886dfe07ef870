"""The screen of a line: who sees what, how it is recorded, and how fast it is."""

import asyncio
import hashlib
import time
from datetime import timedelta
from typing import Any

import pytest

from ceremonies import commands, paces
from ceremonies.boards import Boards
from ceremonies.commands import LineBoardShown, ShowLineBoard, StationOnBoard
from ceremonies.desk import LOCAL_ACTOR, Caller
from ceremonies.journal import Placed
from ceremonies.replay import replay_journal
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import Unit, check_books, close_order, code_of, make_units, permit, scrap
from tests.world import CLASS, PLANT, World

PLACED: dict[str, Any] = {"plant": PLANT, "lines": ["3"]}


async def show(world: World, plant: str = PLANT, role: str = "operator") -> LineBoardShown:
    return await world.ask(ShowLineBoard(plant), role, LineBoardShown)


async def enrol(world: World, name: str, **changed: Any) -> None:
    plan = {"station": name, **PLACED, "classes": [CLASS], "key": hashlib.sha256(name.encode()).hexdigest(), **changed}
    await world.ceremony(f"enrol-{name}", "station-enrol", plan)


def test_a_shift_on_the_screen(factory_world: World) -> None:
    world = factory_world

    async def run() -> None:
        await enrol(world, "graz-3-a")
        await enrol(world, "graz-screen", classes=[])
        await enrol(world, "linz-1", plant="linz")
        await world.open_order("wo-2", plant="linz")
        before = await show(world)
        assert before.stations == (StationOnBoard("graz-3-a", "enrolled", ("3",), "", 0, 0, 0, 0, 0, "", 0),)
        assert [(order.work_order, order.state, order.remaining) for order in before.orders] == [("wo-1", "open", 20)]
        units = await make_units(world, range(1, 5))
        await units[0].confirm(world)
        await scrap(world, units[1])
        assert code_of(await world.try_ask(Unit(1).request, "station")) == "serial-taken"
        shown = await show(world)
        token_station = shown.stations[1]
        facts = (token_station.work_order, token_station.minute, token_station.hour, token_station.unconfirmed)
        assert facts == ("wo-1", 4, 4, 2)
        assert (token_station.refused_hour, token_station.refusal) == (1, "serial-taken")
        assert abs(token_station.issued - shown.at) < 60
        (order,) = shown.orders
        assert (order.used, order.remaining, order.confirmed, order.unconfirmed, order.refused) == (4, 16, 1, 2, 1)
        assert (order.class_name, order.quantity, shown.alarms) == (CLASS, 20, ())
        assert [item.station for item in (await show(world, "linz", "auditor")).stations] == ["linz-1"]
        check_books(world)

    asyncio.run(run())


def test_stations_that_are_stopped_say_so(factory_world: World) -> None:
    world = factory_world

    async def states() -> dict[str, str]:
        return {item.station: item.state for item in (await show(world)).stations}

    async def run() -> None:
        for name in ("graz-3-a", "graz-3-b"):
            await enrol(world, name)
        stop = commands.SuspendStation("graz-3-a", "a drill")
        await world.ask(stop, "officer", commands.StationsListed)
        assert await states() == {"graz-3-a": "suspended", "graz-3-b": "enrolled"}
        await world.ask(commands.RevokeStation("graz-3-b", "stolen"), "officer", commands.StationsListed)
        assert await states() == {"graz-3-a": "suspended"}  # the other never issued anything

    asyncio.run(run())


def test_an_order_leaves_the_screen_when_it_is_closed(factory_world: World) -> None:
    world = factory_world

    async def run() -> None:
        (unit,) = await make_units(world, range(1, 2))
        assert len((await show(world)).orders) == 1
        await close_order(world, "wo-1", unit.serial)
        shown = await show(world)
        assert (shown.orders, shown.stations[0].unconfirmed, shown.stations[0].hour) == ((), 0, 1)
        await unit.confirm(world)
        check_books(world)

    asyncio.run(run())


def test_rework_keeps_the_figures_right(factory_world: World) -> None:
    world = factory_world

    async def run() -> None:
        await world.open_order("wo-3", first=101, last=120, rework_quantity=2)
        (old,) = await make_units(world, range(101, 102), "wo-3")
        await permit(world, old)
        new = Unit(101, "wo-3")
        await new.issue(world)
        shown = await show(world)
        assert {item.work_order: item.unconfirmed for item in shown.orders} == {"wo-1": 0, "wo-3": 1}
        assert shown.stations[0].unconfirmed == 1
        await new.confirm(world)
        assert (await show(world)).stations[0].unconfirmed == 0
        check_books(world)

    asyncio.run(run())


def test_a_long_board_comes_in_sheets(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = factory_world
    monkeypatch.setattr("ceremonies.boards.ORDERS_EACH", 2)
    monkeypatch.setattr("ceremonies.boards.STATIONS_EACH", 1)

    async def run() -> None:
        for number in range(2, 6):
            await world.open_order(f"wo-{number}", valid_to=2_000_000_000 + number)
        for name in ("graz-3-a", "graz-3-b"):
            await enrol(world, name)
        boards = Boards(world.room)
        sheets = [await boards.show(ShowLineBoard(PLANT, sheet), Caller(LOCAL_ACTOR)) for sheet in range(4)]
        assert [(board.sheet, board.sheets) for board in sheets] == [(0, 3), (1, 3), (2, 3), (0, 3)]
        orders = [[order.work_order for order in board.orders] for board in sheets]
        assert orders == [["wo-1", "wo-2"], ["wo-3", "wo-4"], ["wo-5"], ["wo-1", "wo-2"]]
        names = [[station.station for station in board.stations] for board in sheets]
        assert names == [["graz-3-a"], ["graz-3-b"], ["graz-3-a"], ["graz-3-a"]]  # a shorter list begins anew
        assert code_of(await world.try_ask(ShowLineBoard(PLANT, 7), "operator")) == "LineBoardShown"

    asyncio.run(run())


def test_alarms_of_the_keyroom_are_on_the_screen(factory_world: World) -> None:
    factory_world.room.alarms["token kedge-main"] = "the token kedge-main does not work"
    shown = asyncio.run(show(factory_world))
    assert shown.alarms == ("the token kedge-main does not work",)


@pytest.mark.req("AZ-2", "AZ-4")
def test_people_and_stations_see_their_own_plants(factory_world: World) -> None:
    world, command = factory_world, ShowLineBoard("linz")

    async def run() -> None:
        for role in ("operator", "station"):
            assert (await show(world, role=role)).plant == PLANT
            assert code_of(await world.try_ask(command, role)) == "binding-mismatch"
        for role in ("officer", "auditor"):
            assert (await show(world, "linz", role)).plant == "linz"
        for role in ("pipeline", "gateway"):
            assert code_of(await world.try_ask(command, role)) == "role-refused"

    asyncio.run(run())


def test_a_screen_does_not_fill_the_journal(factory_world: World) -> None:
    world = factory_world

    async def run() -> None:
        before = world.room.ledger.journal.size
        for _ in range(5):
            await show(world)
        await show(world, role="auditor")
        leaves = read_leaves(world, before)
        assert [(leaf["type"], leaf["actor"]["role"], leaf["op"]["what"]) for leaf in leaves] == [
            ("export", role, {"read": "line board", "plant": PLANT}) for role in ("operator", "auditor")
        ]
        assert code_of(await world.try_ask(ShowLineBoard("linz"), "operator")) == "binding-mismatch"
        assert read_leaves(world, before + 2)[0]["type"] == "auth.fail"

    asyncio.run(run())


@pytest.mark.req("AU-4")
def test_a_reading_an_hour_later_counts_those_before(factory_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world = factory_world
    for _ in range(4):
        asyncio.run(show(world))
    before = world.room.ledger.journal.size
    monkeypatch.setattr("ceremonies.boards.RECORDED_EVERY_US", 1)
    for _ in range(2):
        asyncio.run(show(world))
    facts = {"read": "line board", "plant": PLANT}
    assert [leaf["op"]["what"] for leaf in read_leaves(world, before)] == [{**facts, "readings": 3}, facts]


def test_a_restart_forgets_nothing_of_the_last_hour(factory_world: World) -> None:
    asyncio.run(make_units(factory_world, range(1, 3)))
    before = asyncio.run(show(factory_world)).stations
    factory_world.stop()
    factory_world.start()
    assert asyncio.run(show(factory_world)).stations == before


def test_an_order_that_is_over_stays_while_units_wait(factory_world: World) -> None:
    world = factory_world

    async def run() -> tuple[int, str]:
        boards, caller = Boards(world.room), Caller(LOCAL_ACTOR)
        shown = await boards.show(ShowLineBoard(PLANT), caller)
        over = timedelta(days=9).total_seconds()
        late = list(boards._list_orders(PLANT, shown.at + int(over)))
        return len(late), late[0][1] if late else ""

    assert asyncio.run(run()) == (0, "")
    asyncio.run(make_units(world, range(1, 2)))
    assert asyncio.run(run()) == (1, "over")


@pytest.mark.unmeasured
def test_a_hundred_thousand_units_and_fifty_stations_take_milliseconds(factory_world: World) -> None:
    """What is shown is counted as the journal grows; nothing is added up when somebody looks."""
    replay = factory_world.room.ledger.replay
    for number in range(100_000):
        station = {"role": "station", "sub": f"station-{number % 50}"}
        what = {"work_order": "wo-1", "serial": f"S{number}"}
        entry = {"actor": station, "op": {"kind": "certificate.idevid", "what": what}, "out": {"status": "ok"}}
        leaf = b'{"ts":"2026-11-23T07:%02d:%02d.000000Z"}' % (number // 60 % 60, number % 60)
        replay.paces.take(Placed(number, bytes(32), leaf), {"type": "key.sign.outcome", **entry})
    asyncio.run(show(factory_world))
    begun = time.perf_counter()
    shown = asyncio.run(show(factory_world))
    took = time.perf_counter() - begun
    assert len(shown.stations) == 50
    assert sum(item.unconfirmed for item in shown.stations) == 100_000
    assert took < 0.05, f"{took * 1000:.1f} ms"
    assert paces.Paces is type(replay.paces)


def test_a_station_whose_order_was_closed_is_there_after_a_restart_as_before(factory_world: World) -> None:
    asyncio.run(make_units(factory_world, range(1, 3)))
    before = asyncio.run(show(factory_world))
    asyncio.run(close_order(factory_world))
    factory_world.stop()
    factory_world.start()
    after = asyncio.run(show(factory_world))
    assert (
        [(item.station, item.hour) for item in after.stations]
        == [(item.station, item.hour) for item in before.stations]
        == [(after.stations[0].station, 2)]
    )
    assert after.orders == ()


def test_the_replay_says_the_same(factory_world: World) -> None:
    asyncio.run(make_units(factory_world, range(1, 3)))
    room = factory_world.room
    assert replay_journal(room.store, room.ledger.journal).paces == room.ledger.replay.paces
