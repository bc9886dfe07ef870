"""Work orders as people read them: who sees which, in which state, page by page; every reading is an entry."""

import asyncio

import msgspec
import pytest

from ceremonies import commands
from ceremonies.commands import ReportUnits, UnitsReported, WorkOrdersListed
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import Unit, close_order, code_of, figures, make_units, permit, scrap
from tests.world import World

DAY_US = 86_400_000_000


async def report(world: World, **asked: object) -> UnitsReported:
    command = msgspec.structs.replace(ReportUnits("wo-1"), **asked)
    return await world.ask(command, "auditor", UnitsReported)


@pytest.mark.req("AZ-2")
def test_people_see_the_orders_of_their_plants(factory_world: World) -> None:
    world = factory_world

    async def names(role: str, token: str = "") -> list[str]:
        listed = await world.ask(commands.ListWorkOrders(), role, WorkOrdersListed, token)
        return [order.work_order for order in listed.work_orders]

    async def run() -> None:
        await world.open_order("wo-0", plant="linz")
        assert await names("auditor") == await names("officer") == ["wo-0", "wo-1"]
        assert await names("operator") == ["wo-1"]
        linz = world.token("operator", plant="linz", site="hornsea-1")
        assert await names("operator", linz) == ["wo-0"]
        for command in (commands.ShowWorkOrder("wo-1"), ReportUnits("wo-1")):
            assert code_of(await world.try_ask(command, "operator", linz)) == "binding-mismatch"
            assert code_of(await world.try_ask(command, "station")) == "role-refused"
        for command in (commands.ShowWorkOrder("wo-9"), ReportUnits("wo-9")):
            assert code_of(await world.try_ask(command, "auditor")) == "work-order-unknown"

    asyncio.run(run())


def test_every_reading_is_an_entry(factory_world: World) -> None:
    async def run() -> None:
        before = factory_world.room.ledger.journal.size
        for command in (commands.ListWorkOrders(), commands.ShowWorkOrder("wo-1"), ReportUnits("wo-1", "BMS-000004")):
            await factory_world.ask(command, "operator", object)
        leaves = read_leaves(factory_world, before)
        assert [leaf["type"] for leaf in leaves] == ["export"] * 3
        assert leaves[2]["op"]["what"] == {"after": "BMS-000004", "read": "units", "work_order": "wo-1"}

    asyncio.run(run())


def test_states_of_an_order(genesis_world: World) -> None:
    world = genesis_world

    async def run() -> None:
        await world.open_order("wo-1")
        await world.open_order("wo-2", valid_from=3_900_000_000, valid_to=4_000_000_000)
        await world.open_order("wo-3", serials=["A-1", "A-2"], lines=["line-1"], stations=["st-1"])
        assert [(await figures(world, name)).state for name in ("wo-1", "wo-2")] == ["open", "waiting"]
        shown = await figures(world, "wo-3")
        assert (shown.lines, shown.stations, shown.class_name) == (("line-1",), ("st-1",), "bms-stm32h7")
        real = world.around.now_us
        world.room.surroundings = msgspec.structs.replace(world.around, now_us=lambda: real() + 2 * DAY_US)
        assert (await figures(world, "wo-1")).state == "over"
        world.room.surroundings = world.around
        await close_order(world, "wo-3")
        assert (await figures(world, "wo-3")).state == "closed"

    asyncio.run(run())


def test_units_page_by_page_with_their_entries(genesis_world: World) -> None:
    world = genesis_world

    async def run() -> None:
        await world.open_order(rework_quantity=1)
        units = await make_units(world, range(1, 8))
        confirmed = await units[0].confirm(world)
        scrapped = await scrap(world, units[1])
        await permit(world, units[2])
        await (new := Unit(3)).issue(world)
        first = await report(world, limit=3)
        assert [unit.state for unit in first.units] == ["confirmed", "scrapped", "unconfirmed"]
        assert first.following == "BMS-000003"
        assert (first.units[0].confirmed, first.units[1].scrapped) == (confirmed.index, scrapped.index)
        assert first.units[2].issued == new.held.proven.index
        assert (len(first.units[2].replaced), first.units[1].replaced) == (1, ())
        rest = await report(world, after=first.following)
        assert [unit.serial for unit in rest.units] == [f"BMS-{number:06}" for number in (4, 5, 6, 7)]
        assert rest.following == ""
        few = await report(world, state="unconfirmed", limit=2)
        assert ([unit.serial for unit in few.units], few.following) == (["BMS-000003", "BMS-000004"], "BMS-000004")
        last = await report(world, state="unconfirmed", limit=3, after="BMS-000004")
        assert ([unit.serial for unit in last.units], last.following) == ([u.serial for u in units[4:]], "")
        await close_order(world, "wo-1", "BMS-000004")
        counted = {
            state: [unit.serial[-1] for unit in (await report(world, state=state)).units]
            for state in ("confirmed", "scrapped", "excused", "revoked", "unconfirmed")
        }
        assert counted == {
            "confirmed": ["1"], "scrapped": ["2"], "excused": ["4"], "revoked": ["3", "5", "6", "7"], "unconfirmed": [],
        }  # fmt: skip

    asyncio.run(run())
