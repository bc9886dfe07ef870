"""Devices on their way through the register: statements of an operator bound to a plant and a site."""

import secrets
from collections.abc import Sequence
from typing import Any

from ceremonies import commands
from ceremonies.commands import Decommission, Install, RecordStatements, Ship, Statement, StatementsRecorded
from tests.world import SITE, World, issue_device, make_request


def serial_of(number: int) -> str:
    """A serial of the work order wo-1."""
    return f"BMS-{number:06}"


async def issue_some(world: World, count: int) -> list[str]:
    """Issued devices."""
    for number in range(1, count + 1):
        await issue_device(world, number, make_request())
    return [serial_of(number) for number in range(1, count + 1)]


async def say(world: World, *items: Statement, name: str = "", token: str = "") -> StatementsRecorded:
    """Record statements as an operator."""
    command = RecordStatements(name or f"said-{secrets.token_hex(8)}", items)
    return await world.ask(command, "operator", StatementsRecorded, token)


async def say_all(world: World, *items: Statement, token: str = "") -> None:
    """Record statements that are all taken."""
    verdicts = (await say(world, *items, token=token)).verdicts
    assert [verdict.code for verdict in verdicts] == [""] * len(items), verdicts


async def install(world: World, serials: Sequence[str], site: str = SITE, rack: str = "r1") -> None:
    """Ship and install devices."""
    placed = [Install(serial, "north-power", site, rack, f"asset {serial}") for serial in serials]
    await say_all(world, *(Ship(serial) for serial in serials), *placed)


async def decommission(world: World, *serials: str) -> None:
    """Take devices out of service for good."""
    await say_all(world, *(Decommission(serial, "scrap") for serial in serials))


async def query(world: World, role: str = "auditor", token: str = "", **filters: Any) -> commands.FleetQueried:
    """Ask for the fleet."""
    return await world.ask(commands.QueryFleet(**filters), role, commands.FleetQueried, token)
