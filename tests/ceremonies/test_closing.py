"""The end of a work order: nothing more is issued, what was never confirmed is revoked, what was built stays."""

import asyncio
import hashlib
import json
import threading

import pytest

from ceremonies.commands import CeremonyShown, DeviceIssued, IssueDevice, OpenCeremony, ReportUnits, UnitsReported
from ceremonies.journal import JournalForked, Placed
from pki.log.leaves import Leaf
from tests.ceremonies.examples import read_leaves
from tests.ceremonies.lines import Unit, check_books, close_order, code_of, figures, make_units, permit, scrap
from tests.ceremonies.test_rework import failing, number_of, numbers_of
from tests.engines import tamper
from tests.world import World, audit_world, make_request


@pytest.mark.engines
@pytest.mark.req("T4", "CA-13")
def test_closing_revokes_what_was_never_confirmed(genesis_world: World) -> None:
    async def run() -> None:
        world = genesis_world
        await world.open_order(rework_quantity=3)
        built, excused, left, other, dropped, reworked = await make_units(world, range(1, 7))
        await built.confirm(world)
        await scrap(world, dropped)
        await permit(world, reworked)
        new = Unit(6)
        await new.issue(world)
        await new.confirm(world)
        await permit(world, left)  # a permit that nobody has used
        before, known = world.room.ledger.journal.size, len(numbers_of(world))
        await close_order(world, "wo-1", excused.serial)
        entries = [leaf for leaf in read_leaves(world, before) if leaf["type"].startswith(("quota", "certificate"))]
        assert [leaf["type"] for leaf in entries] == ["quota.close", "certificate.revoke"]
        assert sorted(numbers_of(world)[known:]) == sorted(number_of(unit.held) for unit in (left, other))
        what = entries[0]["op"]["what"]
        assert (what["revoked"], what["excused"], what["reason"]) == (2, 1, "end of the batch")
        assert entries[0]["apr"], "the approvals stand with it"
        shown = await figures(world)
        assert (shown.state, shown.issued, shown.confirmed, shown.scrapped, shown.unconfirmed) == (
            "closed", 6, 2, 1, 3,
        )  # fmt: skip
        await ask_afterwards(world, built, excused, left, new)
        check_books(world)
        assert (await audit_world(world)).verdict == "authenticated"

    asyncio.run(run())


async def ask_afterwards(world: World, built: Unit, excused: Unit, left: Unit, new: Unit) -> None:
    """New requests and what was revoked are refused; who was confirmed or excused gets the same bytes."""
    for request in (Unit(9).request, Unit(3).request, left.request):
        assert code_of(await world.try_ask(request, "station")) == "work-order-closed"
    for unit in (built, excused, new):
        answer = await world.ask(unit.request, "station", DeviceIssued)
        assert (answer.replayed, answer.certificate) == (True, unit.held.certificate)
    assert code_of(await world.try_ask(built.confirmation(), "station")) == "replayed"
    assert code_of(await world.try_ask(left.confirmation(), "station")) == "work-order-closed"
    assert code_of(await world.try_ask(excused.confirmation(), "station")) == "DeviceConfirmed"
    assert (await figures(world)).confirmed == 3
    await asyncio.to_thread(world.stop)
    await asyncio.to_thread(world.start)
    assert code_of(await world.try_ask(left.request, "station")) == "work-order-closed"
    assert code_of(await world.try_ask(excused.request, "station")) == "replayed"


def test_the_journal_is_read_on_the_writers_thread_also_afterwards(
    factory_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Elsewhere it may grow between the tree's size and the proof: an entry would seem forged."""
    world, read = factory_world, list[str]()

    async def run() -> None:
        (unit,) = await make_units(world, range(1, 2))
        await close_order(world, "wo-1", unit.serial)
        ledger = world.room.ledger
        plain = ledger.read_entry

        def watched(seq: int) -> tuple[Placed, Leaf]:
            read.append(threading.current_thread().name)
            return plain(seq)

        monkeypatch.setattr(ledger, "read_entry", watched)
        assert code_of(await world.try_ask(unit.request, "station")) == "replayed"
        world.room.cache.clear()
        await world.ask(ReportUnits("wo-1"), "auditor", UnitsReported)

    asyncio.run(run())
    assert set(read) == {"writer"}


def test_a_request_that_a_crash_left_open_is_not_sealed_after_the_closing(factory_world: World) -> None:
    async def run() -> None:
        unit = Unit(1)
        with failing(factory_world):
            assert code_of(await factory_world.try_ask(unit.request, "station")) == "hsm-key-not-found"
        await close_order(factory_world)
        assert code_of(await factory_world.try_ask(unit.request, "station")) == "work-order-closed"
        factory_world.room.ledger.replay.units.orders["wo-1"].closed = None  # it passed the first check in time
        assert code_of(await factory_world.try_ask(unit.request, "station")) == "work-order-closed"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        ({"work_order": "wo-9"}, "work-order-unknown"),
        ({"excused": ["BMS-000001"]}, "plan-malformed"),  # it is confirmed
        ({"excused": ["BMS-000009"]}, "plan-malformed"),  # it was never issued
        ({"excused": "BMS-000002"}, "plan-malformed"),
        ({"reason": ""}, "plan-malformed"),
    ],
)
def test_a_plan_that_cannot_be(factory_world: World, plan: dict[str, object], code: str) -> None:
    async def run() -> None:
        first, _ = await make_units(factory_world, range(1, 3))
        await first.confirm(factory_world)
        data = json.dumps({"work_order": "wo-1", "excused": [], "reason": "x", **plan}).encode()
        assert code_of(await factory_world.try_ask(OpenCeremony("c", "work-order-close", data), "officer")) == code

    asyncio.run(run())


def test_officers_see_how_many_units_would_be_revoked(factory_world: World) -> None:
    async def run() -> CeremonyShown:
        first, *_ = await make_units(factory_world, range(1, 5))
        await first.confirm(factory_world)
        plan = {"work_order": "wo-1", "excused": ["BMS-000002"], "reason": "x"}
        return await factory_world.propose("c", "work-order-close", plan)

    shown = json.loads(asyncio.run(run()).steps[0].shown)
    assert shown["now"] == {"confirmed": 1, "issued": 4, "revoked": 2, "scrapped": 0}


def test_an_order_is_closed_once(factory_world: World) -> None:
    async def run() -> None:
        world = factory_world
        await world.propose("one", "work-order-close", {"work_order": "wo-1", "reason": "x"})
        await world.propose("two", "work-order-close", {"work_order": "wo-1", "reason": "y"})
        await world.carry_out("one", "bob", "carol")
        with pytest.raises(AssertionError, match="work-order-closed"):
            await world.carry_out("two", "bob", "carol")
        answer = await world.try_ask(
            OpenCeremony("three", "work-order-close", b'{"work_order":"wo-1","reason":"z"}'), "officer"
        )
        assert code_of(answer) == "work-order-closed"

    asyncio.run(run())


@pytest.mark.engines
@pytest.mark.req("T5")
@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO confirmation SELECT serial, certificate, 7 FROM device WHERE serial = 'BMS-000002'",
        "DELETE FROM device WHERE serial = 'BMS-000002'",
        "UPDATE device SET work_order = 'wo-2' WHERE serial = 'BMS-000002'",
        "DELETE FROM confirmation",
    ],
)
def test_rows_that_somebody_changed_keep_nobody_from_being_revoked(factory_world: World, statement: str) -> None:
    async def run() -> None:
        first, _ = await make_units(factory_world, range(1, 3))
        await first.confirm(factory_world)
        await factory_world.propose("c", "work-order-close", {"work_order": "wo-1", "reason": "x"})
        tamper(factory_world.room.store, statement)
        with pytest.raises(AssertionError, match=JournalForked.code):
            await factory_world.carry_out("c", "bob", "carol")
        assert numbers_of(factory_world) == []

    asyncio.run(run())


@pytest.mark.req("T5")
def test_a_certificate_that_was_replaced_does_not_stand_for_the_one_that_followed(genesis_world: World) -> None:
    async def run() -> None:
        world = genesis_world
        await world.open_order(rework_quantity=1)
        (old,) = await make_units(world, range(1, 2))
        await old.confirm(world)
        await permit(world, old)
        new = await Unit(1).issue(world)
        tamper(world.room.store, "UPDATE device SET certificate = (SELECT certificate FROM replaced_device)")
        swap = "UPDATE replaced_device SET certificate = :new"
        tamper(world.room.store, swap, new=hashlib.sha256(new.certificate).hexdigest())
        with pytest.raises(AssertionError, match=JournalForked.code):
            await close_order(world)

    asyncio.run(run())


def test_another_order_is_not_touched(genesis_world: World) -> None:
    async def run() -> None:
        world = genesis_world
        await world.open_order("wo-1")
        await world.open_order("wo-2", serials=["BMS-000007", "X.1"])
        await make_units(world, range(1, 3))
        await close_order(world, "wo-1")
        answer = await world.try_ask(IssueDevice("wo-2", "X.1", make_request()), "station")
        assert code_of(answer) == "DeviceIssued"

    asyncio.run(run())
