"""The work order of a request that names its device only."""

import asyncio

import pytest

from ceremonies import commands
from ceremonies.commands import DeviceIssued
from tests.world import RefusedError, World, make_request


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
    [("device-ca", "BMS-999999", {}), ("site-ca", "BMS-000007", {}), ("device-ca", "BMS-000007", {"plant": "linz"})],
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
