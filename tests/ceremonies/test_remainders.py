"""What the closing of a large order leaves is revoked in parts, whatever happens between them."""

import asyncio
from typing import Any

import pytest

from ceremonies import closing, remainders
from ceremonies.alarms import list_alarms
from ceremonies.closing import ROWS_EACH, list_unconfirmed
from ceremonies.journal import JournalForked
from ceremonies.process import list_chores
from ceremonies.remainders import Remainders, cut_part, revoke_part
from ceremonies.revoked import Revoked
from ceremonies.sums import Tally
from ceremonies.withdrawals import Withdrawn
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import Unit, check_books, close_order, code_of, figures, make_units, scrap
from tests.ceremonies.test_rework import number_of, numbers_of
from tests.engines import tamper
from tests.world import World, audit_world


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """An order of three is large, and two certificates are a part."""
    monkeypatch.setattr(closing, "AT_ONCE", 2)
    monkeypatch.setattr(remainders, "NUMBERS_EACH", 2)


def read_types(world: World, before: int) -> list[str]:
    kinds = (leaf["type"] for leaf in read_leaves(world, before))
    return [kind for kind in kinds if kind.startswith(("quota", "certificate"))]


@pytest.mark.req("T4", "CA-13")
@pytest.mark.usefixtures("small")
def test_a_large_order_is_closed_at_once_and_revoked_in_parts(factory_world: World) -> None:
    async def run() -> None:
        world = factory_world
        built, excused, late, dropped, *left = await make_units(world, range(1, 10))
        await built.confirm(world)
        await scrap(world, dropped)
        plan = {"work_order": "wo-1", "excused": [excused.serial, late.serial], "reason": "end of the batch"}
        await world.propose("close", "work-order-close", plan)
        await late.confirm(world)
        before, known = world.room.ledger.journal.size, len(numbers_of(world))
        await world.carry_out("close", "bob", "carol")
        assert read_types(world, before) == ["quota.close"]
        assert code_of(await world.try_ask(left[0].confirmation(), "station")) == "work-order-closed"
        shown = await figures(world)
        assert (shown.state, shown.unconfirmed, shown.withdrawing) == ("closed", 6, 5)
        check_books(world)
        await scrap(world, left[0])  # somebody is quicker than its part
        ((turn, _),) = [item for item in list_chores(world.room) if "Remainders" in repr(item[0])]
        await turn()
        assert read_types(world, before)[2:] == ["certificate.revoke", "certificate.revoke", "quota.withdrawn"]
        assert sorted(numbers_of(world)[known:]) == sorted(number_of(unit.held) for unit in left)
        parts = [leaf for leaf in read_leaves(world, before) if leaf["op"]["what"].get("closing")]
        closed = next(leaf for leaf in read_leaves(world, before) if leaf["type"] == "quota.close")
        assert [(leaf["apr"], leaf["cer"], leaf["op"]["what"]["why"]) for leaf in parts] == [
            (closed["apr"], "close", "never confirmed: end of the batch")
        ] * 2
        assert (await figures(world)).withdrawing == 0
        await Remainders(world.room).turn()  # nothing is left to be done
        assert read_types(world, before)[5:] == []
        assert code_of(await world.try_ask(excused.confirmation(), "station")) == "DeviceConfirmed"
        check_books(world)
        assert (await audit_world(world)).verdict == "authenticated"

    asyncio.run(run())


@pytest.mark.req("T4", "T27", "CA-13")
@pytest.mark.usefixtures("small")
def test_a_crash_between_two_parts_and_rows_that_were_changed_meanwhile(
    factory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = factory_world
    units = asyncio.run(make_units(world, range(1, 7)))
    asyncio.run(units[0].confirm(world))
    asyncio.run(close_order(world))

    def revoke(*arguments: Any) -> int:
        if numbers_of(world):
            raise RuntimeError("the machine is gone")
        return revoke_part(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(remainders, "revoke_part", revoke)
        with pytest.raises(RuntimeError):
            asyncio.run(Remainders(world.room).turn())
    world.stop()
    world.start()
    assert asyncio.run(figures(world)).withdrawing == 3
    # A confirmation that the unit never gave would keep its certificate.
    forged = "INSERT INTO confirmation SELECT serial, certificate, 7 FROM device WHERE serial = 'BMS-000002'"
    tamper(world.room.store, forged)
    left = Remainders(world.room)
    with pytest.raises(JournalForked):
        asyncio.run(left.turn())
    assert (len(numbers_of(world)), asyncio.run(figures(world)).withdrawing) == (2, 3)
    assert list(list_alarms(world.room)) == ["closing wo-1"]
    tamper(world.room.store, "DELETE FROM confirmation WHERE seq = 7")
    asyncio.run(left.turn())  # it has just failed: not yet
    assert asyncio.run(figures(world)).withdrawing == 3
    monkeypatch.setattr(remainders, "RETRY_US", 0)
    asyncio.run(left.turn())
    assert list_alarms(world.room) == {}
    assert sorted(numbers_of(world)) == sorted(number_of(unit.held) for unit in units[1:])
    assert asyncio.run(figures(world)).withdrawing == 0
    check_books(world)


@pytest.mark.usefixtures("small")
def test_an_order_that_fails_for_long_lets_the_next_one_go_first(
    factory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when a try takes longer than the pause behind it."""
    world = factory_world

    async def run() -> None:
        await world.open_order("wo-2", first=101, last=150)
        failing, *_ = await make_units(world, range(1, 4))
        await make_units(world, range(101, 104), "wo-2")
        await close_order(world)
        await close_order(world, "wo-2")
        tamper(world.room.store, f"DELETE FROM device WHERE serial = '{failing.serial}'")
        left = Remainders(world.room)
        with pytest.raises(JournalForked):
            await left.turn()
        with pytest.raises(JournalForked):
            await left.turn()
        assert world.room.ledger.replay.units.withdrawing == {"wo-1": 3}
        assert list(list_alarms(world.room)) == ["closing wo-1"]

    monkeypatch.setattr(remainders, "RETRY_US", 0)
    asyncio.run(run())


@pytest.mark.usefixtures("small")
def test_a_line_that_works_meanwhile_does_not_stop_a_proposal(
    factory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows and journal are read as they are together at one moment, however long the reading takes."""
    world, late = factory_world, Unit(9)
    asyncio.run(make_units(world, range(1, 4)))

    def read(*arguments: Any) -> Any:
        if late.device is None:
            asyncio.run(late.issue(world))
        return list_unconfirmed(*arguments)

    monkeypatch.setattr(closing, "list_unconfirmed", read)
    shown = asyncio.run(world.propose("c", "work-order-close", {"work_order": "wo-1", "reason": "x"})).steps[0].shown
    assert b'"revoked":3' in shown


def test_a_part_reads_few_rows_beside_its_own() -> None:
    items = [Withdrawn("", "ca", f"{(partition << 153) + 1:040x}") for partition in (0, 0, 1, 2, 3)]
    assert cut_part(Revoked(), items) == 5
    full = Tally(ROWS_EACH - 1, "00" * 32)
    assert cut_part(Revoked({"ca": {0: full, 1: Tally(2, "00" * 32)}}), items) == 2
    assert cut_part(Revoked({"ca": {0: full, 2: full}}), items) == 3
    assert cut_part(Revoked({"ca": {0: Tally(10**6, "00" * 32)}}), items) == 2  # one partition at least
