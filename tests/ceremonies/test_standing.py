"""How a unit stands that asks: what a permit allows, what a closing kept, and rows that somebody changed."""

import asyncio
import hashlib

import pytest

from ceremonies.claims import WorkOrderClosed
from ceremonies.issuance import load_order
from ceremonies.journal import JournalForked
from ceremonies.standing import (
    CertificateReplaced,
    UnitScrapped,
    check_standing,
    find_excused,
    find_replacement,
    is_begun,
)
from tests.ceremonies.lines import Unit, close_order, make_units, permit, scrap
from tests.ceremonies.small import BY, act
from tests.ceremonies.test_rework import failing
from tests.engines import tamper
from tests.pki.x509.test_requests import read_request
from tests.world import World

SPKI = "ab" * 32


def key_of(unit: Unit) -> str:
    return read_request(unit.request.csr).spki


@pytest.fixture
def line(genesis_world: World) -> World:
    """A work order with three permits."""
    asyncio.run(genesis_world.open_order(rework_quantity=3))
    return genesis_world


def test_a_permit_is_for_another_key_of_its_own_order(line: World) -> None:
    (unit,) = asyncio.run(make_units(line, range(1, 2)))
    order = load_order(line.room, "wo-1")
    assert find_replacement(line.room, BY, order, unit.serial, SPKI) is None
    asyncio.run(permit(line, unit))
    assert find_replacement(line.room, BY, order, unit.serial, key_of(unit)) is None
    asyncio.run(line.open_order("wo-2"))
    assert find_replacement(line.room, BY, load_order(line.room, "wo-2"), unit.serial, SPKI) is None
    found = find_replacement(line.room, BY, order, unit.serial, SPKI)
    assert found
    assert found.old["spki"] == found.permit.spki == key_of(unit)
    riders = [line.room.writer.run_now(found.rider) for _ in range(2)]
    assert [len(rider.drafts) for rider in riders] == [1, 1]


@pytest.mark.req("T5")
@pytest.mark.parametrize("statement", ["DELETE FROM device", "UPDATE device SET certificate = spki"])
def test_the_row_that_is_replaced_is_the_one_of_the_permit(line: World, statement: str) -> None:
    (unit,) = asyncio.run(make_units(line, range(1, 2)))
    asyncio.run(permit(line, unit))
    tamper(line.room.store, statement)
    with pytest.raises(JournalForked):
        find_replacement(line.room, BY, load_order(line.room, "wo-1"), unit.serial, SPKI)


@pytest.mark.req("T5")
def test_a_row_that_leads_to_an_earlier_certificate_of_the_serial_is_found(line: World) -> None:
    async def run() -> None:
        first, second = Unit(1), Unit(1)
        for unit in (first, second):
            await unit.issue(line)
            await permit(line, unit)
        old, new = (hashlib.sha256(unit.held.certificate).hexdigest() for unit in (first, second))
        change = "UPDATE document SET seq = (SELECT seq FROM document WHERE sha256 = :old) WHERE sha256 = :new"
        tamper(line.room.store, change, old=old, new=new)

    asyncio.run(run())
    with pytest.raises(JournalForked, match="another certificate"):
        find_replacement(line.room, BY, load_order(line.room, "wo-1"), "BMS-000001", SPKI)


def test_who_may_have_a_certificate_or_its_own_again(line: World) -> None:
    async def run() -> tuple[Unit, Unit, Unit, Unit]:
        old, dropped, built, left = await make_units(line, range(1, 5))
        await permit(line, old)
        await Unit(1).issue(line)
        await scrap(line, dropped)
        await built.confirm(line)
        await close_order(line)
        return old, dropped, built, left

    old, dropped, built, left = asyncio.run(run())
    order = load_order(line.room, "wo-1")
    for unit, refusal in ((old, CertificateReplaced), (dropped, UnitScrapped), (left, WorkOrderClosed)):
        with pytest.raises(refusal):
            check_standing(line.room, order, unit.serial, key_of(unit))
    check_standing(line.room, order, built.serial, key_of(built))
    for serial in (built.serial, "BMS-000009"):
        with pytest.raises(WorkOrderClosed):
            check_standing(line.room, order, serial, SPKI)


def test_the_excused_are_those_of_the_approved_plan(line: World) -> None:
    async def run() -> None:
        await make_units(line, range(1, 4))
        assert find_excused(line.room, "wo-1") == frozenset()
        await close_order(line, "wo-1", "BMS-000001", "BMS-000003")
        for _ in range(2):  # the second time from memory
            assert find_excused(line.room, "wo-1") == {"BMS-000001", "BMS-000003"}

    asyncio.run(run())


def test_a_permit_that_a_request_has_begun_to_use(line: World) -> None:
    (unit,) = asyncio.run(make_units(line, range(1, 2)))
    asyncio.run(permit(line, unit))
    opened = line.room.ledger.replay.units.permits[unit.serial]
    assert not act(line, lambda: is_begun(line.room, opened))
    with failing(line):
        asyncio.run(line.try_ask(Unit(1).request, "station"))
    assert act(line, lambda: is_begun(line.room, opened))
