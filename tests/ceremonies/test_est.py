"""The work order of a request that names its device only."""

import asyncio

import pytest

from ceremonies import commands, est
from ceremonies.commands import DeviceIssued
from ceremonies.issuance import Line, load_line
from ceremonies.room import Room
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import close_order
from tests.world import CLASS, PLANT, RefusedError, World, make_request


@pytest.mark.req("CA-11", "CA-14")
def test_the_order_is_found_by_the_serial(factory_world: World) -> None:
    async def run() -> None:
        command = commands.EnrolDevice("device-ca", "BMS-000007", make_request())
        first = await factory_world.ask(command, "station", DeviceIssued)
        again = await factory_world.ask(command, "station", DeviceIssued)
        assert (first.certificate, again.replayed) == (again.certificate, True)
        by_order = commands.IssueDevice("wo-1", "BMS-000007", command.csr)
        assert (await factory_world.ask(by_order, "station", DeviceIssued)).certificate == first.certificate

    asyncio.run(run())


@pytest.mark.req("CA-11")
@pytest.mark.parametrize(
    ("authority", "serial", "token"),
    [("device-ca", "BMS-999999", {}), ("device-ca", "BMS-000007", {"plant": "linz"})],
)
def test_what_no_order_names_is_refused(
    factory_world: World, authority: str, serial: str, token: dict[str, str]
) -> None:
    command = commands.EnrolDevice(authority, serial, make_request())
    claims = {"role": "station", "plant": "graz", "class": "bms-stm32h7", **token}
    with pytest.raises(RefusedError, match="serial-not-in-order"):
        asyncio.run(factory_world.ask(command, "", DeviceIssued, factory_world.token(**claims)))


def test_two_open_orders_for_one_serial_are_a_question_for_people(factory_world: World) -> None:
    async def run() -> None:
        await factory_world.open_order("wo-2")
        with pytest.raises(RefusedError, match="work-order-ambiguous"):
            command = commands.EnrolDevice("device-ca", "BMS-000007", make_request())
            await factory_world.ask(command, "station", DeviceIssued)

    asyncio.run(run())


@pytest.mark.req("CA-11", "CA-13")
@pytest.mark.parametrize(
    ("authority", "code"), [("site-ca", "work-order-unknown"), ("device-ca", "authority-unavailable")]
)
def test_a_label_that_serves_no_order_now_suspends_nobody(factory_world: World, authority: str, code: str) -> None:
    """With a wrong label, or while a CA is stopped, every station of the plant asks so, again and again."""

    async def run() -> None:
        world = factory_world
        if authority == "device-ca":
            await world.ask(commands.SuspendKey("device-ca", "a drill"), "officer", commands.KeysListed)
            world.room.cache.clear()  # as every ceremony does
        command = commands.EnrolDevice(authority, "BMS-000007", make_request())
        for _ in range(5):
            with pytest.raises(RefusedError, match=code):
                await world.ask(command, "station", DeviceIssued)
        assert world.room.ledger.replay.stations.suspended == {}

    asyncio.run(run())


def test_an_order_that_was_closed_is_no_question(factory_world: World) -> None:
    async def run() -> None:
        world = factory_world
        await close_order(world)
        await world.open_order("wo-2")
        command = commands.EnrolDevice("device-ca", "BMS-000007", make_request())
        await world.ask(command, "station", DeviceIssued)
        (leaf,) = (
            leaf for leaf in read_leaves(world) if leaf["type"] == "key.sign.outcome" and "csr" in leaf["op"]["what"]
        )
        assert leaf["op"]["what"]["work_order"] == "wo-2"

    asyncio.run(run())


def test_an_order_of_another_line_is_no_question(genesis_world: World) -> None:
    async def run() -> None:
        world = genesis_world
        await world.open_order("wo-3", lines=["3"])
        await world.open_order("wo-4", lines=["4"])
        placed = {"plant": PLANT, "class": CLASS, "station": "s", "line": "4"}
        token = world.token("line-station", **placed)
        command = commands.EnrolDevice("device-ca", "BMS-000007", make_request())
        assert (await world.ask(command, "", DeviceIssued, token)).serial == "BMS-000007"

    asyncio.run(run())


@pytest.mark.req("T21")
def test_no_ca_is_read_for_orders_that_do_not_name_the_serial(
    genesis_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every ceremony empties the cache: with thousands of orders the writer would stand still."""

    async def run() -> None:
        world, read = genesis_world, list[str]()
        for number in range(3):
            await world.open_order(f"wo-{number}", serials=[f"X-{number}"])

        def load(room: Room, name: str) -> Line:
            read.append(name)
            return load_line(room, name)

        monkeypatch.setattr(est, "load_line", load)
        await world.ask(commands.EnrolDevice("device-ca", "X-1", make_request()), "station", DeviceIssued)
        assert read == ["wo-1"]

    asyncio.run(run())
