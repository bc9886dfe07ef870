"""Imports: strict lines, every bad one named, all of the file or nothing."""

import asyncio
from typing import Any

import pytest

from ceremonies.commands import CheckImport, ImportChecked, Problem, Ship
from ceremonies.fleet_tables import RegisterRow
from ceremonies.imports import COLUMNS, LINES_LIMIT, SIZE_LIMIT, read_lines
from ceremonies.revocation_tables import RevocationRow
from tests.ceremonies.field import execute, problem, propose, read_leaves, upload
from tests.ceremonies.fielded import issue_some, say_all
from tests.ceremonies.lines import check_books
from tests.ceremonies.owning import Owner
from tests.ceremonies.test_rework import number_of
from tests.world import World, audit_world

HEAD = ",".join(COLUMNS)


def write(*lines: str) -> bytes:
    return "\r\n".join([HEAD, *lines, ""]).encode()


GOOD = write(
    "ship,BMS-000001,,hornsea-1,,,,", "install,BMS-000001,north-power,hornsea-1,r1,A 7,,", "ship,BMS-000002,,,,,,",
    'decommission,BMS-000003,,,,,,"water, damage"',
)  # fmt: skip


async def check(world: World, data: bytes) -> ImportChecked:
    digest = await upload(world, data)
    return await world.ask(CheckImport(digest), "officer", ImportChecked)


@pytest.mark.parametrize(
    ("data", "bad"),
    [
        (b"", [1]),
        (HEAD.encode(), [1]),
        (b"serial,act\n", [1]),
        (b"\xef\xbb\xbf" + GOOD, [1]),
        (HEAD.encode() + b"\nship,A-1,,,,,,\nship,\xff,,,,,,\n", [3]),
        (write("ship,A-1,,,,,", "ship,A-2,,,,,,,x", "ship,A-3,,,,,,"), [2, 3]),
        (write("Ship,A-1,,,,,,", ",A-1,,,,,,", "ship,,,,,,,", "ship,A 1,,,,,,", "ship,A-1,acme,,,,,"), [2, 3, 4, 5, 6]),
        (write("move,A-1,,,,,,", "decommission,A-1,,,,,,", "install,A-1,acme,North,,,,"), [2, 3, 4]),
        (write("move,A-1,,x,=1+1,,,", "move,A-1,,x,,@A1,,"), [2, 3]),
        (write('ship,"A-1\nx",,,,,,', "ship,A-2,,,,,,"), [2]),
        (write('ship,"A"-1,,,,,,'), [2]),
        (write("ship,A-1,,,,,,\0"), [2]),
        (b"x" * (SIZE_LIMIT + 1), [0]),
        (write(*["ship,A-1,,,,,,"] * (LINES_LIMIT + 1)), [LINES_LIMIT + 2]),
    ],
)  # fmt: skip
def test_what_is_no_line_is_named(data: bytes, bad: list[int]) -> None:
    assert [item.line for item in read_lines(data)[1]] == bad


def test_good_lines_are_statements() -> None:
    items, bad = read_lines(GOOD)
    assert bad == []
    assert [line for line, _ in items] == [2, 3, 4, 5]
    assert items[2][1] == Ship("BMS-000002")


@pytest.mark.req("EV-3")
def test_officers_import_a_file_as_a_whole(factory_world: World) -> None:
    world = factory_world

    async def play() -> None:
        await issue_some(world, 3)
        checked = await check(world, GOOD)
        assert (checked.acts, checked.bad) == ({"decommission": 1, "install": 1, "ship": 2}, ())
        plan = {"file": await upload(world, GOOD), "reason": "before the register"}
        shown = await world.ceremony("import-1", "register-import", plan)
        assert shown.state == "closed"
        again = problem(await propose(world, "import-2", "register-import", plan))
        assert (again.code, again.details["bad_count"]) == ("import-refused", 4)

    asyncio.run(play())
    rows = world.room.store.list(RegisterRow, "serial")
    assert [row["state"] for row in rows] == ["installed", "shipped", "decommissioned"]
    (head,) = [leaf for leaf in read_leaves(world) if leaf.type == "device.import"]
    assert head.apr and {item.officer for item in head.apr} == {"bob", "carol"}
    assert asyncio.run(audit_world(world)).verdict == "authenticated"
    world.stop()
    world.start()


def test_one_bad_line_and_nothing_is_done(factory_world: World) -> None:
    world = factory_world
    data = write("ship,BMS-000001,,,,,,", "ship,BMS-000002,,,,,,", "ship,BMS-000001,,,,,,", "move,BMS-000002,,x,,,,")

    async def play() -> Problem:
        await issue_some(world, 1)
        checked = await check(world, data)
        assert [(item.line, item.why.partition(":")[0]) for item in checked.bad] == [
            (3, "device-unknown"), (4, "state-refused"), (5, "device-unknown"),
        ]  # fmt: skip
        plan = {"file": await upload(world, data), "reason": "x"}
        return problem(await propose(world, "import-1", "register-import", plan))

    refused = asyncio.run(play())
    assert refused.code == "import-refused"
    assert [told.partition(":")[0] for told in refused.details["bad"]] == ["line 3", "line 4", "line 5"]
    assert world.room.store.list(RegisterRow, "serial") == []


def test_what_happened_meanwhile_stops_the_import(factory_world: World) -> None:
    world = factory_world

    async def play() -> Any:
        await issue_some(world, 3)
        await world.propose("import-1", "register-import", {"file": await upload(world, GOOD), "reason": "x"})
        await world.approve("import-1", "plan", "bob", "carol")
        await say_all(world, Ship("BMS-000002"))
        return await execute(world, "import-1", "plan")

    assert problem(asyncio.run(play())).code == "import-refused"
    assert len(world.room.store.list(RegisterRow, "serial")) == 1


@pytest.mark.parametrize("role", ["operator", "auditor", "station"])
def test_only_officers_look_at_imports(factory_world: World, role: str) -> None:
    answer = asyncio.run(factory_world.try_ask(CheckImport("00" * 32), role))
    assert isinstance(answer, Problem) and answer.code == "role-refused"
    missing = asyncio.run(factory_world.try_ask(CheckImport("00" * 32), "officer"))
    assert isinstance(missing, Problem) and missing.code == "artefact-missing"


def test_a_device_that_an_import_sends_back_loses_its_ldevid(owner: Owner) -> None:
    async def play() -> str:
        issued = await owner.enrol()
        plan = {"file": await upload(owner.world, write(f"return,{owner.unit.serial},,,,,,fan")), "reason": "a recall"}
        await owner.world.ceremony("import-1", "register-import", plan)
        return number_of(issued)

    number = asyncio.run(play())
    assert [row["number"] for row in owner.world.room.store.list(RevocationRow, "seq")] == [number]
    check_books(owner.world)
