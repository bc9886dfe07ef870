"""What the fleet is like: every filter against the device rules' own receipts, and who may ask."""

import asyncio
from typing import Any

import pytest

from ceremonies.commands import FleetDevice, LabelShown, Problem, QueryFleet, ShowLabel
from tests.ceremonies.field import make_controllers, read_leaves
from tests.ceremonies.fielded import decommission, install, issue_some, query
from tests.ceremonies.rotated import Fleet, report_all
from tests.world import CLASS, PLANT, SITE, World

ONE, TWO, NEW = "BMS-000001", "BMS-000002", "BMS-000009"


FILTERS: list[tuple[dict[str, Any], list[str]]] = [
    ({}, [ONE, TWO, NEW]),
    ({"serial": TWO}, [TWO]),
    ({"class_name": CLASS}, [ONE, TWO, NEW]),
    ({"class_name": "pcs"}, []),
    ({"site": SITE}, [ONE, TWO]),
    ({"site": "hornsea-2"}, []),
    ({"site": SITE, "rack": "r1"}, [ONE, TWO]),
    ({"rack": "r2"}, []),
    ({"state": "installed"}, [ONE, TWO]),
    ({"state": "issued"}, [NEW]),
    ({"state": "shipped"}, []),
    ({"set_below": 1}, [NEW]),
    ({"set_below": 2}, [ONE, TWO, NEW]),
    ({"firmware_below": "2.4"}, [NEW]),
    ({"firmware_below": "2.4.0.0"}, [NEW]),
    ({"firmware_below": "2.4.0.1"}, [ONE, TWO, NEW]),
    ({"floor_below": 1, "floor_domain": 0}, [NEW]),
    ({"floor_below": 1}, [ONE, TWO, NEW]),
    ({"silent_since": 1}, [NEW]),
    ({"silent_since": 1 << 40}, [ONE, TWO, NEW]),
    ({"state": "installed", "silent_since": 1}, []),
]


def serials(devices: tuple[FleetDevice, ...]) -> list[str]:
    return [device.serial for device in devices]


async def add_silent(fleet: Fleet) -> None:
    """A third device that was never heard; the two others stand at the site."""
    await make_controllers(fleet.world, (9,), fleet.releases["2.3.0"])
    await install(fleet.world, [ONE, TWO])


@pytest.mark.req("RO-5", "EV-3")
def test_filters(moved: Fleet) -> None:
    async def play() -> None:
        await add_silent(moved)
        for filters, found in FILTERS:
            assert serials((await query(moved.world, **filters)).devices) == found, filters

    asyncio.run(play())


def test_a_device_as_it_is(moved: Fleet) -> None:
    async def play() -> tuple[FleetDevice, ...]:
        await add_silent(moved)
        await moved.world.ceremony("baseline-1", "baseline", {"releases": ["release-2.4.0"]})
        off = await query(moved.world, off_baseline=True)
        assert (serials(off.devices), off.baseline) == ([NEW], 1)
        return (await query(moved.world)).devices

    one, _, new = asyncio.run(play())
    assert (one.state, one.operator, one.site, one.rack, one.asset) == (
        "installed", "north-power", SITE, "r1", f"asset {ONE}",
    )  # fmt: skip
    assert (one.set_index, one.stable, one.firmware, one.baseline, one.alarm) == (1, True, "2.4.0.0", "met", "")
    assert one.heard > one.since - 600 > 0
    assert (new.state, new.heard, new.firmware, new.floors, new.baseline) == ("issued", 0, "", {}, "off")


@pytest.mark.engines
def test_older_firmware_is_off_the_baseline(rotated: Fleet) -> None:
    async def play() -> None:
        await report_all(rotated)
        assert {device.baseline for device in (await query(rotated.world)).devices} == {""}
        assert serials((await query(rotated.world, off_baseline=True)).devices) == [ONE, TWO]
        await rotated.world.ceremony("baseline-1", "baseline", {"releases": ["release-2.4.0"]})
        found = (await query(rotated.world, off_baseline=True)).devices
        assert [(device.firmware, device.baseline) for device in found] == [("2.3.0.0", "off")] * 2

    asyncio.run(play())


@pytest.mark.engines
def test_pages_follow_each_other(moved: Fleet) -> None:
    async def play() -> list[str]:
        await add_silent(moved)
        found, after = [], ""
        while True:
            page = await query(moved.world, limit=1, after=after)
            found += serials(page.devices)
            if not page.following:
                return found
            after = page.following

    assert asyncio.run(play()) == [ONE, TWO, NEW]


@pytest.mark.req("AZ-2")
def test_an_operator_sees_the_own_sites_and_every_reading_is_an_entry(moved: Fleet) -> None:
    world = moved.world

    async def play() -> None:
        await add_silent(moved)
        assert serials((await query(world, "operator")).devices) == [ONE, TWO]
        stranger = world.token("operator", plant=PLANT, site="hornsea-2")
        assert (await query(world, "operator", stranger)).devices == ()
        answer = await world.try_ask(QueryFleet(site=SITE), "operator", stranger)
        assert isinstance(answer, Problem) and answer.code == "binding-mismatch"
        for role in ("station", "gateway", "pipeline"):
            answer = await world.try_ask(QueryFleet(), role)
            assert isinstance(answer, Problem) and answer.code == "role-refused"
        size = world.room.ledger.journal.size
        await query(world, site=SITE)
        (leaf,) = read_leaves(world)[size:]
        assert leaf.op and leaf.op.what and (leaf.type, leaf.op.what["site"]) == ("export", SITE)

    asyncio.run(play())


def test_a_label_names_the_device(moved: Fleet) -> None:
    world = moved.world

    async def play() -> None:
        shown = await world.ask(ShowLabel(ONE), "station", LabelShown)
        assert shown == LabelShown(ONE, CLASS, "", f"KEDGE1;serial={ONE};class={CLASS}")
        unknown = await world.try_ask(ShowLabel("BMS-000099"), "auditor")
        assert isinstance(unknown, Problem) and unknown.code == "device-unknown"
        foreign = world.token("station", plant="elsewhere", **{"class": CLASS})
        await install(world, [ONE])
        lures = ((foreign, "station"), (world.token("operator", plant=PLANT, site="hornsea-2"), "operator"))
        for token, role in lures:
            refused = await world.try_ask(ShowLabel(ONE), role, token)
            assert isinstance(refused, Problem) and refused.code == "binding-mismatch"

    asyncio.run(play())


def test_decommissioned_devices_are_still_shown(factory_world: World) -> None:
    async def play() -> None:
        (one,) = await issue_some(factory_world, 1)
        await decommission(factory_world, one)
        assert serials((await query(factory_world, state="decommissioned")).devices) == [one]

    asyncio.run(play())
